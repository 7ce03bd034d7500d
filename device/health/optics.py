"""Today's optics against the commissioning baseline: what has drifted, and by how much."""

from __future__ import annotations

from device.analysis.baseline import Baseline, baseline
from device.calibration import CalibrationRecord
from device.config import Config
from device.drivers.ports import Camera, Lamp
from device.errors import HardwareError
from device.frames import Exposure
from device.instrument import Instrument
from device.messaging.payloads import Check

__all__ = ["compare_optics", "measure_baseline"]

_FRAMES = 4
_MORE_ODD_PIXELS = 20
_REMEDIES = {
    "background_level": "Check the lamp's current and age, clean the window; after a rebuild move the old flat record away",
    "evenness": "Reseat the lamp over the sensor, clean the window",
    "odd_pixels": "Look for dust on the sensor itself, then: holonode-calibrate dark",
    "background_contrast": "Clean or advance the window: dirt and scratches write fringes into every frame",
}


def measure_baseline(config: Config, instrument: Instrument, camera: Camera, lamp: Lamp) -> Baseline:
    """Figures of a few frames with the lamp on; HardwareError where the camera gives none."""
    current_ma = min(config.lamp.current_ma, instrument.lamp.max_current_ma)
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, current_ma)
    camera.start()
    state = lamp.set_current(current_ma)
    try:
        frames = [frame.pixels for frame in (camera.capture(exposure, state) for _ in range(_FRAMES)) if frame is not None]
    finally:
        lamp.off()
    if len(frames) < 2:
        raise HardwareError("the camera gave no frames", where="optics check", expected=_FRAMES, got=len(frames))
    return baseline(frames, instrument.sensor)


def compare_optics(seen: Baseline, record: CalibrationRecord) -> list[Check]:
    """One check per figure of the `flat` record: ok, or a warning that names both values."""
    today = {"background_level": seen.level, "evenness": seen.evenness, "background_contrast": seen.contrast}
    # What counts as drift: a lamp that lost a tenth of its light, a field a tenth less even, twice the dirt.
    allowed = {"background_level": 0.1, "evenness": 0.1, "background_contrast": 1.0}
    checks: list[Check] = []
    for name, value in today.items():
        before = record.values.get(name)
        if before is None or before.value == 0:
            continue
        change = value / before.value - 1
        one_sided = name != "background_level"
        drifted = (
            (change > allowed[name])
            if name == "background_contrast"
            else abs(min(change, 0.0) if one_sided else change) > allowed[name]
        )
        checks.append(
            Check(
                name=name.replace("_", " "),
                status="warning" if drifted else "ok",
                value=round(value, 4),
                message=f"{change:+.0%} since commissioning ({before.value:.4g} on {record.made_at:%Y-%m-%d})",
                remedy=_REMEDIES[name] if drifted else "",
            )
        )
    odd = record.values.get("odd_pixels")
    if odd is not None:
        more = seen.odd_pixels > 2 * odd.value + _MORE_ODD_PIXELS
        checks.append(Check(name="odd pixels", status="warning" if more else "ok", value=seen.odd_pixels, unit="pixels",
                            message=f"{odd.value:.0f} on {record.made_at:%Y-%m-%d}",
                            remedy=_REMEDIES["odd_pixels"] if more else ""))  # fmt: skip
    if seen.saturated > 1e-3:
        checks.append(Check(name="saturation", status="warning", value=round(seen.saturated, 4),
                            message="share of pixels at the white level", remedy="Lower camera.exposure_us"))  # fmt: skip
    return checks
