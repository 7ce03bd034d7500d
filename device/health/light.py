"""Lamp and camera prove each other: a frame with the lamp off is dark, one with it on is bright, the photodiode says the same."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.drivers.ports import Camera, Lamp
from device.errors import HardwareError, HolonodeError, InputError
from device.frames import Exposure, RawFrame
from device.instrument import Instrument
from device.messaging.payloads import Check
from device.optics.autofocus import estimate_distance
from device.sampling.lit_frame import lit_frame

__all__ = ["LampFrame", "failed_check", "focus_check", "light_checks", "view_dark", "view_lit"]

_DARK = 0.02
"""Of full scale above the pedestal: a warm sensor's dark current stays below."""
_LIT = 0.05
"""Of full scale: less is no light to count by."""
_RIGHT = (0.10, 0.85)
"""Of full scale: as `holonode-calibrate flat` takes it."""
_MOST_SATURATED = 1e-3
_PHOTODIODE_RISE_V = 0.02
_OUT_OF_FOCUS_SIGMAS = 3.0
_SEARCHED, _CANDIDATES, _WINDOW_PX = (0.4, 1.8), 24, 256
"""Shares of the nominal distance: a narrower search takes the focus of a transparent particle, a lens, for its place."""
_PART_PX, _LEAST_CONTRAST = 64, 3.0
"""Of the noise, over a part of the frame: fainter fringes were found at the wrong distance on the twin."""


@dataclass(frozen=True)
class LampFrame:
    """A frame under one state of the lamp."""

    frame: RawFrame
    photodiode_v: float | None
    """Before the frame; None where there is no photodiode."""

    def level(self, instrument: Instrument) -> float:
        """Mean over full scale, pedestal taken off both."""
        dark = instrument.sensor.dark_level_counts if self.frame.bit_depth == instrument.sensor.bit_depth else 0.0
        return (float(self.frame.pixels.mean()) - dark) / (2**self.frame.bit_depth - 1 - dark)


def view_dark(camera: Camera, lamp: Lamp, exposure: Exposure) -> LampFrame:
    """With the lamp off, acknowledged."""
    state = lamp.off()
    photodiode_v = lamp.read().photodiode_v
    return LampFrame(_given(camera.capture(Exposure(exposure.exposure_us, exposure.gain, 0, 0.0), state)), photodiode_v)


def view_lit(camera: Camera, lamp: Lamp, exposure: Exposure) -> LampFrame:
    """With the lamp on, off again afterwards."""
    lamp.set_current(exposure.lamp_current_ma, exposure.lamp_channel)
    try:
        photodiode_v = lamp.read().photodiode_v
    finally:
        lamp.off()
    return LampFrame(_given(lit_frame(camera, lamp, exposure)), photodiode_v)


def _given(frame: RawFrame | None) -> RawFrame:
    if frame is None:
        raise HardwareError("the camera has no frames", remedy="A recorded camera can't be armed: name more recordings.")
    return frame


def light_checks(dark: LampFrame, lit: LampFrame, instrument: Instrument) -> list[Check]:
    """Lamp off, lamp on, photodiode, level."""
    off, on = dark.level(instrument), lit.level(instrument)
    return [_lamp_off(off, dark), _lamp_on(off, on, lit, dark), *_photodiode(dark, lit), _level(on, lit)]


def _lamp_off(off: float, dark: LampFrame) -> Check:
    if off <= _DARK:
        return Check(
            name="lamp off", status="ok", value=abs(round(off, 4)), unit="of full scale", message="the camera sees the dark"
        )
    return Check(
        name="lamp off", status="failed", value=abs(round(off, 4)), unit="of full scale",
        message=f"the camera sees light though the lamp acknowledged that it is off{_says(dark)}",
        remedy="Keep daylight out; check the lamp's driver and its enable line",
    )  # fmt: skip


def _lamp_on(off: float, on: float, lit: LampFrame, dark: LampFrame) -> Check:
    if on >= _LIT and on > 2 * off:
        return Check(name="lamp on", status="ok", value=round(on, 4), unit="of full scale", message="the camera sees the light")
    shines = _rises(dark, lit)
    where = {True: "the photodiode sees it: the way to the camera is blocked", False: "so does the photodiode", None: ""}[
        shines
    ]
    return Check(
        name="lamp on", status="failed", value=round(on, 4), unit="of full scale",
        message="the camera sees too little light though the lamp acknowledged that it is on" + (f"; {where}" if where else ""),
        remedy="Uncover and clean the window" if shines else "Check the lamp, its plug and driver; raise camera.exposure_us",
    )  # fmt: skip


