"""Simulated frames with their truth, kept on disk: what classifiers learn from and are scored on.

Frames to learn from are made by `scattered_wave(..., model="multislice")`: on the pixels' grid, every particle scattering on
its own. Frames to score on come from `multislice_hologram`: on a grid twice as fine, the wave carried from particle to
particle, several wavelengths added up. Rendering doesn't depend on any network; what follows does (models.training.crops).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.optics.geometry import Geometry
from device.twin.forward import multislice_hologram, multislice_object_field, scattered_wave
from device.twin.illumination import Illumination
from device.twin.morphology import Morphology, VoxelVolume, make_volume, random_rotation
from device.twin.morphology.shapes import extent_um
from device.twin.scene import SimulatedParticle, snap_depths

__all__ = ["Bench", "Frame", "frames", "render"]


@dataclass(frozen=True)
class Bench:
    """The simulated instrument, and the ranges over which its boxes differ."""

    geometry: Geometry
    """As the box believes it is."""
    depth_um: tuple[float, float]
    """Of particles, from the sensor."""
    bandwidth_um: tuple[float, float]
    """Of the lamp in air, full width at half maximum."""
    source_diameter_um: tuple[float, float]
    source_distance_um: float
    full_well_e: float
    fill: tuple[float, float]
    """The background's share of a full well: the brighter it is, the sooner the foci of large grains are clipped."""
    distance_error_um: float = 8.0
    """Standard deviation of the distance that the box believes in."""
    finer: tuple[int, int] = (1, 2)
    """Voxels along a pixel of frames to learn from and of frames to score on."""
    field_px: int = 512
    per_field: int = 36
    """Particles of one frame."""
    planes: int = 8
    """Depths of a frame to score on."""
    margin_px: int = 32
    """Around a frame to score on, out of which light comes."""
    pool_above_um: float = 60.0
    """Volumes wider than this are drawn a few at a time and used again, turned and mirrored."""


@dataclass(frozen=True)
class Frame:
    """One frame, as its sensor gave it, with what was there."""

    intensity: NDArray[np.float32]
    """float32 [height, width], divided by its background."""
    noise: float
    """Relative standard deviation of a pixel where nothing is."""
    believed_um: float
    """Distance that the box takes it for."""
    truth: NDArray[np.complex64]
    """complex64 [height, width]: the object field, everything in focus."""
    names: tuple[str, ...]
    """Of the particles."""
    x_um: NDArray[np.float64]
    """float64 [n]: middles of the silhouettes, from the centre of pixel (0, 0)."""
    y_um: NDArray[np.float64]
    esd_um: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write an .npz file, all or nothing; the pictures as float16."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        truth = np.stack([self.truth.real - 1, self.truth.imag]).astype(np.float16)
        with partial.open("wb") as file:
            np.savez(
                file, intensity=np.clip(self.intensity, 0, 6e4).astype(np.float16), truth=truth, names=np.array(self.names),
                numbers=np.array([self.noise, self.believed_um]), places=np.stack([self.x_um, self.y_um, self.esd_um]),
            )  # fmt: skip
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Frame:
        """The inverse of `save`."""
        with np.load(path) as arrays:
            truth = arrays["truth"].astype(np.float32)
            noise, believed_um = arrays["numbers"]
            x_um, y_um, esd_um = arrays["places"]
            return cls(
                arrays["intensity"].astype(np.float32), float(noise), float(believed_um),
                (1 + truth[0] + 1j * truth[1]).astype(np.complex64), tuple(map(str, arrays["names"])), x_um, y_um, esd_um,
            )  # fmt: skip


class _Stock:
    """Volumes to draw from: large ones take seconds, and are seen from behind and mirrored before another is made."""

    def __init__(self, voxel_um: float, above_um: float, size: int = 12) -> None:
        self.voxel_um = voxel_um
        self._above_um = above_um
        self._size = size
        self._kept: dict[str, list[VoxelVolume]] = {}

    def draw(self, rng: np.random.Generator, morphology: Morphology, shift: tuple[float, float]) -> tuple[VoxelVolume, bool]:
        """(volume, whether it is centred on a voxel instead of shifted by a part of one)."""
        diameter_um = morphology.draw_diameter_um(rng)
        bodies = morphology.draw(rng, diameter_um)
        rotation = None if morphology.flat else random_rotation(rng)
        if extent_um(bodies) < self._above_um:
            return make_volume(bodies, self.voxel_um, rotation, shift), False
        # Only a large one stands in for a large one: else a kind of all sizes soon comes in large ones alone.
        kept = self._kept.setdefault(morphology.name, [])
        if len(kept) >= self._size and rng.random() < len(kept) / (len(kept) + 1):
            return _turned(kept[int(rng.integers(len(kept)))], rng), True
        volume = make_volume(bodies, self.voxel_um, rotation)
        kept.append(volume)
        if len(kept) > 2 * self._size:
            kept.pop(0)
        return volume, True


def _turned(volume: VoxelVolume, rng: np.random.Generator) -> VoxelVolume:
    """The same seen from behind, from another side, or in a mirror."""
    contrast, (x_um, y_um) = volume.contrast, volume.centroid_um
    if rng.random() < 0.5:
        contrast = contrast[::-1]
    if rng.random() < 0.5:
        contrast, x_um = contrast[:, :, ::-1], -x_um
    if rng.random() < 0.5:
        contrast, y_um = contrast[:, ::-1], -y_um
    if rng.random() < 0.5:
        contrast, x_um, y_um = contrast.transpose(0, 2, 1), y_um, x_um
    return replace(volume, contrast=np.ascontiguousarray(contrast), centroid_um=(x_um, y_um))


