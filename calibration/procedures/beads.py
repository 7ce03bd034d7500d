"""Spheres of known size: where each is, in three dimensions; from that the distance, the tilt of the plane, the pitch.

Each bead is fitted with the exact Lorenz-Mie hologram (device.optics.sphere_fit). All distances scale alike with the
wavelength and with the square of the pitch, which no number of beads averages out: it is the systematic share of every
uncertainty here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from calibration.procedures.comparison import against_instrument
from calibration.procedures.outcome import ProcedureOutcome, halves_agree, mean_with_uncertainty
from device.calibration import Quantity
from device.errors import InputError
from device.instrument import Instrument
from device.optics.lorenz_mie import Light, sphere_hologram
from device.optics.propagation import backpropagate, fringe_reach_px
from device.optics.sphere_fit import Sphere, SphereFit, find_sphere, fit_sphere, hologram_centre

__all__ = [
    "BeadTarget",
    "FoundBead",
    "find_beads",
    "measure_distance",
    "measure_pitch",
    "measure_tilt",
    "places_of_beads",
    "scan_beads",
]

_REACH_PX = 56
_LEAST_BEADS = 5
_SCOUTS = 2
_WORST_RESIDUAL = 0.9
_WORST_DIAMETER = 0.1
"""Relative error of the beads' median diameter as fitted."""
_TILTS_AGREE_DEGREES = 0.15
_PITCH_SHARE = 0.003
"""Relative error of a pitch from beads that their scatter doesn't show (neighbours' fringes, background division): the rms of
simulated trials (tests/benchmarks/calibration_twin.py). A ruled target has none of it."""


@dataclass(frozen=True)
class BeadTarget:
    """What the maker says of the beads, and what they lie in."""

    diameter_um: float
    diameter_uncertainty_um: float
    """One standard deviation of the mean diameter."""
    index: float = 1.578
    """Refractive index of a bead; polystyrene at 850 nm (Sultanova et al., Acta Phys. Pol. A 116, 585 (2009))."""
    search_um: float = 60.0
    """Half range of the distances searched around the nominal one."""


@dataclass(frozen=True)
class FoundBead:
    """One bead."""

    x_um: float
    """From the middle of the frame, along columns."""
    y_um: float
    """From the middle of the frame, along rows."""
    z_um: float
    """Centre to sensor."""
    z_uncertainty_um: float
    radius_um: float
    contrast: float
    """Of its fringes, relative to what the instrument's light should give."""
    residual: float


def light_of(instrument: Instrument) -> Light:
    """The instrument's light for Lorenz-Mie holograms."""
    lamp = instrument.lamp
    angle = lamp.source_diameter_um / lamp.source_distance_um if lamp.source_distance_um else 0.0
    return Light(
        lamp.wavelength_um, instrument.optics.medium_index, lamp.bandwidth_um, angle, instrument.geometry.object_pitch_um
    )


def places_of_beads(intensity: NDArray[np.float32], instrument: Instrument, most: int) -> list[tuple[int, int]]:
    """Rows and columns of compact scatterers that stand clear of each other and of the border, strongest first."""
    field = backpropagate(intensity, instrument.geometry)
    strength = cv2.GaussianBlur(np.abs(field - np.median(field)).astype(np.float32), (0, 0), 2.0)
    floor = np.median(strength) + 6 * 1.4826 * np.median(np.abs(strength - np.median(strength)))
    peaks = (strength == cv2.dilate(strength, np.ones((25, 25), np.uint8))) & (strength > max(floor, 0.05))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-strength[rows, columns])
    height, width = strength.shape
    border, apart = 24, 28
    found: list[tuple[int, int]] = []
    everything = list(zip(rows.tolist(), columns.tolist(), strict=True))
    for index in order:
        row, column = everything[index]
        inside = border <= row < height - border and border <= column < width - border
        rivals = [(r, c) for r, c in everything if (r, c) != (row, column) and strength[r, c] > 0.5 * strength[row, column]]
        lonely = all(np.hypot(row - r, column - c) >= apart for r, c in rivals)
        if inside and lonely:
            found.append((row, column))
    return found[:most]


