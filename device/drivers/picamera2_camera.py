"""A Raspberry Pi camera through picamera2: raw, exposure and gain fixed, frames that belong to a lamp state.

picamera2 is imported only in `start`. Not yet run on hardware.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import HardwareError
from device.frames import Clock, Exposure, LampState, RawFrame
from device.instrument import SensorSpec

__all__ = ["Picamera2Camera"]

# After a change of controls the sensor delivers frames that were already in its pipeline.
_MOST_DISCARDED = 8


class Picamera2Camera:
    """See `ports.Camera`."""

    def __init__(self, sensor: SensorSpec, *, timeout_s: float = 5.0, camera_number: int = 0) -> None:
        self._sensor, self._timeout_s, self._number = sensor, timeout_s, camera_number
        self._camera: Any = None
        self._last_ns = 0
        self._taken = 0

    def start(self) -> None:
        """See `ports.Camera`."""
        if self._camera is not None:
            return
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise HardwareError(
                "picamera2 is not installed",
                remedy="apt-get install python3-picamera2, and give the environment system packages.",
            ) from error
        try:
            camera = Picamera2(self._number)
            raw = {"format": self._raw_format(), "size": (self._sensor.width_px, self._sensor.height_px)}
            camera.configure(camera.create_video_configuration(raw=raw, buffer_count=4, queue=False))
            camera.start()
        except (RuntimeError, IndexError) as error:
            raise HardwareError(
                "the camera doesn't start", got=str(error) or "no camera found",
                remedy="Check the ribbon cable; `rpicam-hello --list-cameras` must show it.",
            ) from error  # fmt: skip
        self._camera = camera

    def _raw_format(self) -> str:
        order = "" if self._sensor.bayer == "none" else self._sensor.bayer
        return f"S{order}{self._sensor.bit_depth}" if order else f"R{self._sensor.bit_depth}"

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """See `ports.Camera`: a frame whose exposure began after the lamp's acknowledgement."""
        if self._camera is None:
            raise HardwareError("the camera isn't started", remedy="Call start() first.")
        exposure_us = round(exposure.exposure_us)
        self._camera.set_controls(
            {
                "AeEnable": False,
                "AwbEnable": False,
                "ExposureTime": exposure_us,
                "AnalogueGain": exposure.gain,
                "FrameDurationLimits": (exposure_us, exposure_us + 100_000),
            }
        )
        for _ in range(_MOST_DISCARDED):
            pixels, metadata = self._request()
            ended_ns = int(metadata["SensorTimestamp"])
            if ended_ns <= self._last_ns:
                raise HardwareError(
                    "the camera repeats a frame", got=f"sensor time stamp {ended_ns} ns again", remedy="Restart it."
                )
            self._last_ns = ended_ns
            was_us = float(metadata["ExposureTime"])
            # The sensor stamps the end of the exposure's first row.
            if ended_ns - was_us * 1000 > lamp.acknowledged_ns and abs(was_us - exposure_us) <= max(0.02 * exposure_us, 50):
                return self._frame(
                    pixels, metadata, Exposure(was_us, float(metadata["AnalogueGain"]), 0, lamp.current_ma), lamp
                )
        raise HardwareError(
            "the camera doesn't take the exposure", expected=f"{exposure_us} us under the acknowledged lamp",
            got=f"none of {_MOST_DISCARDED} frames", remedy="Restart the camera; lower the exposure.",
        )  # fmt: skip

    def _request(self) -> tuple[NDArray[np.uint16], dict[str, Any]]:
        job = self._camera.capture_request(wait=False)
        try:
            request = self._camera.wait(job, timeout=self._timeout_s)
        except TimeoutError as error:
            raise HardwareError(
                "the camera hangs",
                expected=f"a frame within {self._timeout_s:g} s",
                remedy="Power-cycle it; check the ribbon cable.",
            ) from error
        try:
            raw = request.make_array("raw").view(np.uint16)
            return raw[: self._sensor.height_px, : self._sensor.width_px].copy(), request.get_metadata()
        finally:
            request.release()

    def _frame(self, pixels: NDArray[np.uint16], metadata: dict[str, Any], exposure: Exposure, lamp: LampState) -> RawFrame:
        wanted = (self._sensor.height_px, self._sensor.width_px)
        if pixels.shape != wanted:
            raise HardwareError("the camera's frame has another shape", expected=wanted, got=pixels.shape)
        pixels.setflags(write=False)
        self._taken += 1
        # SensorTimestamp is on the monotonic clock: wall time is now, less its age.
        age_s = max(time.monotonic_ns() - int(metadata["SensorTimestamp"]), 0) * 1e-9
        captured = datetime.fromtimestamp(time.time() - age_s, UTC)
        number = self._taken - 1
        return RawFrame(
            pixels,
            self._sensor.bit_depth,
            exposure,
            lamp,
            int(metadata["SensorTimestamp"]),
            captured,
            Clock(),
            number,
            f"frame-{number:06d}",
        )

    def close(self) -> None:
        """See `ports.Camera`."""
        if self._camera is not None:
            self._camera.stop()
            self._camera.close()
            self._camera = None
