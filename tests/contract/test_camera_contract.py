"""What every camera promises, asked of every camera that runs without hardware."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from device.drivers.ports import Camera
from device.drivers.replay import ReplayCamera
from device.drivers.twin import TwinCamera, TwinLamp
from device.errors import HardwareError
from device.frames import Exposure, LampState
from tests.worlds import small_world

LIT = LampState(0, 20.0, acknowledged=True)


@pytest.fixture(params=["twin", "replay"])
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Camera]:
    if request.param == "twin":
        world = small_world()
        TwinLamp(world).set_current(20.0)
        made: Camera = TwinCamera(world)
    else:
        rng = np.random.default_rng(0)
        for k in range(3):
            np.save(tmp_path / f"frame{k}.npy", rng.integers(0, 1000, (64, 80)).astype(np.uint16))
        made = ReplayCamera([tmp_path])
    yield made
    made.close()


def test_it_is_a_camera(camera: Camera) -> None:
    assert isinstance(camera, Camera)


def test_it_refuses_before_start(camera: Camera) -> None:
    with pytest.raises(HardwareError, match="isn't started"):
        camera.capture(Exposure(2000.0), LIT)


def test_frames_are_uint16_read_only_and_carry_exposure_and_lamp(camera: Camera) -> None:
    camera.start()
    frame = camera.capture(Exposure(2000.0), LIT)
    assert frame is not None
    assert frame.pixels.dtype == np.uint16
    assert frame.pixels.ndim == 2
    assert frame.lamp == LIT
    assert frame.exposure.exposure_us == 2000.0
    assert frame.captured_at.tzinfo is not None
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0] = 1


def test_sensor_time_stamps_rise_and_indices_count(camera: Camera) -> None:
    camera.start()
    frames = [camera.capture(Exposure(2000.0), LIT) for _ in range(3)]
    stamps = [f.sensor_timestamp_ns for f in frames if f is not None]
    assert stamps == sorted(set(stamps))
    assert [f.index for f in frames if f is not None] == [0, 1, 2]


def test_closing_twice_is_safe(camera: Camera) -> None:
    camera.start()
    camera.close()
    camera.close()


def test_a_recording_ends_with_none_and_passes_over_bad_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(400, dtype=np.uint8).reshape(20, 20))
    (tmp_path / "b.npy").write_bytes(b"not an array")
    camera = ReplayCamera([tmp_path])
    camera.start()
    assert camera.capture(Exposure(1.0), LIT) is not None
    assert camera.capture(Exposure(1.0), LIT) is None
    assert camera.failed == 1