def find_beads(
    intensity: NDArray[np.float32], instrument: Instrument, target: BeadTarget, *, most: int = 24, pixels: int = 3000
) -> list[FoundBead]:
    """Fit every bead of a normalised frame [height, width]; poor fits (debris, clumps) are left out.

    The first few beads are searched over the whole range, the others from where those lie. InputError where nothing bead
    like is there.
    """
    places = places_of_beads(intensity, instrument, most)
    if not places:
        raise InputError("no beads found", where="calibration frame", expected=f"{_LEAST_BEADS} or more apart from each other",
                         got=0, remedy="Put the bead slide in, check focus range and exposure.")  # fmt: skip
    light, pitch_um = light_of(instrument), instrument.geometry.object_pitch_um
    nominal_um, radius_um = instrument.geometry.propagation_um, target.diameter_um / 2
    scouts: list[Sphere] = []
    for row, column in places[:_SCOUTS]:
        scout = _searched(intensity, instrument, target, (row, column)).sphere
        if abs(scout.radius_um / radius_um - 1) < 0.3:
            scouts.append(scout)
    if not scouts:
        raise InputError("nothing here looks like the beads described", where="calibration frame",
                         expected=f"spheres of {target.diameter_um:g} um, index {target.index:g}", got=f"{len(places)} other objects")  # fmt: skip
    middle_um = float(np.median([scout.z_um for scout in scouts]))
    starts = [Sphere(*hologram_centre(intensity, place), middle_um, radius_um, target.index) for place in places]
    reach_px = int(0.6 * fringe_reach_px(pitch_um, light.wavelength_um / light.medium_index, nominal_um))
    fits = _fitted(intensity, starts, light, pitch_um, _REACH_PX, pixels)
    fits = _fitted(
        intensity, [f.sphere for f in fits if _is_bead(f, radius_um)], light, pitch_um, max(reach_px, _REACH_PX), pixels
    )
    return [_bead(f.sphere, f.uncertainty.z_um, f.residual, intensity.shape, pitch_um) for f in fits if _is_bead(f, radius_um)]


def scan_beads(
    intensity: NDArray[np.float32], instrument: Instrument, target: BeadTarget, *, most: int = 16
) -> list[FoundBead]:
    """Every bead at a depth of its own, from nothing but ranges: rougher than `find_beads`, for a channel rather than a slide."""
    pitch_um, radius_um = instrument.geometry.object_pitch_um, target.diameter_um / 2
    fits = [_searched(intensity, instrument, target, place) for place in places_of_beads(intensity, instrument, most)]
    kept = [f for f in fits if _is_bead(f, radius_um)]
    return [_bead(f.sphere, f.uncertainty.z_um, f.residual, intensity.shape, pitch_um) for f in kept]


def _is_bead(fit: SphereFit, radius_um: float) -> bool:
    return fit.converged and fit.residual < _WORST_RESIDUAL and abs(fit.sphere.radius_um / radius_um - 1) < 0.3


def _searched(intensity: NDArray[np.float32], instrument: Instrument, target: BeadTarget, place: tuple[int, int]) -> SphereFit:
    """One bead from nothing but ranges."""
    nominal_um, radius_um = instrument.geometry.propagation_um, target.diameter_um / 2
    return find_sphere(
        intensity, light_of(instrument), instrument.geometry.object_pitch_um, place, index=target.index, radius_px=_REACH_PX,
        z_range_um=(max(nominal_um - target.search_um, 2 * radius_um), nominal_um + target.search_um),
        radius_range_um=(0.9 * radius_um, 1.1 * radius_um), tries=2,
    )  # fmt: skip


def _fitted(
    intensity: NDArray[np.float32], starts: Sequence[Sphere], light: Light, pitch_um: float, reach_px: int, pixels: int
) -> list[SphereFit]:
    """Each sphere fitted to the frame less the holograms of all others, for fringes reach far."""
    apart = [_fringes(intensity.shape, sphere, light, pitch_um) for sphere in starts]
    everyone = np.sum(apart, axis=0, dtype=np.float32) if apart else 0
    return [
        fit_sphere(
            intensity - (everyone - own), light, pitch_um, start, free=("row_px", "column_px", "z_um", "radius_um", "contrast"),
            radius_px=reach_px, pixels=pixels,
        )
        for start, own in zip(starts, apart, strict=True)
    ]  # fmt: skip


def _fringes(shape: tuple[int, ...], sphere: Sphere, light: Light, pitch_um: float) -> NDArray[np.float32]:
    """A sphere's hologram less 1, on the square its resolved fringes reach."""
    reach = fringe_reach_px(pitch_um, light.wavelength_um / light.medium_index, sphere.z_um)
    top, left = max(round(sphere.row_px) - reach, 0), max(round(sphere.column_px) - reach, 0)
    bottom, right = min(round(sphere.row_px) + reach, shape[0]), min(round(sphere.column_px) + reach, shape[1])
    hologram = sphere_hologram(
        light, (bottom - top, right - left), pitch_um, centre_px=(sphere.row_px - top, sphere.column_px - left),
        z_um=sphere.z_um, radius_um=sphere.radius_um, index=sphere.index,
    )  # fmt: skip
    canvas = np.zeros(shape, np.float32)
    canvas[top:bottom, left:right] = sphere.contrast * (hologram - 1)
    return canvas


