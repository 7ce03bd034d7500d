"""Phase retrieval from several frames of one object, at several distances or wavelengths, registered as it goes.

The frames are explained by one complex field (device.optics.gauss_newton) while shift, rotation, distance and brightness
of each are refined against it (device.optics.registration). What no frame can tell, above all slow phases, is left to a
prior: the scattered wave U - 1 shrunk towards zero, by a threshold that falls from step to step (the proximal step of the
l1 norm; Daubechies et al., Commun. Pure Appl. Math. 57, 1413 (2004), doi:10.1002/cpa.20042) and |U| kept to that of the
background, so that a bead keeps its pedestal and the background stays flat. With one frame the same solver is a single-shot retrieval.

Of an object that fills the field (tissue) that prior is wrong. Which of the two it is, the frames tell: one frame is retrieved
alone, with the prior and without, and has to predict the frame farthest from it. What explains a frame best that it was made from
says nothing: there the freer field always wins.

Several wavelengths share one field where the object's transmission changes little between them; a thin object's phase
scales with 1 / wavelength, so keep them within a few per cent or retrieve each wavelength alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft
from device.optics.gauss_newton import FieldProblem, Linearised, View
from device.optics.geometry import Geometry
from device.optics.propagation import fringe_reach_px, pad_to
from device.optics.registration import coarse_placement, moved, refine_views, turn

__all__ = ["MultiHeight", "Placement", "retrieve_multi_height"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_DAMPING = 0.1
_THRESHOLDS = (0.3, 0.03)
_CONJUGATE_GRADIENTS = 3
_REGISTER_FROM = 2  # the field must stand before frames can be laid against it
_ROUGH_ITERATIONS = 5
_HELD_OUT_ITERATIONS = 12
_DISTANCE_TOLERANCE = 0.02  # how far a stated distance may be off, relative
_SPARSE_BELOW = 0.7
"""Of what the prior leaves unexplained of another frame, relative to what is left without it: beads and discs have 0.26 to 0.52,
tissue and pictures that fill the field 0.93 to 1.9. Frames too near the object, or to each other, have 1: nothing is told."""


@dataclass(frozen=True)
class Placement:
    """Where registration found a frame."""

    distance_um: float
    """Object plane to sensor."""
    shift_px: tuple[float, float]
    """Against the first frame, rows and columns."""
    rotation_rad: float
    """Against the first frame, about the frame's centre."""
    gain: float
    """Brightness the frame was corrected by (amplitude)."""
    residual: float
    """Root mean square of what stays unexplained, relative to that of the frame's fringes (amplitude)."""


@dataclass(frozen=True)
class MultiHeight:
    """A field retrieved from several frames."""

    field: Complex
    """complex64 [height, width] at the object plane, background 1."""
    placements: tuple[Placement, ...]
    """One per frame."""
    sparse: bool
    """Whether the object was taken to be compact on a plain background."""
    unexplained: tuple[float, float] | None = None
    """Shares of another frame's fringes that one frame leaves unexplained, retrieved as sparse and as dense; None: not asked."""


def retrieve_multi_height(
    frames: Sequence[NDArray[np.floating]],
    geometries: Sequence[Geometry],
    *,
    iterations: int = 12,
    register: bool = True,
    rotate: bool = False,
    sparse: bool | None = None,
    margin_px: int | None = None,
) -> MultiHeight:
    """The object field behind several in-line holograms of it.

    Parameters: `frames` float [height, width] each, 1 where nothing is; `geometries` one per frame, of one pitch at the
    object; `register`: find shifts, distances (around the stated ones, whose mean is kept) and brightness; `rotate`:
    find rotations too; `sparse` False for objects that fill the field (tissue): no such prior; None: the frames decide, one
    alone is taken for sparse; `margin_px` of unknown surroundings to allow for (None: the reach of the fringes, at most half
    the frame).
    Raises InputError where the frames' shapes or pitches differ, a frame isn't finite, or there is none.
    """
    _check(frames, geometries, iterations)
    amplitudes = [_amplitude(frame) for frame in frames]
    views = [View(a, g.propagation_um, g.wavelength_medium_um) for a, g in zip(amplitudes, geometries, strict=True)]
    several = register and len(frames) > 1
    unexplained = _unexplained(views, geometries, margin_px, rotate=rotate) if sparse is None and len(frames) > 1 else None
    if sparse is None:
        sparse = unexplained is None or unexplained[0] < _SPARSE_BELOW * unexplained[1]
    rotations = _laid_roughly(views, geometries, margin_px, rotate=rotate) if several else [0.0] * len(frames)
    problem = _problem(views, geometries, margin_px)

    def lay(spectrum: Complex, here: Linearised) -> None:
        turns = refine_views(problem, spectrum, here, rotate=rotate, limits_um=limits_um)
        rotations[:] = [angle + more for angle, more in zip(rotations, turns, strict=True)]
        _settle(views, geometries, amplitudes, rotations if rotate else None)
        problem.moved()

    limits_um = [_DISTANCE_TOLERANCE * view.distance_um for view in views]
    spectrum = _solve(problem, iterations, sparse=sparse, lay=lay if several else None)
    return _result(problem, spectrum, geometries, rotations, sparse, unexplained)


