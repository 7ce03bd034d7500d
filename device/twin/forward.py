"""From a scene to the intensity on the sensor.

Models of rising truth, by name (`scattered_wave(..., model=...)`):

thin         every particle a projected transmission at its own depth, scattered waves added up (no second scattering)
multislice   the wave is carried through every particle slice by slice (beam propagation); `multislice_hologram` also
             carries it from plane to plane, on a finer grid, for several wavelengths
lorenz-mie   the exact wave of homogeneous spheres; nothing else

Partial coherence damps the interference of reference and scattered wave (device.twin.illumination).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.optics.byte_cache import byte_bounded_cache
from device.optics.propagation import asm_transfer_function, fringe_reach_px
from device.twin.illumination import Illumination, coherence_envelope
from device.twin.mie_scattering import lorenz_mie_wave
from device.twin.morphology import VoxelVolume
from device.twin.scene import SimulatedParticle

__all__ = [
    "Model",
    "multislice_hologram",
    "multislice_object_field",
    "object_field",
    "paste",
    "place_px",
    "scattered_wave",
    "thin_hologram",
]

_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))

Model = Literal["thin", "multislice", "lorenz-mie"]
"""How particles scatter."""


def _overlap(
    canvas: NDArray[np.complex64], patch: NDArray[np.complex64], x_px: int, y_px: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a patch with its middle pixel at (x_px, y_px) meets the canvas: slices of canvas and of patch."""
    top, left = y_px - patch.shape[0] // 2, x_px - patch.shape[1] // 2
    y0, x0 = max(top, 0), max(left, 0)
    y1 = max(min(top + patch.shape[0], canvas.shape[0]), y0)
    x1 = max(min(left + patch.shape[1], canvas.shape[1]), x0)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def paste(canvas: NDArray[np.complex64], patch: NDArray[np.complex64], x_px: int, y_px: int) -> None:
    """Multiply a transmission patch into a canvas, its middle pixel at (x_px, y_px); what lies outside is cut off."""
    there, here = _overlap(canvas, patch, x_px, y_px)
    canvas[there] *= patch[here]


def _add(canvas: NDArray[np.complex64], patch: NDArray[np.complex64], x_px: int, y_px: int) -> None:
    there, here = _overlap(canvas, patch, x_px, y_px)
    canvas[there] += patch[here]


def _transmission(volume: VoxelVolume, wavelength_um: float) -> NDArray[np.complex64]:
    return np.exp(2j * np.pi / wavelength_um * volume.optical_path_um).astype(np.complex64)


def place_px(particle: SimulatedParticle, voxel_um: float) -> tuple[int, int]:
    """Voxel (x, y) that a volume's middle one lies at."""
    return (
        round(particle.x_um / voxel_um - particle.sub_px[0]),
        round(particle.y_um / voxel_um - particle.sub_px[1]),
    )


def _by_depth(particles: Iterable[SimulatedParticle]) -> dict[float, list[SimulatedParticle]]:
    planes: dict[float, list[SimulatedParticle]] = defaultdict(list)
    for particle in particles:
        planes[particle.z_um].append(particle)
    return dict(sorted(planes.items(), reverse=True))


def object_field(shape: tuple[int, int], particles: Sequence[SimulatedParticle], light: Illumination) -> NDArray[np.complex64]:
    """Everything in focus at once: the product of all transmissions, complex64 [height, width]."""
    field = np.ones(shape, np.complex64)
    for particle in particles:
        paste(field, _transmission(particle.volume, light.wavelength_um), *place_px(particle, particle.volume.voxel_um))
    return field


@byte_bounded_cache(16 * 2**20)
def _carried(size: int, pitch_um: float, light: Illumination, distance_um: float) -> NDArray[np.complex64]:
    """Transfer function of a square patch with coherence and pixel integration in it."""
    shape = (size, size)
    transfer = asm_transfer_function(shape, pitch_um, light.wavelength_um, distance_um)
    pixel = np.sinc(fft.fftfreq(size)).astype(np.float32)
    carried = transfer * coherence_envelope(shape, pitch_um, light, distance_um)
    carried *= pixel[:, None] * pixel[None, :]
    return carried