def _bead(sphere: Sphere, z_uncertainty_um: float, residual: float, shape: tuple[int, ...], pitch_um: float) -> FoundBead:
    return FoundBead(
        x_um=(sphere.column_px - (shape[1] - 1) / 2) * pitch_um,
        y_um=(sphere.row_px - (shape[0] - 1) / 2) * pitch_um,
        z_um=sphere.z_um,
        z_uncertainty_um=z_uncertainty_um,
        radius_um=sphere.radius_um,
        contrast=sphere.contrast,
        residual=residual,
    )


def _systematic(instrument: Instrument) -> float:
    """Relative standard uncertainty of every distance: twice the pitch's, and the wavelength's."""
    pitch = 2 * instrument.sensor.pitch_uncertainty_um / instrument.sensor.pitch_um
    return float(np.hypot(pitch, instrument.lamp.wavelength_uncertainty_um / instrument.lamp.wavelength_um))


def _too_few(beads: Sequence[FoundBead]) -> list[str]:
    return [f"only {len(beads)} usable beads ({_LEAST_BEADS} or more)"] if len(beads) < _LEAST_BEADS else []


def measure_distance(beads: Sequence[FoundBead], instrument: Instrument, diameter_um: float | None = None) -> ProcedureOutcome:
    """Distance of the plane of beads from the sensor, at the middle of the frame.

    It fails where halves of the beads, their size (of `diameter_um`, where it is known) or the instrument file contradict it.
    """
    z_um = np.array([b.z_um for b in beads])
    if len(beads) >= _LEAST_BEADS:
        plane, _, _ = _plane(beads)
        z_um = z_um - plane[1] * np.array([b.x_um for b in beads]) - plane[2] * np.array([b.y_um for b in beads])
    systematic_um = _systematic(instrument) * float(np.median(z_um))
    distance_um, uncertainty_um, scatter_um, count = mean_with_uncertainty(z_um, systematic_um)
    reasons = _too_few(beads)
    if scatter_um > 15:
        reasons.append(f"the beads scatter by {scatter_um:.1f} um in depth (15 or less): use a slide with one layer")
    inner = np.argsort([np.hypot(b.x_um, b.y_um) for b in beads])
    middle = len(beads) // 2
    reasons += halves_agree("distance", (z_um[::2], z_um[1::2]), (z_um[inner[:middle]], z_um[inner[middle:]]), floor=1.0)
    reasons += _wrong_size(beads, diameter_um)
    scale = instrument.optics.distance_um / instrument.geometry.propagation_um
    values = {"distance_um": Quantity(value=distance_um * scale, uncertainty=uncertainty_um * scale, unit="um")}
    reasons += against_instrument(values, instrument)
    return ProcedureOutcome(values, {"depth_scatter_um": scatter_um, "beads": float(count)}, reasons)


def _wrong_size(beads: Sequence[FoundBead], diameter_um: float | None) -> list[str]:
    """The fit's own diameter is a second reading of pitch, index and distance together."""
    seen_um = 2 * float(np.median([b.radius_um for b in beads])) if beads else 0.0
    if diameter_um is None or abs(seen_um / diameter_um - 1) <= _WORST_DIAMETER:
        return []
    return [
        f"the beads look {seen_um:.3g} um across, and are stated as {diameter_um:g} um: check --diameter-um, --index, and the "
        "instrument's pitch and wavelength"
    ]


def measure_tilt(beads: Sequence[FoundBead], instrument: Instrument) -> ProcedureOutcome:
    """Tilt of the plane of beads against the sensor, about both axes."""
    reasons = _too_few(beads)
    if reasons:
        return ProcedureOutcome({}, {"beads": float(len(beads))}, reasons)
    plane, deviations, scatter_um = _plane(beads)
    degrees = np.rad2deg(np.arctan(plane[1:]))
    scale = 1 + _systematic(instrument)
    values = {
        name: Quantity(value=float(angle), uncertainty=float(np.rad2deg(deviation)) * scale, unit="degrees")
        for name, angle, deviation in zip(("tilt_x_degrees", "tilt_y_degrees"), degrees, deviations[1:], strict=True)
    }
    reasons += _tilts_apart(beads)
    if float(np.hypot(*degrees)) > 3:
        reasons.append(f"the window is tilted by {np.hypot(*degrees):.1f} degrees (3 or less): reseat it")
    return ProcedureOutcome(values, {"depth_scatter_um": scatter_um, "beads": float(len(beads))}, reasons)


