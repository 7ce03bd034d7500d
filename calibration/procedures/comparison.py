"""What was measured against what the instrument file says: a figure that it rules out doesn't pass, however small its scatter."""

from __future__ import annotations

from collections.abc import Mapping

from device.calibration import Quantity
from device.instrument import Fluidics, Instrument, OpticsSpec, SensorSpec

__all__ = ["against_instrument", "against_sensor"]

_SIGMAS = 6.0
"""As records are told to contradict each other (device.calibration)."""
_UNSTATED = {"pitch_um": 0.002, "distance_um": 0.05, "flow_ml_min": 0.05}
"""Standard uncertainty, relative, where the instrument file states none: makers' tolerances."""
_FACTORS = {"read_noise_e": 8.0, "full_well_e": 2.0}
"""Between a sensor's published figure and its own: gain settings and published averages differ by less."""
_COULD_BE = {
    "pitch_um": "another ruling or bead size than stated, a harmonic, or another sensor mode (binning)",
    "distance_um": "another slide or spacer, beads of another size or index, or another pitch or wavelength",
    "flow_ml_min": "another interval between the frames or channel, particles taken for each other, or a leak",
    "dark_level_counts": "light on the sensor, another bit depth, or another sensor mode",
    "read_noise_e": "another gain or bit depth than the instrument file has",
    "full_well_e": "another gain or bit depth than the instrument file has, or light that isn't steady",
}


def against_instrument(values: Mapping[str, Quantity], instrument: Instrument) -> list[str]:
    """Why not, for every figure that the instrument file rules out."""
    return [
        *_apart(values, _nominals(instrument.sensor, instrument.optics, instrument.fluidics)),
        *against_sensor(values, instrument.sensor),
    ]


def against_sensor(values: Mapping[str, Quantity], sensor: SensorSpec) -> list[str]:
    """The same for figures of the sensor alone, which its file states without uncertainty."""
    white = 2**sensor.bit_depth - 1
    tolerance_counts = max(0.1 * sensor.dark_level_counts, 0.002 * white)
    reasons = _apart(values, {"dark_level_counts": (sensor.dark_level_counts, tolerance_counts)})
    for name, factor in _FACTORS.items():
        measured, nominal = values.get(name), float(getattr(sensor, name))
        if measured is None or nominal <= 0:
            continue
        if not nominal / factor <= measured.value <= nominal * factor:
            reasons.append(
                f"{name} {measured.value:.4g} is not within a factor of {factor:g} of the instrument file's {nominal:g}: {_COULD_BE[name]}"
            )
    return reasons


def _nominals(sensor: SensorSpec, optics: OpticsSpec, fluidics: Fluidics) -> dict[str, tuple[float, float]]:
    """Figure and standard uncertainty by name."""
    return {
        "pitch_um": (sensor.pitch_um, sensor.pitch_uncertainty_um),
        "distance_um": (optics.distance_um, optics.distance_uncertainty_um),
        "flow_ml_min": (fluidics.flow_ml_min, fluidics.flow_relative_uncertainty * fluidics.flow_ml_min),
    }


def _apart(values: Mapping[str, Quantity], nominals: Mapping[str, tuple[float, float]]) -> list[str]:
    reasons: list[str] = []
    for name, (nominal, stated) in nominals.items():
        measured = values.get(name)
        if measured is None or nominal <= 0:
            continue
        sigma = stated or _UNSTATED.get(name, 0.0) * nominal
        together = (sigma**2 + measured.uncertainty**2) ** 0.5
        if not abs(measured.value - nominal) <= _SIGMAS * together:
            reasons.append(
                f"{name} {measured.value:.5g} differs from the instrument file's {nominal:.5g} +- {sigma:.2g} by "
                f"{abs(measured.value - nominal) / together:.0f} standard deviations: {_COULD_BE[name]}; if the instrument is what was "
                "measured, correct its file first"
            )
    return reasons
