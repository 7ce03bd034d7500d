"""What HIDEF learns from: random holograms in dimensionless units.

Lengths are pixels. A recording is described by the defocus number F = wavelength * distance / pitch^2 and by
wavelength / pitch, so that one network serves any instrument whose particles span the same number of pixels.
A particle is a few slabs of its own thickness: as one sheet it wouldn't focus the light that passes it, and a pollen grain
does (two thin sheets for the same grain differ by 0.2 in relative complex error, device/twin/forward.py's `multislice` being
the truth). Particles scatter on their own, on the pixels' grid; what scores the network is carried from particle to particle
on a finer grid, in thinner slabs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from device.optics import fft
from device.optics.propagation import compute_transfer_function, propagate
from device.optics.pupil import ABERRATIONS, Pupil
from device.twin.forward import paste
from device.twin.illumination import Illumination, coherence_envelope
from device.twin.morphology import MORPHOLOGIES, make_volume, random_rotation
from models.recipes.hidef.extended import extended_plane

__all__ = ["Placed", "Recording", "SceneRange", "Shapes", "recordings", "samples", "tiles"]

Real = NDArray[np.float32]

TILE_PX = 256
SCENE_PX = 512
_MOST_SLABS = 12
_TISSUE_SHARE = 0.08


@dataclass(frozen=True)
class SceneRange:
    """Ranges that scenes are drawn from; all dimensionless or in pixels."""

    defocus_number: tuple[float, float] = (25.0, 600.0)
    """wavelength * distance / pitch^2 of the focal plane."""
    wavelength_px: tuple[float, float] = (0.08, 0.85)
    """wavelength / pitch."""
    depth_number: float = 78.0
    """Half range of the particles' own defocus numbers around the focal plane; 68 is 100 um at 850 nm and 1.12 um."""
    diameter_px: tuple[float, float] = (2.5, 48.0)
    """Diameters."""
    peak_phase_rad: tuple[float, float] = (0.3, 8.0)
    """Largest phase of a particle."""
    slab_number: float = 2.0
    """Defocus number of one slab; a particle is at most _MOST_SLABS of them."""
    photons: tuple[float, float] = (8.0, 30000.0)
    """Electrons per pixel at the background level."""
    blur_px: float = 3.0
    """Largest diameter of the source's image on the sensor."""
    relative_bandwidth: float = 0.024
    """Largest full width at half maximum over wavelength."""
    cutoff_per_px: tuple[float, float] = (0.17, 0.5)
    """Radius of the pupil where there is one, in cycles per pixel."""
    without_cutoff: float = 0.35
    """Share of scenes whose only limit are the pixels."""
    pupil: Pupil | None = None
    """Aberrations of the recording, per pixel instead of per micrometre; the start field has them taken off."""
    pupil_error_rad: float = 0.0
    """By which those that are taken off are wrong, root mean square."""
    distance_error: float = 0.02
    """By which the distance is wrong, relative, one standard deviation."""
    extended: float = 0.0
    """Share of scenes of walls, fibres, large bodies and patches (models/recipes/hidef/extended.py)."""


@dataclass(frozen=True)
class Placed:
    """One particle of a scene."""

    defocus_number: float
    x_px: int
    y_px: int
    diameter_px: float


@dataclass(frozen=True)
class Recording:
    """One scene as a sensor sees it, with its truth."""

    recorded: NDArray[np.float32]
    """float32 [SCENE_PX, SCENE_PX]: intensity, 1 where nothing is."""
    target: NDArray[np.complex64]
    """Object field, every particle in focus, complex64 [SCENE_PX, SCENE_PX]."""
    defocus_number: float
    """At which the recording is refocused: the focal plane's, give or take."""
    wavelength_px: float
    tissue: bool
    """A dense layer, no particles."""
    particles: tuple[Placed, ...]
    bandwidth_px: float
    """Full width at half maximum."""
    blur_px: float
    """Diameter of the source's image."""
    cut: bool
    """Whether there is a pupil that the optics' description doesn't know."""


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# Shapes the network learns from: a list of its own, so that a species added to the twin doesn't change a recipe.
_SPECIES = ("birch", "grass", "oak", "ragweed", "alternaria", "cladosporium", "penicillium", "dust", "bead", "cluster")


