"""The V4L2 driver: alignment, old buffers, hangs, repeated frames, refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from device.drivers.ports import NoFrameError, RepeatedFrameError
from device.drivers.twin import TwinLamp
from device.drivers.v4l2_camera import V4l2Camera
from device.errors import HardwareError, InputError
from device.frames import Exposure, RawFrame
from device.instrument import SensorSpec
from tests.contract.cameras import sensor_of, world_of
from tests.fakes.picamera2 import Fault, Rig
from tests.fakes.video_capture import VideoCapture


class Bench:
    """A V4L2 device, a lamp and the driver."""

    def __init__(self, fourcc: str = "Y10 ", spec: SensorSpec | None = None, **behaviour: Any) -> None:
        world = world_of(sensor_of(10, "none"))
        self.rig = Rig(world)
        self.camera = V4l2Camera(
            spec or world.instrument.sensor,
            monotonic=self.rig.monotonic,
            open_capture=lambda _device, _timeout_s: VideoCapture(self.rig, fourcc, **behaviour),
        )
        self.lamp = TwinLamp(self.rig)  # type: ignore[arg-type]

    def take(self, exposure: Exposure | None = None) -> RawFrame:
        frame = self.camera.capture(exposure or Exposure(2000.0), self.lamp.set_current(20.0))
        assert frame is not None
        self.lamp.off()
        return frame


@pytest.mark.parametrize("stamped", [True, False])
def test_buffers_that_lay_about_in_the_dark_are_passed_over(stamped: bool) -> None:
    bench = Bench(stamped=stamped)
    bench.camera.start()
    lit = bench.take().pixels.mean()
    for _ in range(5):
        bench.rig.sleep(60.0)
        assert bench.take().pixels.mean() == pytest.approx(lit, rel=0.02)


def test_the_time_is_the_devices_own_where_it_has_one() -> None:
    for stamped in (True, False):
        bench = Bench(stamped=stamped)
        bench.camera.start()
        stamp_s = bench.take().sensor_timestamp_ns * 1e-9
        age_s = round(bench.rig.monotonic() - stamp_s, 6)
        # Without one it is the moment at which the frame was handed over.
        assert (age_s > 0) is stamped


def test_alignment_once_known_holds_for_dark_frames_too() -> None:
    bench = Bench("Y16 ", left_aligned=True)
    bench.camera.start()
    assert 200 < bench.take().pixels.mean() < 1023
    counts = bench.camera._counts(np.full(bench.rig.modes[0][1::-1], 3 << 6, np.uint16))
    assert int(counts.max()) == 3


def test_counts_beyond_the_sensors_bits_are_refused() -> None:
    bench = Bench("Y16 ")
    with pytest.raises(HardwareError, match="exceed the sensor's bits"):
        bench.camera._counts(np.full(bench.rig.modes[0][1::-1], 0x0FFF, np.uint16))


@pytest.mark.parametrize("shape", [(180, 212, 3), (90, 212), (7,)])
def test_anything_but_a_raw_frame_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(HardwareError, match="another shape"):
        Bench().camera._counts(np.zeros(shape, np.uint8))


def test_two_bytes_a_pixel_are_one_count() -> None:
    array = np.zeros((180, 212, 2), np.uint8)
    array[..., 0], array[..., 1] = 0x34, 0x02
    assert int(Bench().camera._counts(array)[0, 0]) == 0x234


def test_a_hang_is_found_in_time() -> None:
    bench = Bench()
    bench.camera.start()
    bench.take()
    bench.rig.sleep(1.0)
    bench.rig.fault = Fault("silence", mended_by_start=False)
    began_s = bench.rig.monotonic()
    with pytest.raises(NoFrameError):
        [bench.take() for _ in range(4)]
    assert bench.rig.monotonic() - began_s < 5


def test_an_unplugged_camera_is_told_at_once() -> None:
    bench = Bench()
    bench.camera.start()
    bench.take()
    bench.rig.fault = Fault("exception")
    with pytest.raises(HardwareError, match="unplugged"):
        bench.take()


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("kind", ["repeated frame", "frozen picture"])
def test_a_repeated_frame_is_known_by_its_time_or_its_noise(kind: Any, stamped: bool) -> None:
    bench = Bench(stamped=stamped)
    bench.camera.start()
    bench.take()
    bench.rig.fault = Fault(kind, mended_by_start=False)
    with pytest.raises(RepeatedFrameError):
        [bench.take() for _ in range(3)]


def test_exposures_are_read_back_and_others_refused() -> None:
    bench = Bench()
    bench.camera.start()
    assert bench.take(Exposure(1530.0)).exposure.exposure_us == 1500.0
    for exposure_us in (30.0, 600_000.0):
        with pytest.raises(InputError, match="doesn't take the exposure"):
            bench.take(Exposure(exposure_us))
    with pytest.raises(InputError, match="gain can't be set"):
        bench.take(Exposure(2000.0, gain=2.0))
    bench.camera._capture.has_exposure = False  # type: ignore[union-attr]
    with pytest.raises(HardwareError, match="exposure can't be set"):
        bench.take(Exposure(1000.0))


@pytest.mark.parametrize(
    ("fourcc", "change"), [("MJPG", {}), ("GREY", {}), ("Y10 ", {"width_px": 320}), ("Y10 ", {"bayer": "BGGR"})]
)
def test_another_camera_than_the_instruments_is_refused_and_given_back(fourcc: str, change: dict[str, Any]) -> None:
    bench = Bench(fourcc, msgspec.structs.replace(sensor_of(10, "none"), **change))
    with pytest.raises(InputError):
        bench.camera.start()
    assert not bench.rig.held


def test_a_device_that_is_missing_or_no_camera_is_one_clear_error() -> None:
    with pytest.raises(HardwareError, match=r"no such camera.*by-id"):
        V4l2Camera(sensor_of(8, "none"), "/dev/no-such-video").start()
    bench = Bench()
    bench.rig.fault = Fault("no camera")
    with pytest.raises(HardwareError, match="doesn't open"):
        bench.camera.start()
