"""What an instrument's own frames say about it, without labels and without a target: distance, aberrations, pseudo-truth.

A network that was made for another instrument finds the particles well enough to begin with; from there physics decides.
Rounds of reconstruction and joint fit give the aberrations (calibration.procedures.aberrations), each half of the frames on
its own, so that their disagreement is the uncertainty. Then every particle is refined against the measured hologram, from a second
look and with its depth by fine rings, as on the box: the field and the depth that come out are what the model workshop may
believe, and a map says where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.procedures.aberrations import FoundParticles, measure_aberrations, pupil_radius_per_px
from calibration.procedures.comparison import against_instrument
from calibration.procedures.outcome import ProcedureOutcome, halves_agree, mean_with_uncertainty
from device.analysis.background import noise_level
from device.analysis.depth import Depth, estimate_depth
from device.analysis.reconstruct import FieldNetwork, reconstruct
from device.analysis.refine import Refined, RefineSettings, refine
from device.analysis.second_look import RingGain
from device.analysis.segment import Segment, segment
from device.calibration import ABERRATION_VALUES, Quantity
from device.errors import InputError
from device.frames import Hologram
from device.instrument import Instrument
from device.optics.fft import fft2, ifft2
from device.optics.geometry import Geometry
from device.optics.multiheight import retrieve_multi_height
from device.optics.pupil import Pupil
from device.transfer import TransferFile

__all__ = ["Measured", "measure_transfer"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_LEAST_PARTICLES = 20
_MOST_ABERRATION_UNCERTAINTY_RAD = 0.6
_BELIEVED_RESIDUAL = 0.15
"""A particle whose fringes are unexplained by more than this share of their energy isn't believed."""
_SYSTEMATIC = 0.1
"""Error of a coefficient that both halves share (terms that aren't fitted, an approach that stops short), as a share of all
aberrations together; from two simulated instruments: 0.05 (tests/benchmarks/transfer.py) and 0.09 (`holonode-calibrate rehearse
transfer`)."""
_NEAR_WEIGHT = 6.0
_NEAR_PX = 3
_ITERATIONS = 8


@dataclass(frozen=True)
class Measured:
    """Figures for the record, and the file for the model workshop."""

    outcome: ProcedureOutcome
    file: TransferFile


@dataclass(frozen=True)
class _RefinedFrame:
    """What the network found in one frame, and what physics made of it."""

    found: FoundParticles
    refined: Refined
    noise: float


@dataclass(frozen=True)
class _Believed:
    """Pseudo-truth of one frame."""

    truth: Complex
    weight: Real
    labels: NDArray[np.uint16]
    depths_um: list[float]
    kept: int
    left_over: float
    """Share of the fringes' energy that stays unexplained."""


