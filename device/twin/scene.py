"""Scenes: particles at their places and depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from device.errors import InputError
from device.twin.morphology import MORPHOLOGIES, VoxelVolume, make_volume, random_rotation

__all__ = ["SimulatedParticle", "draw_particle", "draw_particles", "snap_depths"]


@dataclass(frozen=True)
class SimulatedParticle:
    """One simulated particle; what it truly is."""

    label: str
    """Morphology."""
    x_um: float
    """From the centre of pixel (0, 0) along columns."""
    y_um: float
    """From the centre of pixel (0, 0) along rows."""
    z_um: float
    """From the sensor."""
    volume: VoxelVolume
    """Shape and index contrast, already oriented."""
    sub_px: tuple[float, float] = (0.0, 0.0)
    """Sub-voxel shift (x, y) that the volume was sampled with."""

    @property
    def esd_um(self) -> float:
        """Diameter of the disc of the same silhouette area."""
        return self.volume.esd_um

    def truth(self) -> dict[str, float | str]:
        """What a truth file says of it: the middle of its silhouette, which the volume's middle needn't be."""
        sub_um = [s * self.volume.voxel_um for s in self.sub_px]  # the volume was sampled with this shift in it
        x_um, y_um = (c - s for c, s in zip(self.volume.centroid_um, sub_um, strict=True))
        return {
            "label": self.label,
            "x_um": self.x_um + x_um,
            "y_um": self.y_um + y_um,
            "z_um": self.z_um,
            "esd_um": self.esd_um,
        }


def draw_particle(
    rng: np.random.Generator,
    label: str,
    *,
    field_um: tuple[float, float],
    depth_um: tuple[float, float],
    voxel_um: float,
    diameter_um: float | None = None,
) -> SimulatedParticle:
    """One particle of a morphology, uniform over a field (height, width) and a range of depths."""
    if label not in MORPHOLOGIES:
        raise InputError("unknown morphology", expected=" | ".join(sorted(MORPHOLOGIES)), got=repr(label))
    morphology = MORPHOLOGIES[label]
    diameter = morphology.draw_diameter_um(rng) if diameter_um is None else diameter_um
    x_um, y_um = rng.uniform(0, field_um[1]), rng.uniform(0, field_um[0])
    sub = (x_um / voxel_um - round(x_um / voxel_um), y_um / voxel_um - round(y_um / voxel_um))
    rotation = None if morphology.flat else random_rotation(rng)
    volume = make_volume(morphology.draw(rng, diameter), voxel_um, rotation, sub)
    return SimulatedParticle(label, float(x_um), float(y_um), float(rng.uniform(*depth_um)), volume, sub)


def draw_particles(
    rng: np.random.Generator,
    expected: Mapping[str, float],
    *,
    field_um: tuple[float, float],
    depth_um: tuple[float, float],
    voxel_um: float,
) -> list[SimulatedParticle]:
    """Poisson numbers of each morphology around their expected counts."""
    return [
        draw_particle(rng, label, field_um=field_um, depth_um=depth_um, voxel_um=voxel_um)
        for label, mean in expected.items()
        for _ in range(int(rng.poisson(mean)))
    ]


def snap_depths(particles: Sequence[SimulatedParticle], planes: int) -> list[SimulatedParticle]:
    """The same particles on at most `planes` depths, so that a field renders with as many transforms."""
    if len({p.z_um for p in particles}) <= planes:
        return list(particles)
    depths = np.array([p.z_um for p in particles])
    grid = np.linspace(depths.min(), depths.max(), planes)
    return [replace(p, z_um=float(grid[np.argmin(np.abs(grid - p.z_um))])) for p in particles]
