"""Segments to particles: place, size, shape, phase."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.middle_line import MiddleLine, is_stout, middle_line
from device.analysis.segment import Segment, filled
from device.optics.geometry import Geometry
from device.records import Particle

__all__ = ["measure"]

Complex = NDArray[np.complex64]
Mask = NDArray[np.bool_]
Real = NDArray[np.float32]

_EDGE_SHARE = 0.34
"""Of the body's contrast, its upper quartile, at the outline: where its pixels hardly resolve it."""
_EDGE_SHARES = ((0.62, 0.8, 0.92), (_EDGE_SHARE, 0.23, 0.48))
"""The same by the body's flatness, the median of its contrast over its 95th percentile. A blurred step has it near the half; a
sphere, whose path falls to nothing at its rim, much farther down; below, the profile is that of the blur. Simulated discs and spheres,
recorded beads (decisions/2026-11-27-long-objects-and-diameters.md)."""
_FINER = 4
"""Parts of a pixel's side that the outline is drawn on."""
_LARGE_PX = 90_000
"""A box of more pixels is outlined by whole ones."""
_SURE_PX = 2.0
"""Of a mask, what lies so deep is the particle whatever its contrast: phases that wrap, clear middles."""
_SKELETON_POINTS = 5


def measure(field: Complex, part: Segment, depth: Depth, geometry: Geometry) -> Particle:
    """One particle of an object field complex64 [height, width].

    The place is the centroid of the mask, weighted by |field - 1|; the diameter that of the disc of the same area, within an
    outline between pixels, where |field - 1| has a share of what it has within; uncertain by a quarter pixel along it.
    """
    height, width = part.mask.shape
    crop = field[part.y_px : part.y_px + height, part.x_px : part.x_px + width]
    contrast = np.where(part.mask, np.abs(crop - 1), 0)
    total = float(contrast.sum())
    rows, columns = np.mgrid[0:height, 0:width]
    x_px = part.x_px + float((contrast * columns).sum()) / total
    y_px = part.y_px + float((contrast * rows).sum()) / total
    pitch_um = geometry.object_pitch_um
    area_px = _area_px(field, part)
    esd_px = 2 * np.sqrt(area_px / np.pi)
    return Particle(
        x_um=x_px * pitch_um,
        y_um=y_px * pitch_um,
        z_um=depth.z_um,
        z_uncertainty_um=depth.uncertainty_um,
        bbox_px=(part.x_px, part.y_px, width, height),
        esd_um=float(esd_px * pitch_um),
        esd_uncertainty_um=float(np.hypot(0.5 * pitch_um, 0.04 * esd_px * pitch_um)),
        features=_features(crop, part, area_px, geometry),
        mask=part.mask,
        field_crop=np.ascontiguousarray(crop),
    )


def _area_px(field: Complex, part: Segment) -> float:
    """Within the sub-pixel outline, in the mask and a pixel around it."""
    margin = 2
    top, left = max(part.y_px - margin, 0), max(part.x_px - margin, 0)
    bottom, right = (
        min(start + n + margin, full)
        for start, n, full in zip((part.y_px, part.x_px), part.mask.shape, field.shape, strict=True)
    )
    contrast = np.abs(field[top:bottom, left:right] - 1).astype(np.float32)
    mask = np.zeros(contrast.shape, np.uint8)
    y, x = part.y_px - top, part.x_px - left
    mask[y : y + part.mask.shape[0], x : x + part.mask.shape[1]] = part.mask
    deep = np.asarray(cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)[1:-1, 1:-1]
    parts = _FINER if contrast.size <= _LARGE_PX else 1
    fine = _finer(contrast, parts, cv2.INTER_CUBIC)
    sure = _finer(deep, parts, cv2.INTER_NEAREST) > _SURE_PX
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    within = _finer(np.asarray(cv2.dilate(mask, reach), np.float32), parts, cv2.INTER_NEAREST) > 0
    body = _finer(mask.astype(np.float32), parts, cv2.INTER_NEAREST) > 0
    # Once for what the mask says the contrast is, once for what the outline does.
    body = filled(((fine > _EDGE_SHARE * np.percentile(fine[body], 75)) & within) | sure)
    middle, upper, high = np.percentile(fine[body], (50, 75, 95))
    body = filled(((fine > np.interp(middle / max(high, 1e-6), *_EDGE_SHARES) * upper) & within) | sure)
    return float(body.sum()) / parts**2


def _finer(image: Real, parts: int, how: int) -> Real:
    return np.asarray(cv2.resize(image, None, fx=parts, fy=parts, interpolation=how), np.float32)


def _features(crop: Complex, part: Segment, area_px: float, geometry: Geometry) -> dict[str, float]:
    pitch_um = geometry.object_pitch_um
    outlines, _ = cv2.findContours(part.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)
    mask_px = float(part.mask.sum())
    # Pixel centres run half a pixel inside the area's edge.
    perimeter_px = float(cv2.arcLength(outline, closed=True)) + np.pi
    (_, (long_px, short_px), _) = cv2.minAreaRect(outline)
    # By how much the mask's outline lies outside the finer one.
    outset_px = (mask_px - area_px) / perimeter_px
    inside = crop[part.mask]
    phase = np.angle(inside)
    # Optical path integrated over the area; only meaningful where the phase doesn't wrap.
    path_volume_um3 = float(phase.sum()) * geometry.wavelength_um / (2 * np.pi) * pitch_um**2
    line = None if is_stout(part.mask) else middle_line(part.mask)
    length_px = max((max(long_px, short_px) + 1 if line is None else line.length) - 2 * outset_px, 1.0)
    features = {
        "area_um2": area_px * pitch_um**2,
        "perimeter_um": perimeter_px * pitch_um,
        "circularity": min(4 * np.pi * mask_px / perimeter_px**2, 1.0),
        "aspect_ratio": (max(long_px, short_px) + 1) / (min(long_px, short_px) + 1),
        "length_um": length_px * pitch_um,
        "width_um": area_px / length_px * pitch_um,
        "orientation_rad": _orientation_rad(part.mask),
        "mean_phase_rad": float(np.angle(inside.mean())),
        "phase_std_rad": float(phase.std()),
        "mean_amplitude": float(np.abs(inside).mean()),
        "min_amplitude": float(np.abs(inside).min()),
        "optical_path_volume_um3": path_volume_um3,
        "touches_edge": float(part.touches_edge),
    }
    if line is not None:
        features |= _skeleton(line, part, pitch_um)
    return {name: round(float(value), 5) for name, value in features.items()}


def _orientation_rad(mask: Mask) -> float:
    """Of the mask's principal axis, from x towards y, above -pi/2 to pi/2."""
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    return 0.5 * float(np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"]))


def _skeleton(line: MiddleLine, part: Segment, pitch_um: float) -> dict[str, float]:
    """Points at even steps along the middle line, from end to end."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line.points, axis=0).T))])
    at = np.linspace(0, along[-1], _SKELETON_POINTS)
    x, y = (np.interp(at, along, line.points[:, axis]) for axis in (0, 1))
    return {
        f"skeleton_{k}_{name}_um": (start + place) * pitch_um
        for k, point in enumerate(zip(x, y, strict=True), start=1)
        for name, start, place in zip("xy", (part.x_px, part.y_px), point, strict=True)
    }