@dataclass(frozen=True)
class Shape:
    """A particle's material, gathered from its far side on."""

    refraction: NDArray[np.float32]
    """float32 [depth + 1, height, width]: optical path up to a depth, over the largest of the whole."""
    absorption: NDArray[np.float32]
    """The same of the extinction, over the same largest optical path."""
    diameter_px: float

    def turned(self, rng: np.random.Generator) -> Shape:
        """The same particle, turned by a multiple of 90 degrees, mirrored, and seen from behind, at random."""
        turns, mirror, behind = int(rng.integers(4)), rng.random() < 0.5, rng.random() < 0.5

        def one(gathered: NDArray[np.float32]) -> NDArray[np.float32]:
            out = np.rot90(gathered, turns, axes=(1, 2))[:, :, :: -1 if mirror else 1]
            return out[-1] - out[::-1] if behind else out

        return Shape(one(self.refraction), one(self.absorption), self.diameter_px)

    def slabs(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(refraction, absorption) of so many slabs of one thickness, float32 [count, height, width]."""
        edges = np.linspace(0, len(self.refraction) - 1, count + 1).round().astype(int)
        return np.diff(self.refraction[edges], axis=0), np.diff(self.absorption[edges], axis=0)


class Shapes:
    """A store of shapes, renewed a few at a time, so that scenes don't wait for voxels."""

    def __init__(self, rng: np.random.Generator, size: int = 400) -> None:
        self._rng = rng
        self._shapes: list[Shape] = []
        self._size = size

    def pick(self, diameter_px: float) -> Shape:
        """One of about this diameter."""
        near = [s for s in self._shapes if abs(np.log(s.diameter_px / diameter_px)) < 0.12]
        if len(near) < 12 or self._rng.random() < 0.08:
            shape = self._render(diameter_px)
            self._shapes.append(shape)
            if len(self._shapes) > self._size:
                self._shapes.pop(0)
            return shape
        return near[int(self._rng.integers(len(near)))].turned(self._rng)

    def _render(self, diameter_px: float) -> Shape:
        rng = self._rng
        names = _SPECIES
        weights = np.array([3.0 if name in ("bead", "cluster", "dust") else 1.0 for name in names])
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        natural = MORPHOLOGIES[name].draw_diameter_um(rng)
        offset = (float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.5)))
        rotation = None if name == "cluster" else random_rotation(rng)
        volume = make_volume(MORPHOLOGIES[name].draw(rng, natural), natural / diameter_px, rotation, offset)
        gathered = np.pad(np.cumsum(volume.contrast, axis=0), ((1, 0), (0, 0), (0, 0)))
        peak = max(float(gathered[-1].real.max()), 1e-6)
        return Shape((gathered.real / peak).astype(np.float32), (gathered.imag / peak).astype(np.float32), diameter_px)


@dataclass(frozen=True)
class _WavePropagation:
    """How waves pass through a particle, in one scene."""

    wavelength: float
    """In pixels."""
    slab_px: float
    """Thickness of a slab."""
    thickness: float
    """Optical over geometric thickness of a particle; 0: a sheet."""

    def exit_wave(self, shape: Shape, peak_phase: float, opacity: float) -> NDArray[np.complex64]:
        """The wave behind a particle, refocused to its middle, complex64 [n, n]; 1 where nothing is."""
        thickness_px = (len(shape.refraction) - 1) * self.thickness
        count = int(np.clip(round(thickness_px / self.slab_px), 1, _MOST_SLABS))
        refraction, absorption = shape.slabs(count)
        waves = np.exp(1j * peak_phase * refraction - abs(peak_phase) * absorption - opacity * refraction).astype(np.complex64)
        if count == 1:
            return waves[0]
        step_px = thickness_px / count
        side = waves.shape[1]
        # As far as the finest detail spreads while it passes the particle.
        margin = int(np.ceil(min(0.5 * self.wavelength, 0.5) * thickness_px)) + 4
        padded = -(-(side + 2 * margin) // 16) * 16
        lead = padded // 2 - side // 2
        inner = (slice(lead, lead + side),) * 2
        wave = np.ones((padded, padded), np.complex64)
        step = _transfer(padded, self.wavelength, round(step_px, 2))
        for k, sheet in enumerate(waves):
            wave[inner] *= sheet
            if k + 1 < count:
                wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * step, overwrite_x=True)
        back = _transfer(padded, self.wavelength, round(-round(step_px, 2) * (count - 1) / 2, 3))
        return fft.ifft2(fft.fft2(wave, overwrite_x=True) * back, overwrite_x=True)


