"""The exact wave of spheres in the twin: Lorenz-Mie instead of projections or slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from device.errors import InputError
from device.optics.lorenz_mie import Light, fringe_visibility, radial_field
from device.optics.propagation import fringe_reach_px
from device.twin.illumination import Illumination
from device.twin.scene import SimulatedParticle

__all__ = ["SPHERES", "lorenz_mie_wave"]

SPHERES = frozenset({"bead", "bead-in-water", "bubble"})
"""Morphologies that have an exact wave."""


def lorenz_mie_wave(
    shape: tuple[int, int], pitch_um: float, particles: Sequence[SimulatedParticle], light: Illumination
) -> NDArray[np.complex64]:
    """Sum of the waves that beads scatter onto the sensor, complex64 [height, width]; the incident wave is 1.

    The polarisation that interferes with unpolarised light; coherence and pixels damp it as they damp the fringes.
    Radius and contrast are read off the bead's volume. InputError for a particle that is no bead.
    """
    total = np.zeros(shape, np.complex64)
    for particle in particles:
        _add_sphere(total, pitch_um, particle, light)
    return total


def _add_sphere(total: NDArray[np.complex64], pitch_um: float, particle: SimulatedParticle, light: Illumination) -> None:
    if particle.label not in SPHERES:
        raise InputError(
            "only spheres have an exact wave", where="twin model lorenz-mie", expected="beads and bubbles", got=particle.label,
            remedy="Use the model multislice for other shapes.",
        )  # fmt: skip
    middle = particle.volume.contrast.shape[0] // 2
    contrast = complex(particle.volume.contrast[middle, middle, middle])
    radius_um = float(
        (3 * abs(particle.volume.contrast.sum()) / abs(contrast) / (4 * np.pi)) ** (1 / 3) * particle.volume.voxel_um
    )
    reach = fringe_reach_px(pitch_um, light.wavelength_um, particle.z_um)
    row, column = particle.y_um / pitch_um, particle.x_um / pitch_um
    rows = np.arange(max(round(row) - reach, 0), min(round(row) + reach + 1, total.shape[0]))
    columns = np.arange(max(round(column) - reach, 0), min(round(column) + reach + 1, total.shape[1]))
    if not rows.size or not columns.size:
        return
    y, x = (rows - row)[:, None] * pitch_um, (columns - column)[None, :] * pitch_um
    rho = np.hypot(y, x)
    optics = Light(
        light.wavelength_um, 1.0, light.bandwidth_um, light.source_diameter_um / light.source_distance_um, pitch_um
    )  # in the medium: index 1 there
    table = np.linspace(0, float(rho.max()) + pitch_um, 800)
    field = radial_field(optics, radius_um, 1 + contrast, particle.z_um, table)
    k = optics.wavenumber
    slow = field.mean * np.exp(-1j * k * (np.hypot(table, particle.z_um) - particle.z_um))
    parts = CubicSpline(table, np.stack([slow.real, slow.imag], axis=1))(rho)
    wave = (parts[..., 0] + 1j * parts[..., 1]) * np.exp(1j * k * (np.hypot(rho, particle.z_um) - particle.z_um))
    wave *= fringe_visibility(optics, particle.z_um, rho, np.arctan2(y, x))
    total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += wave
