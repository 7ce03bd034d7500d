"""What a brightfield microscope shows of the scene that an in-line hologram records.

Every wave of the condenser is carried slice by slice through the object (beam propagation) and on to the plane in focus; the microscope is
that of device.optics.microscope (multislice with tilted light: M. Chen, D. Ren, H.-Y. Liu, S. Chowdhury, L. Waller, Optica 7, 394 (2020),
doi:10.1364/OPTICA.382030).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.optics.microscope import Microscope, abbe_sum
from device.twin.forward import paste, place_px
from device.twin.scene import SimulatedParticle

__all__ = ["brightfield_picture", "particle_slices"]

Complex = NDArray[np.complex64]


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
    planes = sorted(slices.items(), reverse=True)
    gaps = [here - after for (here, _), (after, _) in zip(planes, [*planes[1:], (focus_um, None)], strict=True)]

    def spectrum(some: NDArray[np.float64], squared: NDArray[np.float64]) -> Complex:
        axial = np.sqrt(np.maximum(microscope.wavelength_um**-2 - squared, 0))
        axial -= np.sqrt(microscope.wavelength_um**-2 - (some**2).sum(axis=1))[:, None, None]
        step: dict[float, Complex] = {}
        carried = np.zeros((len(some), *shape), np.complex64)
        carried[:, 0, 0] = shape[0] * shape[1]
        for (_, transmission), gap in zip(planes, gaps, strict=True):
            waves = fft.ifft2(carried, overwrite_x=True)
            waves *= transmission
            key = round(gap, 6)
            if key not in step:
                turn = np.remainder(gap * axial, 1).astype(np.float32) * np.float32(2 * np.pi)
                step[key] = np.cos(turn) + 1j * np.sin(turn)
            carried = fft.fft2(waves, overwrite_x=True)
            carried *= step[key]
        return carried

    return abbe_sum(shape, pitch_um, microscope, directions, spectrum)


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