def measure_transfer(
    intensities: Sequence[Real], instrument: Instrument, network: FieldNetwork, *, heights_um: Sequence[float] = (),
    distances_um: Sequence[float] = (), gain: RingGain | None = None, aberrations: bool = True, rounds: int = 6,
) -> Measured:  # fmt: skip
    """Measure an instrument from plain frames.

    Parameters: `intensities` float32 [height, width] each, 1 where nothing is, one shape; `instrument` as it is known so
    far; `network` a first guess, made for other optics or not; `heights_um` one distance per frame where all show one object
    that stands still, `distances_um` one where each shows another (neither: frames are independent, at the instrument's
    distance); `gain` of the second look that the network comes with; `aberrations` False leaves them out.
    InputError where frames are too few, differ in shape, or the heights or distances don't fit them.
    """
    _check(intensities, heights_um, distances_um)
    nominal = instrument.geometry
    geometries = [nominal.at(z) for z in (*heights_um, *distances_um)] or [nominal] * len(intensities)
    radius_per_px, edge = pupil_radius_per_px(intensities)
    radius_per_um = radius_per_px / nominal.object_pitch_um
    halves: list[Pupil] = []
    if aberrations:
        halves = [_pupil_of(intensities[k::2], geometries[k::2], network, radius_per_um, rounds) for k in (0, 1)]
    pupil, deviations = _joined(halves, radius_per_um)
    measured = [replace(g, pupil=pupil) for g in geometries]
    frames = [] if heights_um else [_refined(i, g, network, gain) for i, g in zip(intensities, measured, strict=True)]
    by_frame = [_offsets_um(frame.refined.depths, g) for frame, g in zip(frames, measured, strict=False)]
    offsets_um = np.concatenate([np.zeros(0), *by_frame])
    distance = _distance(offsets_um, instrument, nominal)
    shift_um = distance.value - nominal.distance_um
    if abs(shift_um) > nominal.object_pitch_um**2 / nominal.wavelength_medium_um:
        measured = [g.at(g.distance_um + shift_um) for g in measured]
        frames = [_refined(i, g, network, gain) for i, g in zip(intensities, measured, strict=True)] if frames else []
    if heights_um:
        believed = [_by_heights(intensities, measured)]
        intensities, measured = intensities[:1], measured[:1]
    else:
        believed = [_believed(frame) for frame in frames]
    doubts = _doubts(by_frame, instrument, nominal)
    spread_um = float(np.quantile(np.abs(offsets_um - shift_um), 0.9)) if len(offsets_um) else 0.0
    depth_um = max(instrument.optics.depth_um, spread_um)
    file = _file(intensities, measured, believed, instrument, depth_um, math.sqrt(sum(d * d for d in deviations)))
    return Measured(_outcome(believed, distance, pupil, deviations, doubts, edge=edge), file)


def _check(intensities: Sequence[Real], heights_um: Sequence[float], distances_um: Sequence[float]) -> None:
    shapes = sorted({i.shape for i in intensities})
    if len(intensities) < 2 or len(shapes) != 1:
        raise InputError("these frames can't be used together", where="transfer", expected="2 or more of one shape (8 are good)",
                         got=f"{len(intensities)} of shapes {shapes}")  # fmt: skip
    if min(shapes[0]) < 128:
        raise InputError("the frames are too small", where="transfer", expected="128 pixels or more a side", got=shapes[0])
    if heights_um and distances_um:
        raise InputError("one object or many?", where="transfer", expected="--heights-um or --distances-um", got="both")
    for name, given in (("heights", heights_um), ("distances", distances_um)):
        if given and len(given) != len(intensities):
            raise InputError(f"frames and {name} don't match", where=f"--{name}-um", expected=f"{len(intensities)} of them", got=len(given))  # fmt: skip


def _found(intensity: Real, geometry: Geometry, network: FieldNetwork) -> FoundParticles:
    hologram = Hologram(intensity, geometry, noise_level(intensity), datetime.now(UTC))
    result = reconstruct(hologram, network, whole=True)
    parts = segment(result.field, start=result.start)
    depths = [estimate_depth(result.start, result.field, part, geometry).equivalent(geometry) for part in parts]
    return FoundParticles(np.sqrt(np.maximum(intensity, 0), dtype=np.float32), result.field, parts, depths)


def _pupil_of(
    intensities: Sequence[Real], geometries: Sequence[Geometry], network: FieldNetwork, radius_per_um: float, rounds: int
) -> Pupil:
    def find(pupil: Pupil) -> list[FoundParticles]:
        return [_found(i, replace(g, pupil=pupil), network) for i, g in zip(intensities, geometries, strict=True)]

    return measure_aberrations(find, geometries, radius_per_um, rounds=rounds)


def _joined(halves: Sequence[Pupil], radius_per_um: float) -> tuple[Pupil | None, list[float]]:
    """Mean of the halves, and one standard deviation of each coefficient."""
    if not halves:
        return None, []
    each = np.array([half.coefficients_rad for half in halves])
    pupil = Pupil(tuple(each.mean(axis=0).tolist()), radius_per_um)
    apart = np.abs(each[0] - each[1]) / 2
    # Two halves say little about a single coefficient: all of them say more. What they err by alike, nobody's half shows.
    common = math.hypot(math.sqrt(float(np.mean(apart**2))), _SYSTEMATIC * pupil.rms_rad)
    return pupil, np.hypot(apart, common).tolist()


