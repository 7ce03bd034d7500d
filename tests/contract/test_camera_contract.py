"""What every camera promises, asked of every camera there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from device.drivers.ports import Camera
from device.drivers.replay import ReplayCamera
from device.errors import HardwareError
from device.frames import Exposure, LampState, RawFrame
from tests.contract.cameras import CAMERAS, Prepared

LIT = LampState(0, 20.0, acknowledged=True)
ASKED = Exposure(2000.0)


@pytest.fixture(params=list(CAMERAS))
def prepared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepared]:
    made = CAMERAS[request.param](tmp_path, monkeypatch)
    yield made
    made.camera.close()


def taken(prepared: Prepared, current_ma: float = 20.0) -> RawFrame:
    frame = prepared.camera.capture(ASKED, prepared.light(current_ma))
    assert frame is not None
    return frame


def test_it_is_a_camera(prepared: Prepared) -> None:
    assert isinstance(prepared.camera, Camera)


def test_it_refuses_before_start(prepared: Prepared) -> None:
    with pytest.raises(HardwareError, match="isn't started"):
        prepared.camera.capture(ASKED, LIT)


def test_frames_are_uint16_read_only_and_carry_exposure_and_lamp(prepared: Prepared) -> None:
    prepared.camera.start()
    lit = prepared.light(20.0)
    frame = prepared.camera.capture(ASKED, lit)
    assert frame is not None
    assert frame.pixels.dtype == np.uint16
    assert frame.pixels.ndim == 2
    assert frame.pixels.max() < 2**frame.bit_depth
    assert frame.lamp == lit
    assert frame.exposure.exposure_us == pytest.approx(2000.0, rel=0 if prepared.exact else 0.05)
    assert frame.captured_at.tzinfo is not None
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0] = 1


def test_sensor_time_stamps_rise_and_indices_count(prepared: Prepared) -> None:
    prepared.camera.start()
    frames = [taken(prepared) for _ in range(3)]
    stamps = [f.sensor_timestamp_ns for f in frames]
    assert stamps == sorted(set(stamps))
    assert [f.index for f in frames] == [0, 1, 2]


def test_a_frame_belongs_to_the_lamp_state_it_was_asked_under(prepared: Prepared) -> None:
    if prepared.lamp is None:
        pytest.skip("nobody can switch this camera's light")
    prepared.camera.start()
    levels = [float(taken(prepared, current_ma).pixels.mean()) for current_ma in (20.0, 0.0, 20.0, 0.0, 10.0)]
    bright, dark, _, dark_again, half = levels
    # A frame with a part of the other state in it would lie between.
    assert levels[2] == pytest.approx(bright, rel=0.02)
    assert dark_again == pytest.approx(dark, rel=0.02)
    assert half - dark == pytest.approx((bright - dark) / 2, rel=0.05)


def test_another_exposure_is_in_force_from_the_first_frame_on(prepared: Prepared) -> None:
    if prepared.lamp is None:
        pytest.skip("nobody can switch this camera's light")
    prepared.camera.start()
    dark = taken(prepared, 0.0).pixels.mean()
    longer = taken(prepared).pixels.mean() - dark
    frame = prepared.camera.capture(Exposure(1000.0), prepared.light(20.0))
    assert frame is not None
    assert frame.pixels.mean() - dark == pytest.approx(longer / 2, rel=0.05)


def test_it_starts_again_after_closing(prepared: Prepared) -> None:
    prepared.camera.start()
    taken(prepared)
    prepared.camera.close()
    with pytest.raises(HardwareError, match="isn't started"):
        prepared.camera.capture(ASKED, LIT)
    prepared.camera.start()
    taken(prepared)


def test_starting_and_closing_twice_is_safe(prepared: Prepared) -> None:
    prepared.camera.start()
    prepared.camera.start()
    prepared.camera.close()
    prepared.camera.close()


def test_a_recording_ends_with_none_and_passes_over_bad_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(400, dtype=np.uint8).reshape(20, 20))
    (tmp_path / "b.npy").write_bytes(b"not an array")
    camera = ReplayCamera([tmp_path])
    camera.start()
    assert camera.capture(Exposure(1.0), LIT) is not None
    assert camera.capture(Exposure(1.0), LIT) is None
    assert camera.failed == 1