def _unexplained(
    views: Sequence[View], geometries: Sequence[Geometry], margin_px: int | None, *, rotate: bool
) -> tuple[float, float]:
    """What the first frame, retrieved alone as sparse and as dense, leaves unexplained of the one farthest from it."""
    first = views[0]
    other = max(views[1:], key=lambda view: abs(view.distance_um - first.distance_um))
    problem = _problem([first], geometries, margin_px)
    shares: list[float] = []
    for sparse in (True, False):
        spectrum = _solve(problem, _HELD_OUT_ITERATIONS, sparse=sparse)
        predicted = FieldProblem([other], problem.shape, problem.window, problem.pitch_um, problem.damping).linearise(spectrum)
        modelled = np.abs(predicted.fields[0])
        down, right, angle = coarse_placement(modelled, other.amplitude, rotate=rotate)
        seen = moved(turn(other.amplitude, -angle), -down, -right)
        correlation = float(np.corrcoef(modelled.ravel(), seen.ravel())[0, 1])
        shares.append(1 - max(correlation, 0.0) ** 2 if np.isfinite(correlation) else 1.0)
    return shares[0], shares[1]


def _solve(
    problem: FieldProblem, iterations: int, *, sparse: bool = True, lay: Callable[[Complex, Linearised], None] | None = None
) -> Complex:
    """Spectrum of U - 1; `lay` is called at each step from the one on where the field is good enough to lay frames against."""
    spectrum = prior = np.zeros(problem.shape, np.complex64)
    scale = 0.0
    for step, threshold in enumerate(np.geomspace(*_THRESHOLDS, iterations)):
        here = problem.linearise(spectrum)
        if lay and step >= _REGISTER_FROM:
            lay(spectrum, here)
            here = problem.linearise(spectrum)
        spectrum = spectrum + problem.step(spectrum, prior, here, _CONJUGATE_GRADIENTS)
        if not sparse:
            prior = spectrum
            continue
        scattered = fft.ifft2(spectrum, norm="ortho")
        scale = scale or float(np.quantile(np.abs(scattered[problem.window]), 0.999))
        prior = fft.fft2(_expected(scattered, float(threshold) * scale, problem.window), norm="ortho")
    return spectrum


def _laid_roughly(views: list[View], geometries: Sequence[Geometry], margin_px: int | None, *, rotate: bool) -> list[float]:
    """Shift every view to where the first one's own retrieval sees it; returns the rotations (rad), applied."""
    problem = _problem(views[:1], geometries, margin_px)
    spectrum = _solve(problem, _ROUGH_ITERATIONS)
    predicted = FieldProblem(views, problem.shape, problem.window, problem.pitch_um, problem.damping).linearise(spectrum)
    rotations: list[float] = []
    for view, modelled in zip(views, predicted.fields, strict=True):
        down, right, angle = coarse_placement(np.abs(modelled), view.amplitude, rotate=rotate)
        view.shift_px = (down, right)
        view.amplitude = turn(view.amplitude, -angle)
        rotations.append(angle)
    return rotations


