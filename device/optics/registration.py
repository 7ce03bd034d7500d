"""Where frames of one object lie relative to each other: shift, rotation, distance, brightness.

Roughly first: a single-shot retrieval of the first frame predicts what the others look like, and phase correlation with
what they do look like (Guizar-Sicairos et al., Opt. Lett. 33, 156 (2008), doi:10.1364/OL.33.000156) gives the shift, a scan
of small turns the rotation. Finely then, inside the retrieval: what the common field leaves unexplained in a frame is
regressed on the field's own derivatives.

A tilt of the field and a shift that grows with distance are the same in all intensities; registration with free shifts
therefore fixes the tilt by calling the first frame's place zero, and the field's tilt is a convention.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from device.optics.gauss_newton import FieldProblem, Linearised

__all__ = ["coarse_placement", "moved", "refine_views", "turn"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_EDGE_PX = 8
_TURNS_DEG = np.arange(-6.0, 6.01, 0.5)
_LONGEST_STEP_PX = 0.5
_CLEARLY = 1.05  # how much better a turned frame must fit to count as turned


def turn(frame: Real, rotation_rad: float) -> Real:
    """The frame turned about its centre, counter-clockwise with row 0 on top; float32, edges mirrored."""
    if rotation_rad == 0:
        return frame
    height, width = frame.shape
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, float(np.rad2deg(rotation_rad)), 1.0)
    turned = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, np.float32)


def moved(frame: Real, down_px: float, right_px: float) -> Real:
    """The frame shifted along rows and columns; float32, edges mirrored."""
    height, width = frame.shape
    matrix = np.array([[1, 0, right_px], [0, 1, down_px]], np.float32)
    shifted = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(shifted, np.float32)


def coarse_placement(predicted: Real, measured: Real, *, rotate: bool) -> tuple[float, float, float]:
    """Shift (rows, columns, px) and rotation (rad) of a measured frame against what it is predicted to look like.

    Parameters: amplitudes float32 [height, width]; `rotate`: whether turns of up to six degrees are tried.
    """
    reference = _whitened(predicted)
    turns = np.deg2rad(_TURNS_DEG) if rotate else np.zeros(1)
    found = [(*_shift(reference, _whitened(turn(measured, float(-angle)))), float(angle)) for angle in turns]
    response, down, right, angle = max(found, key=lambda f: f[0])
    upright = next(f for f in found if f[3] == 0)
    return (down, right, angle) if response > _CLEARLY * upright[0] else (upright[1], upright[2], 0.0)


def _whitened(picture: Real) -> Real:
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), 16), np.float32)


def _shift(first: Real, second: Real) -> tuple[float, float, float]:
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    (right, down), response = cv2.phaseCorrelate(first, second, window)
    return float(response), float(down), float(right)


def refine_views(
    problem: FieldProblem, spectrum: Complex, here: Linearised, *, rotate: bool, limits_um: Sequence[float]
) -> list[float]:
    """One Gauss-Newton step on every view's place and gain, the field held; returns the rotations found (rad).

    `limits_um` is how far each distance may move in this step.
    """
    turns: list[float] = []
    for index, view in enumerate(problem.views):
        columns = _derivatives(problem, spectrum, here, index, rotate=rotate)
        change = dict(zip(columns, _regress(list(columns.values()), here.residuals[index], view.known), strict=True))
        steps = [float(np.clip(change[k], -_LONGEST_STEP_PX, _LONGEST_STEP_PX)) for k in ("down_px", "right_px")]
        view.shift_px = (view.shift_px[0] + steps[0], view.shift_px[1] + steps[1])
        view.distance_um += float(np.clip(change["distance_um"], -limits_um[index], limits_um[index]))
        view.gain += float(np.clip(change["gain"], -0.1, 0.1))
        turns.append(float(change.get("turn_rad", 0.0)))
    return turns


def _derivatives(
    problem: FieldProblem, spectrum: Complex, here: Linearised, index: int, *, rotate: bool
) -> dict[str, NDArray[np.floating]]:
    """Change of the modelled amplitude with each parameter, less that of the gained measurement."""
    view, modelled = problem.views[index], here.fields[index]
    direction = np.conj(modelled) / np.maximum(np.abs(modelled), 1e-6)
    pitch = problem.pitch_um

    def along(weight: Complex) -> NDArray[np.floating]:
        return (direction * problem.at_sensor(spectrum, index, weight)).real

    columns: dict[str, NDArray[np.floating]] = {
        "down_px": along(np.asarray(-2j * np.pi * pitch * problem.fy, np.complex64)),
        "right_px": along(np.asarray(-2j * np.pi * pitch * problem.fx, np.complex64)),
        "distance_um": along((1j * problem.carrier(view.wavelength_um)).astype(np.complex64)),
        "gain": -view.amplitude,
    }
    if rotate:
        height, width = modelled.shape
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
        x = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
        columns["turn_rad"] = y * columns["right_px"] - x * columns["down_px"]
    return columns


def _regress(columns: list[NDArray[np.floating]], residual: Real, known: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    inner = (slice(_EDGE_PX, -_EDGE_PX),) * 2
    weight = np.ones_like(residual) if known is None else known.astype(np.float32)
    design = np.stack([(c * weight)[inner].ravel() for c in columns], axis=1).astype(np.float64)
    scale = np.maximum(np.linalg.norm(design, axis=0), 1e-12)
    normal = (design / scale).T @ (design / scale) + 1e-9 * np.eye(len(columns))
    return np.linalg.solve(normal, (design / scale).T @ residual[inner].ravel().astype(np.float64)) / scale