def scattered_wave(
    shape: tuple[int, int], pitch_um: float, particles: Sequence[SimulatedParticle], light: Illumination, model: Model = "thin"
) -> NDArray[np.complex64]:
    """Sum of the waves that particles scatter onto the sensor, complex64 [height, width]; the incident wave is 1.

    Volumes must be sampled at the pitch. Every particle is carried over its own distance on a patch that holds all
    fringes the pixels can sample; pixel integration acts on the interference term as a sinc. InputError where the model
    can't do a particle.
    """
    if model == "lorenz-mie":
        return lorenz_mie_wave(shape, pitch_um, particles, light)
    exit_wave = _transmission if model == "thin" else _exit_wave
    total = np.zeros(shape, np.complex64)
    for particle in particles:
        patch = exit_wave(particle.volume, light.wavelength_um) - 1
        reach = fringe_reach_px(pitch_um, light.wavelength_um, particle.z_um)
        size = fft.next_fast_len(patch.shape[0] + 2 * reach)
        wave = np.zeros((size, size), np.complex64)
        lead = size // 2 - patch.shape[0] // 2
        wave[lead : lead + patch.shape[0], lead : lead + patch.shape[1]] = patch
        carried = _carried(size, pitch_um, light, particle.z_um)
        wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * carried, overwrite_x=True)
        _add(total, wave, *place_px(particle, pitch_um))
    return total


def thin_hologram(
    shape: tuple[int, int], pitch_um: float, particles: Sequence[SimulatedParticle], light: Illumination
) -> NDArray[np.float32]:
    """Intensity at the sensor by the `thin` model, float32 [height, width], 1 where nothing is."""
    return (np.abs(1 + scattered_wave(shape, pitch_um, particles, light)) ** 2).astype(np.float32)


