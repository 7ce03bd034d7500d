"""A Raspberry Pi camera through picamera2: raw, exposure and gain fixed, frames that belong to a lamp state.

picamera2 is imported only in `start`. What is known of it here: controls take effect some frames later, so that a frame
counts only when its own metadata says so; a job that timed out stays at the head of the queue and would block `stop` for ever
(picamera2#1264), so it is cancelled; `SensorTimestamp` is when the first row began to be read out, on the monotonic clock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.drivers.ports import NoFrameError
from device.drivers.raw_pixels import Freshness, RawLayout
from device.errors import HardwareError, HolonodeError, InputError
from device.frames import Clock, Exposure, LampState, RawFrame
from device.instrument import SensorSpec

__all__ = ["Picamera2Camera"]

# Frames in the pipeline when controls change: the buffers, and the two frames that sensors take to act.
_BUFFERS = 4
_PIPELINE_FRAMES = _BUFFERS + 2

# The processed stream is not used; libcamera insists on one.
_MAIN_PX = (640, 480)

# How much longer than the exposure a frame may last.
_DURATION_SLACK_US = 100_000

# Sensors step their exposure by rows of some 10 to 60 us, and their gain by some percent.
_EXPOSURE_TOLERANCE_US = 60.0
_EXPOSURE_TOLERANCE = 0.02
_GAIN_TOLERANCE = 0.1


class Picamera2Camera:
    """See `ports.Camera`."""

    def __init__(
        self,
        sensor: SensorSpec,
        *,
        timeout_s: float = 4.0,
        camera_number: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sensor, self._timeout_s, self._number, self._monotonic = sensor, timeout_s, camera_number, monotonic
        self._camera: Any = None
        self._layout = RawLayout(16)
        self._asked: Exposure | None = None
        self._freshness = Freshness()
        self._taken = 0

    def start(self) -> None:
        """See `ports.Camera`; InputError where picamera2 is missing or the instrument file describes another sensor."""
        if self._camera is not None:
            return
        try:
            from picamera2 import Picamera2  # pyright: ignore[reportMissingImports]  # of the Raspberry Pi alone
        except ImportError as error:
            raise InputError(
                'camera.driver = "picamera2" needs picamera2, which is not installed', got=str(error),
                remedy="apt-get install python3-picamera2, and give the environment system packages.",
            ) from error  # fmt: skip
        with _failing("the camera doesn't open"):
            found = len(Picamera2.global_camera_info())
            if self._number >= found:
                raise HardwareError(
                    "no camera found", expected=f"camera {self._number}", got=f"{found} cameras",
                    remedy="Check the ribbon cable; `rpicam-hello --list-cameras` must show it.",
                )  # fmt: skip
            camera = Picamera2(self._number)
        try:
            with _failing("the camera doesn't start"):
                self._configure(camera)
                camera.start()
        except BaseException:
            # A camera that stays open can't be opened again, not even by another process.
            with contextlib.suppress(Exception):
                camera.close()
            raise
        self._camera, self._asked, self._freshness = camera, None, Freshness()

    def _configure(self, camera: Any) -> None:
        sensor = self._sensor
        size = (sensor.width_px, sensor.height_px)
        order = "R" if sensor.bayer == "none" else f"S{sensor.bayer}"
        camera.configure(
            camera.create_video_configuration(
                main={"size": (min(_MAIN_PX[0], size[0]), min(_MAIN_PX[1], size[1]))},
                raw={"format": f"{order}{sensor.bit_depth}", "size": size},
                sensor={"output_size": size, "bit_depth": sensor.bit_depth},
                buffer_count=_BUFFERS,
                # No frame is kept for a quick answer: it would be one from before the lamp.
                queue=False,
            )
        )
        got: dict[str, Any] = camera.camera_configuration()
        raw: dict[str, Any] | None = got.get("raw")
        if raw is None:
            raise HardwareError("the camera gives no raw frames", remedy='A USB camera runs with camera.driver = "v4l2".')
        bit_depth = int((got.get("sensor") or {}).get("bit_depth", sensor.bit_depth))
        self._layout = RawLayout.of_libcamera(str(raw["format"]), bit_depth)
        # Flips and rotations move the order of the filters: what is delivered is what counts.
        found = (*raw["size"], bit_depth, self._layout.bayer)
        wanted = (*size, sensor.bit_depth, sensor.bayer)
        if found != wanted:
            raise InputError(
                "the camera is not the instrument's", where=sensor.model, expected=_described(wanted), got=_described(found),
                remedy="Correct the sensor in the instrument file (width_px, height_px, bit_depth, bayer), or the camera.",
            )  # fmt: skip

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """See `ports.Camera`."""
        if self._camera is None:
            raise HardwareError("the camera isn't started", remedy="Call start() first.")
        with _failing("the camera fails"):
            self._ask(exposure)
            until_s = self._monotonic() + self._timeout_s + _PIPELINE_FRAMES * exposure.exposure_us * 1e-6
            seen: list[str] = []
            while True:
                request = self._request(until_s)
                try:
                    metadata = request.get_metadata()
                    was, begun_ns = self._read(metadata, lamp)
                    if begun_ns > lamp.acknowledged_ns and _is_as_asked(was, exposure):
                        return self._frame(self._pixels(request), metadata, was, lamp)
                finally:
                    # A request that is kept starves the camera.
                    request.release()
                seen.append(f"{was.exposure_us:g} us, gain {was.gain:g}")
                if self._monotonic() >= until_s:
                    raise NoFrameError(
                        "the camera doesn't take the exposure",
                        expected=f"{exposure.exposure_us:g} us, gain {exposure.gain:g}, begun after the lamp's acknowledgement",
                        got=f"{seen[-1]} in the last of {len(seen)} frames", remedy="Restart the camera.",
                    )  # fmt: skip

    def _ask(self, exposure: Exposure) -> None:
        """Fix exposure and gain; controls go out with the next request, so the same ones are not sent again."""
        if exposure == self._asked:
            return
        offered: dict[str, tuple[Any, Any, Any]] = self._camera.camera_controls
        exposure_us = round(exposure.exposure_us)
        for name, value in (("ExposureTime", exposure_us), ("AnalogueGain", exposure.gain)):
            if name not in offered:
                raise HardwareError(f"the camera's {name} can't be set", remedy='Try camera.driver = "v4l2".')
            low, high = offered[name][:2]
            # A maximum of 0 is libcamera's 'no limit known'.
            if value < low or (high and value > high):
                raise InputError(
                    f"the sensor's {name} is out of range", where="camera.exposure_us, camera.gain",
                    expected=f"{low:g} to {high:g}", got=f"{value:g}",
                )  # fmt: skip
        controls: dict[str, bool | float | tuple[int, int]] = {
            "AeEnable": False,
            "AwbEnable": False,
            "ExposureTime": exposure_us,
            "AnalogueGain": float(exposure.gain),
        }
        if "FrameDurationLimits" in offered:
            low, high = offered["FrameDurationLimits"][:2]
            shortest_us = min(max(exposure_us, low), high)
            controls["FrameDurationLimits"] = (shortest_us, min(shortest_us + _DURATION_SLACK_US, high))
        # A monochrome sensor has no white balance to switch off.
        self._camera.set_controls({name: value for name, value in controls.items() if name in offered})
        self._asked = exposure

    def _request(self, until_s: float) -> Any:
        job = self._camera.capture_request(wait=False)
        try:
            return self._camera.wait(job, timeout=max(until_s - self._monotonic(), 0.05))
        except TimeoutError as error:
            self._cancel(job)
            raise NoFrameError(
                "the camera hangs", expected=f"a frame within {self._timeout_s:g} s", got="none",
                remedy="It is restarted; if that doesn't help, check the ribbon cable and the supply.",
            ) from error  # fmt: skip

    def _cancel(self, job: Any) -> None:
        with contextlib.suppress(AttributeError):  # picamera2 before 0.3.19
            self._camera.cancel_all_and_flush()
        # It may have come in just now: then it is ours to give back.
        with contextlib.suppress(TimeoutError, CancelledError):
            self._camera.wait(job, timeout=0.0).release()

    def _read(self, metadata: dict[str, Any], lamp: LampState) -> tuple[Exposure, int]:
        """(exposure that was, monotonic ns at which its first row began); RepeatedFrameError where it was there before."""
        missing = [name for name in ("SensorTimestamp", "ExposureTime", "AnalogueGain") if name not in metadata]
        if missing:
            raise HardwareError("the camera doesn't say how it exposed", expected=missing, got=sorted(metadata))
        stamp_ns, was_us = int(metadata["SensorTimestamp"]), float(metadata["ExposureTime"])
        self._freshness.check_stamp(stamp_ns)
        was = Exposure(was_us, float(metadata["AnalogueGain"]), lamp.channel, lamp.current_ma)
        return was, stamp_ns - round(was_us * 1000)

    def _pixels(self, request: Any) -> NDArray[np.uint16]:
        """Counts uint16 [height, width], read-only."""
        pixels = self._layout.counts(request.make_array("raw"), self._sensor.height_px, self._sensor.width_px)
        self._freshness.check_pixels(pixels)
        pixels.setflags(write=False)
        return pixels

    def _frame(self, pixels: NDArray[np.uint16], metadata: dict[str, Any], was: Exposure, lamp: LampState) -> RawFrame:
        stamp_ns = int(metadata["SensorTimestamp"])
        # SensorTimestamp is on the monotonic clock: wall time is now, less its age.
        age_s = max(self._monotonic() - stamp_ns * 1e-9, 0.0)
        captured = datetime.fromtimestamp(time.time() - age_s, UTC)
        number, self._taken = self._taken, self._taken + 1
        return RawFrame(
            pixels, self._sensor.bit_depth, was, lamp, stamp_ns, captured, Clock(), number, f"frame-{number:06d}"
        )  # fmt: skip

    def close(self) -> None:
        """See `ports.Camera`."""
        camera, self._camera = self._camera, None
        if camera is not None:
            with _failing("the camera doesn't close"):
                # Not stop(): it waits its turn behind jobs that may never end, close() ends the event loop first.
                camera.close()


@contextlib.contextmanager
def _failing(what: str) -> Generator[None]:
    """Whatever libcamera raises, as one clear error."""
    try:
        yield
    except HolonodeError:
        raise
    except Exception as error:  # libcamera's bindings raise what they like
        raise HardwareError(
            what,
            got=f"{type(error).__name__}: {error}",
            remedy="Check the ribbon cable, and that nothing else uses the camera.",
        ) from error


def _is_as_asked(was: Exposure, asked: Exposure) -> bool:
    off_us = abs(was.exposure_us - asked.exposure_us)
    near = off_us <= max(_EXPOSURE_TOLERANCE * asked.exposure_us, _EXPOSURE_TOLERANCE_US)
    return near and abs(was.gain - asked.gain) <= _GAIN_TOLERANCE * asked.gain


def _described(mode: tuple[Any, ...]) -> str:
    width_px, height_px, bit_depth, bayer = mode
    return f"{width_px} x {height_px} px, {bit_depth} bits, {'monochrome' if bayer == 'none' else bayer}"