@lru_cache(maxsize=64)
def _transfer(side: int, wavelength: float, distance: float) -> NDArray[np.complex64]:
    return compute_transfer_function((side, side), 1.0, wavelength, distance, band_limited=False)


def _particle_planes(
    rng: np.random.Generator, shapes: Shapes, ranges: SceneRange, defocus_number: float, wavelength: float
) -> tuple[dict[float, NDArray[np.complex64]], list[Placed]]:
    """Transmission planes by their defocus number, and the particles in them."""
    flat = rng.random() < 0.35
    half = min(ranges.depth_number, 0.8 * defocus_number)
    spread = 0.0 if flat else float(rng.uniform(0, half))
    middle = float(rng.uniform(-1, 1)) * (half - spread)
    offsets = middle + spread * np.linspace(-1, 1, 1 if flat else 6)
    planes = {float(defocus_number + o): np.ones((SCENE_PX, SCENE_PX), np.complex64) for o in offsets}
    typical = _log_uniform(rng, *ranges.diameter_px)
    variety = float(rng.uniform(0.02, 0.6))
    most = min(220.0, 0.18 * SCENE_PX**2 / (0.8 * typical**2) + 8)
    phase_typical, phase_variety = _log_uniform(rng, *ranges.peak_phase_rad), float(rng.uniform(0.02, 0.5))
    opaque = rng.random() < 0.15
    sign = -1.0 if rng.random() < 0.03 else 1.0
    # Between a particle in a dense medium, seen from air, and one all in air; now and then a sheet.
    light = _WavePropagation(
        wavelength, ranges.slab_number / wavelength, 0.0 if rng.random() < 0.15 else float(rng.uniform(0.65, 1.1))
    )
    placed: list[Placed] = []
    for _ in range(int(_log_uniform(rng, 8, max(most, 9)))):
        diameter = float(np.clip(typical * np.exp(rng.normal(0, variety)), *ranges.diameter_px))
        shape = shapes.pick(diameter)
        peak = sign * phase_typical * np.exp(rng.normal(0, phase_variety))
        wave = light.exit_wave(shape, float(peak), float(rng.uniform(0, 3)) if opaque else 0.0)
        number = float(rng.choice(list(planes)))
        x_px, y_px = int(rng.integers(SCENE_PX)), int(rng.integers(SCENE_PX))
        paste(planes[number], wave, x_px, y_px)
        placed.append(Placed(number, x_px, y_px, diameter))
    return planes, placed


def _tissue_planes(rng: np.random.Generator, defocus_number: float) -> dict[float, NDArray[np.complex64]]:
    """A dense, weakly absorbing layer: several scales of smooth structure, some of it with edges."""
    phase = np.zeros((SCENE_PX, SCENE_PX), np.float32)
    for scale in np.exp(rng.uniform(np.log(1.5), np.log(25), 3)):
        noise = scipy.ndimage.gaussian_filter(rng.standard_normal((SCENE_PX, SCENE_PX)).astype(np.float32), scale, mode="wrap")
        noise /= noise.std()
        phase += rng.uniform(0.1, 0.9) * (np.tanh(4 * noise) if rng.random() < 0.5 else noise)
    density = float(rng.uniform(0, 0.4))
    transmission = np.exp(1j * phase - density * (phase - phase.min()) / max(float(np.ptp(phase)), 1e-6))
    return {defocus_number + float(rng.uniform(-30, 30)): transmission.astype(np.complex64)}