def _tilts_apart(beads: Sequence[FoundBead]) -> list[str]:
    """Why not, where two halves of the beads lie on planes of other slopes."""
    halves = beads[::2], beads[1::2]
    if min(map(len, halves)) < _LEAST_BEADS:
        return []
    (first, first_deviations, _), (second, second_deviations, _) = map(_plane, halves)
    apart = np.rad2deg(np.abs(first - second)[1:])
    allowed = np.rad2deg(5 * np.hypot(first_deviations, second_deviations)[1:]) + _TILTS_AGREE_DEGREES
    if (apart <= allowed).all():
        return []
    return [f"two halves of the beads disagree about the tilt by {apart.max():.2f} degrees: they don't lie in one plane"]


def _plane(beads: Sequence[FoundBead]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """z = c0 + c1 x + c2 y, standard uncertainties (widened for few beads) and scatter; outliers left out."""
    design = np.array([[1.0, b.x_um, b.y_um] for b in beads])
    z_um = np.array([b.z_um for b in beads])
    kept = np.ones(len(beads), bool)
    answer, residual = np.zeros(3), z_um
    for _ in range(4):
        answer = np.asarray(np.linalg.lstsq(design[kept], z_um[kept], rcond=None)[0], np.float64)
        residual = z_um - design @ answer
        scale = max(1.4826 * float(np.median(np.abs(residual[kept]))), 1e-6)
        now = np.abs(residual) < 4 * scale
        if now.sum() < _LEAST_BEADS or (now == kept).all():
            break
        kept = now
    degrees = max(int(kept.sum()) - 3, 1)
    variance = float(np.sum(residual[kept] ** 2)) / degrees
    widening = float(scipy.stats.t.ppf(0.975, degrees) / scipy.stats.norm.ppf(0.975))
    covariance = np.linalg.inv(design[kept].T @ design[kept]) * variance
    return answer, widening * np.sqrt(np.diag(covariance)), float(np.sqrt(variance))


def measure_pitch(
    intensity: NDArray[np.float32],
    instrument: Instrument,
    target: BeadTarget,
    beads: Sequence[FoundBead],
    *,
    pixels: int = 1500,
) -> ProcedureOutcome:
    """Pixel pitch from beads of known diameter: the pitch at which spheres of that diameter explain the frame best.

    For every bead the pitch is scanned and the fit's cost followed by a parabola; distances adapt freely.
    """
    reasons = _too_few(beads)
    light, nominal_um = light_of(instrument), instrument.geometry.object_pitch_um
    height, width = intensity.shape
    scales = np.array([0.99, 0.995, 1.0, 1.005, 1.01])
    estimates: list[float] = []
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    places = [middle + np.array([b.y_um, b.x_um]) / nominal_um for b in beads]
    apart = [
        _fringes(
            intensity.shape, Sphere(float(p[0]), float(p[1]), b.z_um, b.radius_um, target.index, b.contrast), light, nominal_um
        )
        for p, b in zip(places, beads, strict=True)
    ]
    everyone = np.sum(apart, axis=0, dtype=np.float32) if apart else np.float32(0)
    for bead, (row, column), own in zip(beads, places, apart, strict=True):
        alone = intensity - (everyone - own)
        costs: list[float] = []
        for scale in scales:
            start = Sphere(row, column, bead.z_um * scale**2, target.diameter_um / 2, target.index)
            fit = fit_sphere(
                alone, light, nominal_um * scale, start, free=("row_px", "column_px", "z_um", "contrast"),
                radius_px=_REACH_PX, pixels=pixels,
            )  # fmt: skip
            costs.append(fit.residual**2)
        curve = np.polyfit(scales, costs, 2)
        best = -curve[1] / (2 * curve[0]) if curve[0] > 0 else np.nan
        if 0.97 < best < 1.03:
            estimates.append(best * nominal_um)
    if len(estimates) < _LEAST_BEADS:
        reasons.append(f"only {len(estimates)} beads tell the pitch ({_LEAST_BEADS} or more)")
        return ProcedureOutcome({}, {"beads": float(len(estimates))}, reasons)
    relative = float(np.hypot(target.diameter_uncertainty_um / target.diameter_um, _PITCH_SHARE))
    pitch_um, uncertainty_um, scatter_um, count = mean_with_uncertainty(np.array(estimates), relative * nominal_um)
    magnification = instrument.sensor.pitch_um / nominal_um
    values = {"pitch_um": Quantity(value=pitch_um * magnification, uncertainty=uncertainty_um * magnification, unit="um")}
    found = np.array(estimates)
    reasons += halves_agree("pitch", (found[::2], found[1::2]), floor=2 * _PITCH_SHARE * nominal_um)
    reasons += against_instrument(values, instrument)
    return ProcedureOutcome(values, {"pitch_scatter_um": scatter_um, "beads": float(count)}, reasons)