def _offsets_um(depths: Sequence[Depth], geometry: Geometry) -> NDArray[np.float64]:
    """How far behind the stated distance each particle of a frame lies, float64 [particles]."""
    return np.array([depth.physical(geometry).z_um - geometry.distance_um for depth in depths], np.float64)


def _distance(offsets_um: NDArray[np.float64], instrument: Instrument, nominal: Geometry) -> Quantity:
    """Where the particles lie, joined with what is known of the distance."""
    prior_um = instrument.optics.distance_uncertainty_um
    if len(offsets_um) < 3:
        return Quantity(value=nominal.distance_um, uncertainty=prior_um, unit="um")
    unit_um = nominal.object_pitch_um**2 / nominal.wavelength_medium_um
    mean_um, uncertainty_um, _, _ = mean_with_uncertainty(nominal.distance_um + offsets_um, 2 * unit_um)
    if prior_um <= 0:
        return Quantity(value=mean_um, uncertainty=uncertainty_um, unit="um")
    weights = np.array([1 / prior_um**2, 1 / uncertainty_um**2])
    value = float(np.average([nominal.distance_um, mean_um], weights=weights))
    return Quantity(value=value, uncertainty=float(1 / np.sqrt(weights.sum())), unit="um")


def _doubts(by_frame: Sequence[NDArray[np.float64]], instrument: Instrument, nominal: Geometry) -> list[str]:
    """What speaks against the distance that the particles tell by themselves: the instrument file, or half of the frames."""
    halves = [nominal.distance_um + np.concatenate([np.zeros(0), *by_frame[k::2]]) for k in (0, 1)]
    places = np.concatenate(halves)
    if len(places) < 3:
        return []
    unit_um = nominal.object_pitch_um**2 / nominal.wavelength_medium_um
    mean_um, uncertainty_um, _, _ = mean_with_uncertainty(places, 2 * unit_um)
    told = {
        "distance_um": Quantity(value=mean_um, uncertainty=math.hypot(uncertainty_um, instrument.optics.depth_um), unit="um")
    }
    return against_instrument(told, instrument) + halves_agree(
        "distance", (halves[0], halves[1]), floor=max(4 * unit_um, instrument.optics.depth_um)
    )


def _refined(intensity: Real, geometry: Geometry, network: FieldNetwork, gain: RingGain | None) -> _RefinedFrame:
    found, noise = _found(intensity, geometry, network), noise_level(intensity)
    settings = RefineSettings(_ITERATIONS)
    refined = refine(found.amplitude, found.field, found.parts, found.depths, geometry, settings, noise=noise, gain=gain)
    return _RefinedFrame(found, refined, noise)


def _believed(frame: _RefinedFrame) -> _Believed:
    found, refined, noise = frame.found, frame.refined, frame.noise
    weight = np.where(refined.supports, np.float32(0), np.float32(1))
    labels = np.zeros(weight.shape, np.uint16)
    depths_um: list[float] = []
    for part, depth, misfit in zip(found.parts, refined.depths, refined.misfits, strict=True):
        excess = misfit.residual - noise**2 / 4 * misfit.pixels
        good = not part.touches_edge and excess < _BELIEVED_RESIDUAL * misfit.fringes
        near = _near(part, weight.shape)
        if good:
            depths_um.append(depth.z_um)
            labels[near & refined.supports & (labels == 0)] = len(depths_um)
        weight[near] = _NEAR_WEIGHT if good else 0.0
    fringes = float(((found.amplitude - 1) ** 2).sum())
    left_over = max(float((refined.residual**2).sum()) - noise**2 / 4 * weight.size, 0.0) / max(fringes, 1e-9)
    return _Believed(refined.field, weight, labels, depths_um, len(depths_um), left_over)


