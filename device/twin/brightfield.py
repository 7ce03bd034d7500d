"""What a brightfield microscope shows of the scene that an in-line hologram records.

The condenser's pupil is a disc of incoherent points, each a plane wave from its own direction. Every wave is carried slice by
slice through the object (beam propagation), focused on a plane through the objective's pupil, and squared; the picture is the
mean over the points (Abbe's sum; J. W. Goodman, Statistical Optics, ch. 7; multislice with tilted light: M. Chen, D. Ren, H.-Y. Liu,
S. Chowdhury, L. Waller, Optica 7, 394 (2020), doi:10.1364/OPTICA.382030). No lens has aberrations here.

Waves are written without their own tilt: a wave of transverse frequency k is exp(2 pi i k r) times what the grid holds, so that
any direction fits any grid, and the transfer function and the pupil are taken at f + k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.twin.forward import paste, place_px
from device.twin.scene import SimulatedParticle

__all__ = ["Microscope", "brightfield_picture", "condenser_directions", "particle_slices"]

Complex = NDArray[np.complex64]

_GOLDEN_ANGLE_RAD = np.pi * (3 - np.sqrt(5))
_AT_ONCE = 8
"""Directions that are carried together; more don't stay in the processor's cache."""


@dataclass(frozen=True)
class Microscope:
    """A brightfield microscope under Koehler illumination."""

    wavelength_um: float
    """Of its light, in the medium."""
    objective_na: float
    """Numerical aperture over the medium's index: the sine of the half angle."""
    condenser_na: float
    """The same of the condenser; as a rule 0.6 to 0.9 of the objective's."""

    @property
    def depth_of_field_um(self) -> float:
        """Wavelength over the squared aperture."""
        return self.wavelength_um / self.objective_na**2


def condenser_directions(microscope: Microscope, count: int, turned_rad: float = 0.0) -> NDArray[np.float64]:
    """Transverse frequencies (x, y) of `count` points that fill the condenser's pupil evenly, float64 [count, 2], cycles per um.

    Points of a sunflower (H. Vogel, Math. Biosci. 44, 179 (1979), doi:10.1016/0025-5564(79)90080-4): each stands for the same
    area, so that all weigh alike.
    """
    k = np.arange(count)
    radius = microscope.condenser_na / microscope.wavelength_um * np.sqrt((k + 0.5) / count)
    angle = k * _GOLDEN_ANGLE_RAD + turned_rad
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def brightfield_picture(
    slices: Mapping[float, Complex], pitch_um: float, microscope: Microscope, focus_um: float, directions: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Intensity in the microscope's picture, float32 [height, width], 1 where nothing is; periodic.

    Parameters: `slices` transmissions complex64 [height, width] by their distance from where the light goes to (as a particle's
    from its sensor: the light meets the farthest first); `focus_um` the plane in focus, counted alike; `directions` of the light,
    as `condenser_directions` gives them. The grid must hold the picture: a pitch of at most
    wavelength / (2 (objective_na + condenser_na)).
    """
    shape = next(iter(slices.values())).shape
    fy, fx = fft.fftfreq(shape[0], pitch_um)[:, None], fft.fftfreq(shape[1], pitch_um)[None, :]
    planes = sorted(slices.items(), reverse=True)
    gaps = [here - after for (here, _), (after, _) in zip(planes, [*planes[1:], (focus_um, None)], strict=True)]
    total = np.zeros(shape, np.float64)
    for first in range(0, len(directions), _AT_ONCE):
        some = directions[first : first + _AT_ONCE]
        squared = (fx + some[:, 0, None, None]) ** 2 + (fy + some[:, 1, None, None]) ** 2
        axial = np.sqrt(np.maximum(microscope.wavelength_um**-2 - squared, 0))
        axial -= np.sqrt(microscope.wavelength_um**-2 - (some**2).sum(axis=1))[:, None, None]
        pupil = squared <= (microscope.objective_na / microscope.wavelength_um) ** 2
        step: dict[float, Complex] = {}
        waves = np.ones((len(some), *shape), np.complex64)
        for k, ((_, transmission), gap) in enumerate(zip(planes, gaps, strict=True)):
            waves *= transmission
            key = round(gap, 6)
            if key not in step:
                turn = np.remainder(gap * axial, 1).astype(np.float32) * np.float32(2 * np.pi)
                step[key] = np.cos(turn) + 1j * np.sin(turn)
            spectrum = fft.fft2(waves, overwrite_x=True)
            spectrum *= step[key]
            if k + 1 == len(planes):
                spectrum *= pupil
            waves = fft.ifft2(spectrum, overwrite_x=True)
        total += (waves.real**2 + waves.imag**2).sum(axis=0)
    return (total / len(directions)).astype(np.float32)


def particle_slices(
    shape: tuple[int, int], particles: Sequence[SimulatedParticle], wavelength_um: float, slab_um: float = 3.0
) -> dict[float, Complex]:
    """Transmissions complex64 [height, width] of slabs by their distance from the sensor, on planes that all particles share.

    `shape` and the places in voxels: all volumes are sampled alike. A slab acts in its middle, moved to the nearest plane.
    """
    slices: dict[float, Complex] = {}
    for particle in particles:
        contrast, voxel_um = particle.volume.contrast, particle.volume.voxel_um
        per_slab = max(1, round(slab_um / voxel_um))
        for start in range(0, len(contrast), per_slab):
            slab = contrast[start : start + per_slab]
            if not slab.any():
                continue
            # The first voxel is the farthest from the sensor: the light meets it first.
            above_um = (len(contrast) / 2 - start - len(slab) / 2) * voxel_um
            plane_um = slab_um * round((particle.z_um + above_um) / slab_um)
            path = slab.sum(axis=0) * voxel_um
            plane = slices.setdefault(plane_um, np.ones(shape, np.complex64))
            paste(plane, np.exp(2j * np.pi / wavelength_um * path).astype(np.complex64), *place_px(particle, voxel_um))
    return slices