def _optical_cutoff(rng: np.random.Generator, ranges: SceneRange) -> NDArray[np.float32] | None:
    """A soft pupil, float32 in FFT order; None: the pixels are the limit."""
    if rng.random() < ranges.without_cutoff:
        return None
    cutoff = float(rng.uniform(*ranges.cutoff_per_px))
    fy, fx = fft.fftfreq(SCENE_PX)[:, None], fft.fftfreq(SCENE_PX)[None, :]
    return (1 / (1 + np.exp((np.hypot(fy, fx) - cutoff) / 0.012))).astype(np.float32)


def _aberrated(rng: np.random.Generator, ranges: SceneRange) -> NDArray[np.complex64] | None:
    """What the aberrations are in one scene, complex64 in FFT order: as they were measured, give or take."""
    if ranges.pupil is None:
        return None
    errors = rng.normal(0, ranges.pupil_error_rad / np.sqrt(len(ABERRATIONS)), len(ABERRATIONS))
    coefficients = tuple(float(c + e) for c, e in zip(ranges.pupil.coefficients_rad, errors, strict=True))
    return Pupil(coefficients, ranges.pupil.radius_per_um).transfer((SCENE_PX, SCENE_PX), 1.0)


def _record(rng: np.random.Generator, intensity: NDArray[np.float32], ranges: SceneRange) -> NDArray[np.float32]:
    """What real recordings add: uneven light left by an imperfect background, fringes, dust, noise, quantisation."""
    height, width = intensity.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = np.ones_like(intensity)
    if rng.random() < 0.6:
        small = rng.standard_normal((4, 4)).astype(np.float32) * float(rng.uniform(0, 0.08))
        light += np.asarray(
            scipy.ndimage.zoom(small, (height / 4, width / 4), order=3, mode="nearest", grid_mode=True), np.float32
        )
    if rng.random() < 0.4:
        frequency, angle = rng.uniform(0.01, 0.45), rng.uniform(0, np.pi)
        carrier = np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6.3))
        light += float(rng.uniform(0, 0.025)) * carrier
    electrons = _log_uniform(rng, *ranges.photons)
    counts = rng.poisson(np.maximum(intensity * light, 0) * electrons) + rng.normal(0, 2, intensity.shape)
    levels = 2.0 ** float(rng.integers(6, 13))
    recorded = np.round(counts / electrons / 3.5 * levels).clip(0, levels) / levels * 3.5
    return recorded.astype(np.float32)


def _recording(rng: np.random.Generator, shapes: Shapes, ranges: SceneRange) -> Recording:
    """One scene as a sensor sees it."""
    defocus_number = _log_uniform(rng, *ranges.defocus_number)
    wavelength = _log_uniform(rng, *ranges.wavelength_px)
    kind = rng.random()
    tissue, placed = kind < _TISSUE_SHARE, list[Placed]()
    if tissue:
        planes = _tissue_planes(rng, defocus_number)
    elif kind < _TISSUE_SHARE + ranges.extended:
        planes = {defocus_number + float(rng.uniform(-60, 60)) * min(defocus_number / 75, 1): extended_plane(rng, SCENE_PX)}
    else:
        planes, placed = _particle_planes(rng, shapes, ranges, defocus_number, wavelength)
    pupil = _optical_cutoff(rng, ranges)
    # Pixels average over their area, more or less.
    fill = float(rng.uniform(0.6, 1.0)) if rng.random() < 0.6 else 0.0
    pixel = np.sinc(fill * fft.fftfreq(SCENE_PX)).astype(np.float32)
    blur_per_px = float(rng.uniform(0, ranges.blur_px)) if rng.random() < 0.5 else 0.0
    bandwidth = float(rng.uniform(0, ranges.relative_bandwidth)) * wavelength if rng.random() < 0.5 else 0.0
    shape = (SCENE_PX, SCENE_PX)
    target = np.ones(shape, np.complex64)
    spectrum = np.zeros(shape, np.complex64)
    for number, plane in planes.items():
        target *= plane
        distance = number / wavelength
        light = Illumination(wavelength, bandwidth, blur_per_px, 2 * distance)
        transfer = compute_transfer_function(shape, 1.0, wavelength, distance, band_limited=False)
        spectrum += fft.fft2(plane - 1) * transfer * coherence_envelope(shape, 1.0, light, distance)
    if pupil is not None:
        spectrum *= pupil
        target = fft.ifft2(fft.fft2(target) * pupil).astype(np.complex64)
    aberrated = _aberrated(rng, ranges)
    if aberrated is not None:
        spectrum *= aberrated
    spectrum *= pixel[:, None] * pixel[None, :]
    intensity = np.abs(1 + fft.ifft2(spectrum)) ** 2
    recorded = _record(rng, intensity.astype(np.float32), ranges)
    nominal = defocus_number + float(rng.normal(0, 2 + ranges.distance_error * defocus_number))
    return Recording(
        recorded, target, max(nominal, 5.0), wavelength, tissue, tuple(placed), bandwidth, blur_per_px, pupil is not None
    )