def _exit_wave(volume: VoxelVolume, wavelength_um: float, slab_um: float = 2.0) -> NDArray[np.complex64]:
    """Wave behind a particle, refocused to its middle, by beam propagation through slabs; complex64 [n, n]."""
    per_slab = max(1, round(slab_um / volume.voxel_um))
    depth = volume.contrast.shape[0]
    size = volume.contrast.shape[1]
    margin = size // 2
    padded = fft.next_fast_len(size + 2 * margin)
    lead = padded // 2 - size // 2
    wave = np.ones((padded, padded), np.complex64)
    step = asm_transfer_function((padded, padded), volume.voxel_um, wavelength_um, per_slab * volume.voxel_um, False)
    for start in range(0, depth, per_slab):
        slab = volume.contrast[start : start + per_slab].sum(axis=0) * volume.voxel_um
        wave[lead : lead + size, lead : lead + size] *= np.exp(2j * np.pi / wavelength_um * slab).astype(np.complex64)
        wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * step, overwrite_x=True)
    steps = -(-depth // per_slab)
    # A slab acts where it begins, half a slab before its middle; the middle of the volume is depth / 2 voxels in.
    back_um = -(steps * per_slab - depth / 2 + per_slab / 2) * volume.voxel_um
    back = asm_transfer_function((padded, padded), volume.voxel_um, wavelength_um, back_um, False)
    return fft.ifft2(fft.fft2(wave, overwrite_x=True) * back)


def multislice_object_field(
    shape: tuple[int, int], pitch_um: float, particles: Sequence[SimulatedParticle], light: Illumination, *, finer: int = 2
) -> NDArray[np.complex64]:
    """Everything in focus at once by the `multislice` model, complex64 [height, width].

    The product of the exit waves, each refocused to the middle of its particle; volumes must be sampled at pitch / finer.
    Sampled at the pixels' centres after the frequencies that the pixels can't hold are taken away.
    """
    voxel_um = pitch_um / finer
    fine_shape = (shape[0] * finer, shape[1] * finer)
    field = np.ones(fine_shape, np.complex64)
    centre = (finer - 1) // 2
    for particle in particles:
        x_px, y_px = place_px(particle, voxel_um)
        paste(field, _exit_wave(particle.volume, light.wavelength_um), x_px + centre, y_px + centre)
    fy, fx = fft.fftfreq(fine_shape[0], 1 / finer)[:, None], fft.fftfreq(fine_shape[1], 1 / finer)[None, :]
    keep = (np.abs(fy) <= 0.5) & (np.abs(fx) <= 0.5)
    back = np.exp(2j * np.pi * centre / finer * (fx + fy))
    smooth = fft.ifft2(fft.fft2(field) * keep * back)
    return np.ascontiguousarray(smooth[::finer, ::finer]).astype(np.complex64)


def multislice_hologram(
    shape: tuple[int, int],
    pitch_um: float,
    particles: Sequence[SimulatedParticle],
    light: Illumination,
    *,
    finer: int = 2,
    wavelengths: int = 3,
    margin_px: int = 0,
) -> NDArray[np.float32]:
    """Intensity at the sensor by the `multislice` model, float32 [height, width], mean 1 where nothing is.

    Volumes must be sampled at pitch / finer. The wave goes from the farthest particle to the sensor, so that what
    scatters twice does; `wavelengths` Gauss-Hermite nodes are summed in intensity, pixels integrate over their area.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(wavelengths if light.bandwidth_um > 0 else 1)
    total = np.zeros(shape, np.float32)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        wavelength = light.wavelength_um + node * light.bandwidth_um / _FWHM
        intensity = _sequential(shape, pitch_um, particles, replace(light, wavelength_um=float(wavelength)), finer, margin_px)
        total += np.float32(weight) * intensity
    return total


def _half_voxel_shift(shape: tuple[int, int], voxels: float) -> NDArray[np.complex64]:
    fy, fx = fft.fftfreq(shape[0])[:, None], fft.fftfreq(shape[1])[None, :]
    return np.exp(-2j * np.pi * voxels * (fx + fy)).astype(np.complex64)


def _sequential(
    shape: tuple[int, int],
    pitch_um: float,
    particles: Sequence[SimulatedParticle],
    light: Illumination,
    finer: int,
    margin_px: int,
) -> NDArray[np.float32]:
    fine = tuple((n + 2 * margin_px) * finer for n in shape)
    fine_shape, voxel_um, margin = (fine[0], fine[1]), pitch_um / finer, margin_px * finer
    planes = list(_by_depth(particles).items())
    wave = np.ones(fine_shape, np.complex64)
    # The centre of pixel (0, 0) lies (finer - 1) / 2 voxels from the centre of voxel (0, 0): whole voxels are put into
    # the places, a half one into the phase of the last transfer function.
    centre = (finer - 1) // 2
    half = 0.5 * ((finer - 1) % 2)
    for k, (z_um, members) in enumerate(planes):
        for particle in members:
            x_px, y_px = place_px(particle, voxel_um)
            paste(wave, _exit_wave(particle.volume, light.wavelength_um), x_px + margin + centre, y_px + margin + centre)
        next_um = planes[k + 1][0] if k + 1 < len(planes) else 0.0
        transfer = asm_transfer_function(fine_shape, voxel_um, light.wavelength_um, z_um - next_um)
        if half and next_um == 0.0:
            transfer = transfer * _half_voxel_shift(fine_shape, half)
        wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * transfer, overwrite_x=True)
    intensity = np.abs(wave) ** 2
    if planes and light.source_diameter_um > 0:
        mean_um = float(np.mean([z for z, _ in planes]))
        blur = coherence_envelope(fine_shape, voxel_um, light, mean_um, temporal=False)
        intensity = fft.ifft2(fft.fft2(intensity) * blur).real
    binned = intensity.reshape(fine_shape[0] // finer, finer, fine_shape[1] // finer, finer).mean(axis=(1, 3))
    return binned[margin_px : margin_px + shape[0], margin_px : margin_px + shape[1]].astype(np.float32)