def _particle(
    rng: np.random.Generator, morphology: Morphology, bench: Bench, stock: _Stock, spread: float
) -> SimulatedParticle:
    side_um, voxel_um = bench.field_px * bench.geometry.pitch_um, stock.voxel_um
    x_um, y_um = rng.uniform(0, side_um, 2)
    shift = (x_um / voxel_um - round(x_um / voxel_um), y_um / voxel_um - round(y_um / voxel_um))
    volume, centred = stock.draw(rng, morphology, shift)
    if centred:
        x_um, y_um, shift = x_um - shift[0] * voxel_um, y_um - shift[1] * voxel_um, (0.0, 0.0)
    if spread > 0:
        volume = replace(volume, contrast=volume.contrast * np.float32(np.exp(rng.normal(0, spread))))
    return SimulatedParticle(morphology.name, float(x_um), float(y_um), float(rng.uniform(*bench.depth_um)), volume, shift)


def _chosen(rng: np.random.Generator, mix: Mapping[Morphology, float], count: int) -> list[Morphology]:
    kinds, weights = list(mix), np.array(list(mix.values()))
    return [kinds[k] for k in rng.choice(len(kinds), count, p=weights / weights.sum())]


def render(
    rng: np.random.Generator, bench: Bench, mix: Mapping[Morphology, float], *, scoring: bool, stock: _Stock | None = None
) -> Frame:
    """One frame of particles drawn by `mix` (weights), to learn from or to score on."""
    geometry, shape = bench.geometry, (bench.field_px, bench.field_px)
    medium = geometry.medium_index
    # Frames to learn from vary what a generator of truth holds still: wavelength, contrast.
    spread, wavelength_um = (0.0, geometry.wavelength_um) if scoring else (0.08, geometry.wavelength_um * rng.normal(1, 0.006))
    light = Illumination(
        wavelength_um / medium, float(rng.uniform(*bench.bandwidth_um)) / medium,
        float(rng.uniform(*bench.source_diameter_um)), bench.source_distance_um,
    )  # fmt: skip
    finer = bench.finer[scoring]
    stock = stock or _Stock(geometry.pitch_um / finer, bench.pool_above_um)
    particles = [_particle(rng, kind, bench, stock, spread) for kind in _chosen(rng, mix, bench.per_field)]
    if scoring:
        particles = snap_depths(particles, bench.planes)
        clean = multislice_hologram(shape, geometry.pitch_um, particles, light, finer=finer, margin_px=bench.margin_px)
    else:
        clean = _summed(shape, geometry.pitch_um, particles, light, finer)
    truth = multislice_object_field(shape, geometry.pitch_um, particles, light, finer=finer)
    fill = float(np.exp(rng.uniform(*np.log(bench.fill))))
    electrons = fill * bench.full_well_e
    exposed = np.minimum(rng.poisson(clean * electrons), bench.full_well_e)
    intensity = (exposed / np.maximum(rng.poisson(electrons, shape), 1)).astype(np.float32)
    told = [particle.truth() for particle in particles]
    x_um, y_um, esd_um = (np.array([float(t[name]) for t in told]) for name in ("x_um", "y_um", "esd_um"))
    believed_um = geometry.distance_um + float(rng.normal(0, bench.distance_error_um))
    names = tuple(particle.label for particle in particles)
    return Frame(intensity, float(np.sqrt(2 / electrons)), believed_um, truth, names, x_um, y_um, esd_um)


def _summed(
    shape: tuple[int, int], pitch_um: float, particles: list[SimulatedParticle], light: Illumination, finer: int
) -> NDArray[np.float32]:
    """Intensity of the incident wave and of all that particles scatter, float32 [height, width]."""
    fine = (shape[0] * finer, shape[1] * finer)
    wave = scattered_wave(fine, pitch_um / finer, particles, light, "multislice")
    if finer > 1:
        # The middle of a pixel lies between voxels: (finer - 1) / 2 of them from the middle of its first.
        fy, fx = fft.fftfreq(fine[0])[:, None], fft.fftfreq(fine[1])[None, :]
        wave = fft.ifft2(fft.fft2(wave) * np.exp(-1j * np.pi * (finer - 1) * (fx + fy)))
    intensity = (np.abs(1 + wave) ** 2).reshape(shape[0], finer, shape[1], finer)
    return intensity.mean(axis=(1, 3)).astype(np.float32)


def frames(
    folder: Path, bench: Bench, mix: Mapping[Morphology, float], count: int, seed: int, *, scoring: bool
) -> Iterator[Frame]:
    """`count` frames of a seed; rendered once, afterwards read from `folder`."""
    stock = _Stock(bench.geometry.pitch_um / bench.finer[scoring], bench.pool_above_um)
    for k in range(count):
        path = folder / f"{k:05d}.npz"
        if not path.exists():
            render(np.random.default_rng([seed, k]), bench, mix, scoring=scoring, stock=stock).save(path)
        yield Frame.load(path)