def _problem(views: list[View], geometries: Sequence[Geometry], margin_px: int | None) -> FieldProblem:
    pitch_um = geometries[0].object_pitch_um
    reach = max(fringe_reach_px(pitch_um, v.wavelength_um, v.distance_um) for v in views) if margin_px is None else margin_px
    height, width = views[0].amplitude.shape
    shape = (pad_to(height, min(reach, height // 4)), pad_to(width, min(reach, width // 4)))
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return FieldProblem(views, shape, (slice(top, top + height), slice(left, left + width)), pitch_um, _DAMPING)


def _settle(
    views: list[View], geometries: Sequence[Geometry], amplitudes: Sequence[Real], rotations: list[float] | None
) -> None:
    """What all frames share is no registration: the first frame's place, the mean distance, the mean brightness."""
    down, right = views[0].shift_px
    excess = np.mean([v.distance_um / g.propagation_um for v, g in zip(views, geometries, strict=True)])
    gain = np.mean([v.gain for v in views])
    if rotations is not None:
        first = rotations[0]
        rotations[:] = [angle - first for angle in rotations]
    for k, view in enumerate(views):
        view.shift_px = (view.shift_px[0] - down, view.shift_px[1] - right)
        view.distance_um = float(view.distance_um / excess)
        view.gain = float(view.gain / gain)
        if rotations is not None:
            view.amplitude = turn(amplitudes[k], -rotations[k])


def _expected(scattered: Complex, threshold: float, window: tuple[slice, slice]) -> Complex:
    """What an object makes of U - 1: compact (soft threshold around the background), and nowhere brighter than it."""
    inside = scattered[window]
    background = np.complex64(1 + complex(np.median(inside.real), np.median(inside.imag)))
    away = scattered + (np.complex64(1) - background)
    away *= np.maximum(1 - np.float32(threshold) / np.maximum(np.abs(away), np.float32(1e-9)), 0)
    away += background
    away /= np.maximum(np.abs(away) / np.abs(background), np.float32(1))
    away -= np.float32(1)
    return away


def _result(
    problem: FieldProblem,
    spectrum: Complex,
    geometries: Sequence[Geometry],
    rotations: Sequence[float],
    sparse: bool,
    unexplained: tuple[float, float] | None,
) -> MultiHeight:
    here = problem.linearise(spectrum)
    placements: list[Placement] = []
    for view, geometry, angle, residual in zip(problem.views, geometries, rotations, here.residuals, strict=True):
        fringes = float(np.std(view.amplitude))
        placements.append(
            Placement(
                distance_um=view.distance_um * geometry.distance_um / geometry.propagation_um,
                shift_px=view.shift_px,
                rotation_rad=float(angle),
                gain=view.gain,
                residual=float(np.sqrt(np.mean(np.square(residual)))) / fringes if fringes > 0 else 0.0,
            )
        )
    field = fft.ifft2(spectrum, norm="ortho")[problem.window] + np.float32(1)
    background = complex(np.median(field.real), np.median(field.imag))
    return MultiHeight(np.ascontiguousarray(field / np.complex64(background)), tuple(placements), sparse, unexplained)


def _amplitude(frame: NDArray[np.floating]) -> Real:
    amplitude = np.sqrt(np.maximum(frame, 0), dtype=np.float32)
    return np.asarray(amplitude / np.sqrt(np.mean(np.square(amplitude, dtype=np.float64))), np.float32)


def _check(frames: Sequence[NDArray[np.floating]], geometries: Sequence[Geometry], iterations: int) -> None:
    if not frames or len(frames) != len(geometries):
        raise InputError("frames and distances don't match", expected="one geometry per frame", got=f"{len(frames)} frames, {len(geometries)} geometries")  # fmt: skip
    for number, frame in enumerate(frames):
        if frame.shape != frames[0].shape or frame.ndim != 2:
            raise InputError("frames of one object must have one shape", where=f"frame {number + 1}", expected=frames[0].shape, got=frame.shape)  # fmt: skip
        if not np.isfinite(frame).all():
            raise InputError("the hologram holds NaN or infinity", where=f"frame {number + 1}", remedy="Normalise the frame first.")  # fmt: skip
    pitches = [g.object_pitch_um for g in geometries]
    if max(pitches) > min(pitches) * 1.001:
        raise InputError(
            "the frames differ in pitch at the object", expected="one pitch", got=f"{min(pitches):g} to {max(pitches):g} um",
            remedy="Resample the frames to one pitch first (point-source recordings magnify with distance).",
        )  # fmt: skip
    if iterations < 1:
        raise InputError("nothing to iterate", expected="iterations 1 or more", got=iterations)