def _scene(rng: np.random.Generator, shapes: Shapes, ranges: SceneRange) -> NDArray[np.float32]:
    """Samples of one scene, float32 [0 to 4, TILE_PX, TILE_PX, 5]: input (2), target (2), weight."""
    scene = _recording(rng, shapes, ranges)
    return tiles(rng, scene.recorded, scene, ranges.pupil)


def tiles(
    rng: np.random.Generator, recorded: Real, scene: Recording, pupil: Pupil | None = None,
    amplitude: Callable[[Real], Real] = np.sqrt,
) -> NDArray[np.float32]:  # fmt: skip
    """Back-propagate a frame of a scene and cut it, float32 [0 to 4, TILE_PX, TILE_PX, 5]: input (2), target (2), weight.

    `amplitude` of an intensity of mean 1, both float32 [height, width].
    """
    half, target = TILE_PX, scene.target

    def refocused(part: Real, margin_px: int | None) -> NDArray[np.complex64]:
        return propagate(
            amplitude(part / max(float(part.mean()), 1e-3)), pitch_um=1.0, wavelength_um=scene.wavelength_px,
            distance_um=-scene.defocus_number / scene.wavelength_px, margin_px=margin_px, pupil=pupil,
        )  # fmt: skip

    corners = [(a, b) for a in (0, half) for b in (0, half)]
    if rng.random() < 0.3:
        # A small frame on its own: light that left it is not known, as in a real recording.
        fields = [refocused(recorded[a : a + half, b : b + half], None) for a, b in corners]
    else:
        whole = refocused(recorded, 0)
        fields = [whole[a : a + half, b : b + half] for a, b in corners]
    weight = _weight(target, scene.tissue)
    out = np.empty((4, half, half, 5), np.float32)
    for k, (a, b) in enumerate(corners):
        truth = target[a : a + half, b : b + half]
        out[k, ..., 0], out[k, ..., 1] = fields[k].real - 1, fields[k].imag
        out[k, ..., 2], out[k, ..., 3] = truth.real - 1, truth.imag
        out[k, ..., 4] = weight[a : a + half, b : b + half]
    # Empty tiles teach little after the first: keep one in five.
    kept = [k for k in range(4) if (out[k, ..., 4] > 1).any() or scene.tissue or rng.random() < 0.2]
    return out[kept]


def _weight(target: NDArray[np.complex64], tissue: bool) -> NDArray[np.float32]:
    """Where the loss looks: particles and their surroundings count several times the background."""
    if tissue:
        return np.ones(target.shape, np.float32)
    near = scipy.ndimage.binary_dilation(np.abs(target - 1) > 0.15, iterations=3)
    return 1 + 5 * near.astype(np.float32)


def samples(seed: int, ranges: SceneRange | None = None) -> Iterator[NDArray[np.float32]]:
    """Endless batches float32 [0 to 4, TILE_PX, TILE_PX, 5] of (input 2, target 2, weight 1)."""
    rng = np.random.default_rng(seed)
    shapes = Shapes(rng)
    while True:
        yield _scene(rng, shapes, ranges or SceneRange())


def recordings(seed: int, ranges: SceneRange | None = None) -> Iterator[Recording]:
    """Endless whole scenes, for what is fitted to single particles."""
    rng = np.random.default_rng(seed)
    shapes = Shapes(rng)
    while True:
        yield _recording(rng, shapes, ranges or SceneRange())
