"""Segments to particles: place, size, shape, phase."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.segment import Segment
from device.optics.geometry import Geometry
from device.records import Particle

__all__ = ["measure"]


def measure(field: NDArray[np.complex64], part: Segment, depth: Depth, geometry: Geometry) -> Particle:
    """One particle of an object field complex64 [height, width].

    The place is the centroid of the mask, weighted by |field - 1|; the diameter that of the disc of the mask's area,
    uncertain by a quarter pixel along the outline.
    """
    height, width = part.mask.shape
    crop = field[part.y_px : part.y_px + height, part.x_px : part.x_px + width]
    contrast = np.where(part.mask, np.abs(crop - 1), 0)
    total = float(contrast.sum())
    rows, columns = np.mgrid[0:height, 0:width]
    x_px = part.x_px + float((contrast * columns).sum()) / total
    y_px = part.y_px + float((contrast * rows).sum()) / total
    pitch_um = geometry.object_pitch_um
    area_px = float(part.mask.sum())
    esd_px = 2 * np.sqrt(area_px / np.pi)
    return Particle(
        x_um=x_px * pitch_um,
        y_um=y_px * pitch_um,
        z_um=depth.z_um,
        z_uncertainty_um=depth.uncertainty_um,
        bbox_px=(part.x_px, part.y_px, width, height),
        esd_um=float(esd_px * pitch_um),
        esd_uncertainty_um=float(np.hypot(0.5 * pitch_um, 0.03 * esd_px * pitch_um)),
        features=_features(crop, part, geometry),
        mask=part.mask,
        field_crop=np.ascontiguousarray(crop),
    )


def _features(crop: NDArray[np.complex64], part: Segment, geometry: Geometry) -> dict[str, float]:
    pitch_um = geometry.object_pitch_um
    outlines, _ = cv2.findContours(part.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)
    # Pixel centres run half a pixel inside the area's edge.
    perimeter_px = float(cv2.arcLength(outline, closed=True)) + np.pi
    area_px = float(part.mask.sum())
    (_, (long_px, short_px), _) = cv2.minAreaRect(outline)
    inside = crop[part.mask]
    phase = np.angle(inside)
    # Optical path integrated over the area; only meaningful where the phase doesn't wrap.
    path_volume_um3 = float(phase.sum()) * geometry.wavelength_um / (2 * np.pi) * pitch_um**2
    features = {
        "area_um2": area_px * pitch_um**2,
        "perimeter_um": perimeter_px * pitch_um,
        "circularity": min(4 * np.pi * area_px / perimeter_px**2, 1.0),
        "aspect_ratio": (max(long_px, short_px) + 1) / (min(long_px, short_px) + 1),
        "mean_phase_rad": float(np.angle(inside.mean())),
        "phase_std_rad": float(phase.std()),
        "mean_amplitude": float(np.abs(inside).mean()),
        "min_amplitude": float(np.abs(inside).min()),
        "optical_path_volume_um3": path_volume_um3,
        "touches_edge": float(part.touches_edge),
    }
    return {name: round(float(value), 5) for name, value in features.items()}