def _says(view: LampFrame) -> str:
    return "" if view.photodiode_v is None else f" (photodiode {view.photodiode_v:.2f} V)"


def _rises(dark: LampFrame, lit: LampFrame) -> bool | None:
    """Whether the photodiode tells the lamp's states apart; None without one."""
    if dark.photodiode_v is None or lit.photodiode_v is None:
        return None
    return lit.photodiode_v > max(2 * dark.photodiode_v, dark.photodiode_v + _PHOTODIODE_RISE_V)


def _photodiode(dark: LampFrame, lit: LampFrame) -> list[Check]:
    rises = _rises(dark, lit)
    if rises is None:
        return []
    message = f"{dark.photodiode_v:.2f} V off, {lit.photodiode_v:.2f} V on"
    return [
        Check(
            name="photodiode",
            status="ok" if rises else "warning",
            value=round(lit.photodiode_v or 0.0, 3),
            unit="V",
            message=message,
            remedy="" if rises else "Check the photodiode and its place in sight of the lamp",
        )
    ]


def _level(on: float, lit: LampFrame) -> Check:
    saturated = float((lit.frame.pixels >= 2**lit.frame.bit_depth - 1).mean())
    if saturated > _MOST_SATURATED:
        return Check(
            name="saturation", status="failed" if saturated > 0.05 else "warning", value=round(saturated, 4),
            unit="of the pixels", message="at the white level", remedy="Lower camera.exposure_us or lamp.current_ma",
        )  # fmt: skip
    good = _RIGHT[0] <= on <= _RIGHT[1]
    return Check(
        name="level", status="ok" if good else "warning", value=round(on, 3), unit="of full scale",
        message="" if good else f"outside of {_RIGHT[0]:.0%} to {_RIGHT[1]:.0%}",
        remedy="" if good else "Change camera.exposure_us, then: holonode-calibrate flat",
    )  # fmt: skip


def focus_check(before: RawFrame, after: RawFrame, instrument: Instrument) -> Check:
    """Whether what came between two frames lies where the instrument looks; dirt on the sensor is in both and cancels."""
    optics = instrument.optics
    low_um, high_um = (factor * optics.distance_um for factor in _SEARCHED)
    background, dark = before.pixels.astype(np.float32), instrument.sensor.dark_level_counts
    try:
        seen = normalise(after.pixels.astype(np.float32), background, dark_counts=dark)
        if _strongest_contrast(seen.intensity) < _LEAST_CONTRAST * seen.noise:
            return Check(name="focus", status="not evaluated", message="nothing came that is strong enough to focus on")
        found = estimate_distance(
            seen.intensity, instrument.geometry, low_um, high_um, candidates=_CANDIDATES, window_px=_WINDOW_PX
        )
    except InputError as error:
        return Check(name="focus", status="not evaluated", message=error.what)
    allowed_um = optics.depth_um + _OUT_OF_FOCUS_SIGMAS * float(np.hypot(found.uncertainty_um, optics.distance_uncertainty_um))
    good = found.found and abs(found.distance_um - optics.distance_um) <= allowed_um
    where = (
        f"at {found.distance_um:.0f} +- {found.uncertainty_um:.0f} um"
        if found.found
        else f"at no one distance from {low_um:.0f} to {high_um:.0f} um: {found.reason}"
    )
    return Check(
        name="focus", status="ok" if good else "warning", value=round(found.distance_um) if found.found else None, unit="um",
        message=f"what came lies {where}; particles are looked for at {optics.distance_um:.0f} +- {optics.depth_um:.0f} um",
        remedy="" if good else "Seat window and spacer, then: holonode-calibrate distance",
    )  # fmt: skip


def _strongest_contrast(intensity: NDArray[np.float32]) -> float:
    """Standard deviation of the part of a hologram where it is highest."""
    mean, squares = (cv2.blur(image, (_PART_PX, _PART_PX)) for image in (intensity, intensity * intensity))
    return float(np.sqrt(max(float((squares - mean * mean).max()), 0.0)))


def failed_check(error: HolonodeError) -> Check:
    """What is said where lamp or camera failed."""
    return Check(
        name="lamp and camera", status="failed", message=str(error),
        remedy=error.remedy or "Check the cables of camera and lamp; stop whatever else uses them",
    )  # fmt: skip