def _by_heights(intensities: Sequence[Real], geometries: Sequence[Geometry]) -> _Believed:
    """The field behind several heights, aberrations taken off; one focal plane, so one depth."""
    plain = [replace(g, pupil=None) for g in geometries]
    found = retrieve_multi_height(intensities, plain)
    field = found.field
    first = geometries[0]
    if first.pupil is not None:
        away = fft2(field - 1) * np.conj(first.pupil.transfer(field.shape, first.object_pitch_um))
        field = (1 + ifft2(away)).astype(np.complex64)
    parts = segment(field)
    supports = np.zeros(field.shape, np.bool_)
    labels = np.zeros(field.shape, np.uint16)
    for k, part in enumerate(parts, start=1):
        near = _near(part, field.shape)
        labels[near & (labels == 0)] = k
        supports |= near
    weight = np.where(supports, np.float32(_NEAR_WEIGHT), np.float32(1))
    left_over = float(np.mean([placement.residual**2 for placement in found.placements]))
    return _Believed(field, weight, labels, [first.propagation_um] * len(parts), len(parts), left_over)


def _near(part: Segment, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A particle's pixels and those around it."""
    mask = np.zeros(shape, np.uint8)
    height, width = part.mask.shape
    mask[part.y_px : part.y_px + height, part.x_px : part.x_px + width] = part.mask
    return cv2.dilate(mask, np.ones((2 * _NEAR_PX + 1, 2 * _NEAR_PX + 1), np.uint8)).astype(np.bool_)


def _file(
    intensities: Sequence[Real], geometries: Sequence[Geometry], believed: Sequence[_Believed], instrument: Instrument,
    depth_um: float, uncertainty_rad: float,
) -> TransferFile:  # fmt: skip
    depths_um: list[float] = []
    labels: list[NDArray[np.uint16]] = []
    for frame in believed:
        labels.append(np.where(frame.labels > 0, frame.labels + np.uint16(len(depths_um)), np.uint16(0)))
        depths_um += frame.depths_um
    return TransferFile(
        instrument_id=instrument.id,
        instrument_name=instrument.name,
        geometry=geometries[0],
        depth_um=depth_um,
        noise=float(np.median([noise_level(i) for i in intensities])),
        aberration_uncertainty_rad=uncertainty_rad,
        intensities=np.stack(intensities).astype(np.float32),
        distances_um=np.array([g.distance_um for g in geometries]),
        truth=np.stack([frame.truth for frame in believed]),
        weight=np.stack([frame.weight for frame in believed]),
        labels=np.stack(labels),
        depths_um=np.array(depths_um),
    )


def _outcome(
    believed: Sequence[_Believed],
    distance: Quantity,
    pupil: Pupil | None,
    deviations: Sequence[float],
    doubts: Sequence[str],
    *,
    edge: bool,
) -> ProcedureOutcome:
    values = {"distance_um": distance}
    reasons = list(doubts)
    if pupil is not None:
        figures = [*zip(pupil.coefficients_rad, deviations, ["rad"] * len(deviations), strict=True)]
        figures.append((pupil.radius_per_um, 0.05 * pupil.radius_per_um, "per um"))
        for name, (value, deviation, unit) in zip(ABERRATION_VALUES, figures, strict=True):
            values[name] = Quantity(value=value, uncertainty=deviation, unit=unit)
        together = math.sqrt(sum(d * d for d in deviations))
        if together > _MOST_ABERRATION_UNCERTAINTY_RAD:
            reasons.append(
                f"the two halves of the frames disagree about the aberrations by {together:.2f} rad: take more frames"
            )
    kept = sum(frame.kept for frame in believed)
    if kept < _LEAST_PARTICLES:
        reasons.append(f"{kept} particles are explained well enough to learn from ({_LEAST_PARTICLES} or more): take more frames, "
                       "with more on them, and check wavelength and pitch")  # fmt: skip
    residuals = {
        "particles": float(kept),
        "unexplained_share": float(np.mean([frame.left_over for frame in believed])),
        "pupil_edge_seen": float(edge),
    }
    if pupil is not None:
        residuals["aberrations_rms_rad"] = pupil.rms_rad
    return ProcedureOutcome(values, residuals, reasons)
