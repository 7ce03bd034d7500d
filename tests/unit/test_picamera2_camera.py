"""The Raspberry Pi camera's driver against a picamera2 that behaves as the real one does."""

from __future__ import annotations

import sys

import msgspec
import numpy as np
import pytest

from device.drivers.picamera2_camera import Picamera2Camera
from device.drivers.ports import NoFrameError, RepeatedFrameError
from device.drivers.twin import TwinLamp
from device.errors import HardwareError, InputError
from device.frames import Exposure, LampState, RawFrame
from device.instrument import SensorSpec
from tests.contract.cameras import sensor_of, world_of
from tests.fakes.picamera2 import Fault, Rig, module

LIT = LampState(0, 20.0, acknowledged=True)


class Bench:
    """A sensor, a lamp and the driver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spec: SensorSpec | None = None, **rig: object) -> None:
        world = world_of(sensor_of(10, "BGGR"))
        self.rig = Rig(world, **rig)  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "picamera2", module(self.rig))
        self.camera = Picamera2Camera(spec or world.instrument.sensor, monotonic=self.rig.monotonic)
        self.lamp = TwinLamp(self.rig)  # type: ignore[arg-type]

    def take(self, exposure: Exposure | None = None) -> RawFrame:
        frame = self.camera.capture(exposure or Exposure(2000.0), self.lamp.set_current(20.0))
        assert frame is not None
        self.lamp.off()
        return frame


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_exposure_and_gain_are_those_the_sensor_reports(bench: Bench) -> None:
    bench.camera.start()
    frame = bench.take(Exposure(2013.0, 1.51))
    assert frame.exposure.exposure_us == 2020.0  # whole rows of 20 us
    assert frame.exposure.gain == pytest.approx(1.515625)
    assert (frame.exposure.lamp_current_ma, frame.bit_depth) == (20.0, 10)


def test_an_exposure_longer_than_the_usual_frame_is_taken(bench: Bench) -> None:
    bench.camera.start()
    assert bench.take(Exposure(400_000.0)).exposure.exposure_us == pytest.approx(400_000, rel=0.01)
    assert bench.take(Exposure(500.0)).exposure.exposure_us == 500


def test_the_exposure_began_after_the_acknowledgement(bench: Bench) -> None:
    bench.camera.start()
    for wait_s in np.linspace(0, 0.1, 23):
        bench.rig.sleep(float(wait_s))
        frame = bench.take(Exposure(20_000.0))
        begun_ns = frame.sensor_timestamp_ns - frame.exposure.exposure_us * 1000
        assert begun_ns > frame.lamp.acknowledged_ns


def test_no_request_is_kept_however_many_frames_are_taken(bench: Bench) -> None:
    bench.camera.start()
    for k in range(20):
        bench.take(Exposure(1000.0 + 500 * (k % 3)))
    fake = bench.camera._camera
    bench.rig.sleep(1.0)
    fake.set_controls({})
    fake._catch_up()
    assert len(fake._queued) == 4


def test_a_hang_is_found_in_time_and_closing_then_does_not_hang(bench: Bench) -> None:
    bench.camera.start()
    bench.take()
    bench.rig.fault = Fault("silence", mended_by_start=False)
    began_s = bench.rig.monotonic()
    with pytest.raises(NoFrameError, match="hangs"):
        bench.take()
    assert bench.rig.monotonic() - began_s < 5
    assert bench.camera._camera._jobs == []
    bench.camera.close()
    assert bench.rig.monotonic() - began_s < 5
    assert not bench.rig.held


def test_the_job_of_a_hang_does_not_hold_a_later_frame(bench: Bench) -> None:
    bench.camera.start()
    bench.take()
    bench.rig.fault = Fault("silence", until_s=bench.rig.monotonic() + 6)
    with pytest.raises(NoFrameError):
        bench.take()
    bench.rig.sleep(3)
    assert bench.take().index == 1
    bench.rig.sleep(1)
    bench.camera._camera._catch_up()
    assert len(bench.camera._camera._queued) == 4


@pytest.mark.parametrize("kind", ["repeated frame", "frozen picture"])
def test_a_repeated_frame_is_never_given_out(bench: Bench, kind: str) -> None:
    bench.camera.start()
    bench.take()
    bench.rig.fault = Fault(kind, mended_by_start=False)  # type: ignore[arg-type]
    with pytest.raises(RepeatedFrameError):
        [bench.take() for _ in range(3)]


def test_an_error_of_libcamera_is_one_clear_error(bench: Bench) -> None:
    bench.camera.start()
    bench.rig.fault = Fault("exception")
    with pytest.raises(HardwareError, match="RuntimeError: failed to find buffer"):
        bench.take()


def test_no_camera_and_a_busy_one_are_told_apart(bench: Bench) -> None:
    bench.rig.fault = Fault("no camera", mended_by_start=False)
    with pytest.raises(HardwareError, match="no camera found"):
        bench.camera.start()
    bench.rig.fault, bench.rig.held = None, True
    with pytest.raises(HardwareError, match="doesn't open"):
        bench.camera.start()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bayer": "RGGB"}, "BGGR"),
        ({"width_px": 320}, "212 x 180 px"),
        ({"bit_depth": 12}, "10 bits"),
        ({"bayer": "none"}, "BGGR"),
    ],
)
def test_another_sensor_than_the_instruments_is_refused_and_given_back(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, object], told: str
) -> None:
    bench = Bench(monkeypatch, msgspec.structs.replace(sensor_of(10, "BGGR"), **change))
    with pytest.raises(InputError, match="not the instrument's") as raised:
        bench.camera.start()
    assert told in str(raised.value)
    assert not bench.rig.held


def test_an_odd_read_out_is_one_clear_error_and_the_camera_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, msgspec.structs.replace(sensor_of(10, "BGGR"), width_px=211))
    with pytest.raises(HardwareError, match="even"):
        bench.camera.start()
    assert not bench.rig.held


@pytest.mark.parametrize("exposure", [Exposure(10.0), Exposure(1e9), Exposure(1000.0, gain=99.0)])
def test_what_the_sensor_can_not_do_is_refused_at_once(bench: Bench, exposure: Exposure) -> None:
    bench.camera.start()
    began_s = bench.rig.monotonic()
    with pytest.raises(InputError, match="out of range"):
        bench.take(exposure)
    assert bench.rig.monotonic() == began_s


def test_a_missing_picamera2_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(InputError, match="apt-get install python3-picamera2"):
        Picamera2Camera(sensor_of(10, "BGGR")).start()
