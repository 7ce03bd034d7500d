"""The world that scores the brightfield view: other particles, by another model of the hologram, through another condenser.

Pollen and water's particles that the training never draws, and layered solids of a generator of their own; the hologram by
`multislice_hologram` on a grid twice as fine, with the bioaerosol instrument's lamp, noise and bits; the picture by Abbe's sum on
that grid, over rings of directions. And the classical methods that the network stands beside.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.optics.coherence import Coherence
from device.optics.geometry import Geometry
from device.optics.microscope import Microscope, condenser_directions
from device.optics.propagation import apply_transfer, asm_transfer_function
from device.twin.brightfield import brightfield_picture, particle_slices
from device.twin.forward import multislice_hologram
from device.twin.illumination import Illumination
from device.twin.morphology import VoxelVolume
from device.twin.scene import SimulatedParticle, draw_particle
from models.training.hallucination import strange_shape

__all__ = [
    "CORE_PX", "FIELD_PX", "GEOMETRY", "PITCH_UM", "SHAPE_PX", "core", "draw", "inserted", "places", "recorded", "sparse_planes", "through",
    "truth",
]  # fmt: skip

Complex = NDArray[np.complex64]
Kind = TypeVar("Kind", bound=np.generic)
Picture = NDArray[np.float32]

_LIGHT = Illumination(0.85, bandwidth_um=0.008, source_diameter_um=100.0, source_distance_um=40000.0)
PITCH_UM = 1.12
GEOMETRY = Geometry(
    0.85, PITCH_UM, 500.0, coherence=Coherence(_LIGHT.bandwidth_um, _LIGHT.source_diameter_um, _LIGHT.source_distance_um)
)
_MICROSCOPE = Microscope(0.85, 0.25, 0.20)
"""A 10x/0.25, its condenser closed to 0.8, in the instrument's light."""
FIELD_PX, CORE_PX, _FINER = 320, 160, 2
_LABELS = ("olive", "bermuda-grass", "euglena", "giardia", "cryptosporidium", "centric-diatom", "layered")
SHAPE_PX = 20
_PLANES_UM = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)
_THRESHOLDS = (0.3, 0.2)
"""First and last, over the strongest scatterers, of the sparse planes: the last of 0.02, 0.05, 0.1 and 0.2 the best on scenes of
another seed."""


def _layered(rng: np.random.Generator, voxel_um: float) -> VoxelVolume:
    """A solid of shells with a lattice in it: a superellipsoid, its index a wave of its depth below the surface and of its place."""
    half = int(rng.uniform(6, 16) / voxel_um)
    z, y, x = np.mgrid[-half : half + 1, -half : half + 1, -half : half + 1] / half
    power, (a, b) = rng.uniform(1.5, 5), rng.uniform(0.6, 0.95, 2)
    radius = (np.abs(x / a) ** power + np.abs(y / b) ** power + np.abs(z / a) ** power) ** (1 / power)
    inside = np.clip((1 - radius) * half / 2 + 0.5, 0, 1)
    shells = 0.5 + 0.5 * np.cos(2 * np.pi * rng.uniform(1, 2.5) * radius)
    lattice = np.prod([np.cos(rng.uniform(3, 7) * axis + rng.uniform(0, 6)) for axis in (x, y, z)], axis=0) > 0.2
    contrast = inside * (0.02 + 0.03 * shells + 0.001j + lattice * complex(0.02, rng.uniform(0, 0.02)))
    return VoxelVolume(
        contrast.astype(np.complex64), voxel_um, float(2 * half * voxel_um * np.sqrt(a * b)), 2 * half * voxel_um
    )


def draw(rng: np.random.Generator, place_px: NDArray[np.float64], z_um: float) -> SimulatedParticle:
    """A particle of a random kind, its middle at a place (x, y) in pixels of the field."""
    label, voxel_um = str(rng.choice(_LABELS)), PITCH_UM / _FINER
    if label == "layered":
        volume, sub_px = _layered(rng, voxel_um), (0.0, 0.0)
    else:
        drawn = draw_particle(rng, label, field_um=(1, 1), depth_um=(0, 1), voxel_um=voxel_um)
        volume, sub_px = drawn.volume, drawn.sub_px
    x_um, y_um = (float(np.round(p * _FINER) + s) * voxel_um for p, s in zip(place_px, sub_px, strict=True))
    return SimulatedParticle(label, x_um, y_um, z_um, volume, sub_px)


def places(rng: np.random.Generator, count: int) -> list[NDArray[np.float64]]:
    """Each the farthest of some from those before, in the middle of the field."""
    places: list[NDArray[np.float64]] = []
    for _ in range(count):
        tried = rng.uniform(FIELD_PX / 2 - 54, FIELD_PX / 2 + 54, (12, 2))
        away = [min((float(np.hypot(*(t - p))) for p in places), default=0.0) for t in tried]
        places.append(tried[int(np.argmax(away))])
    return places


def inserted(rng: np.random.Generator, place_px: NDArray[np.float64], z_um: float) -> SimulatedParticle:
    """A thin shape that grows nowhere."""
    voxel_um = PITCH_UM / _FINER
    sheet = np.pad(strange_shape(rng, SHAPE_PX * _FINER), ((0, 1), (0, 1)))
    contrast = np.repeat(sheet[None] * (0.05 + 0.05j), 3, axis=0).astype(np.complex64)
    length_um = SHAPE_PX * PITCH_UM
    x_um, y_um = (float(np.round(p * _FINER)) * voxel_um for p in place_px)
    return SimulatedParticle("inserted", x_um, y_um, z_um, VoxelVolume(contrast, voxel_um, length_um, length_um))


def truth(particles: list[SimulatedParticle], focus_um: float) -> Picture:
    """The microscope's picture of the field's middle, sampled at the pixels' centres."""
    side, voxel_um = CORE_PX * _FINER, PITCH_UM / _FINER
    corner_um = (FIELD_PX - CORE_PX) / 2 * PITCH_UM
    moved = [replace(p, x_um=p.x_um - corner_um, y_um=p.y_um - corner_um) for p in particles]
    rings = [(np.sqrt((3 * n * (n - 1) + 1 + 3 * n) / 37), n) for n in range(1, 4)]
    points = [0j, *(r * np.exp(2j * np.pi * (k + 0.3) / (6 * n)) for r, n in rings for k in range(6 * n))]
    around = np.array([(p.real, p.imag) for p in points]) * _MICROSCOPE.condenser_na / _MICROSCOPE.wavelength_um
    slices = particle_slices((side, side), moved, _MICROSCOPE.wavelength_um)
    picture = brightfield_picture(slices, voxel_um, _MICROSCOPE, focus_um, around)
    # A pixel's centre lies half a voxel beyond its first voxel's; what the pixels can't hold is taken away.
    frequency = fft.fftfreq(side, 1 / _FINER)
    keep = (np.abs(frequency) <= 0.5) * np.exp(-1j * np.pi * frequency / _FINER)
    return fft.ifft2(fft.fft2(picture) * keep[:, None] * keep[None, :]).real[::_FINER, ::_FINER].astype(np.float32)


def recorded(rng: np.random.Generator, particles: list[SimulatedParticle]) -> Picture:
    """As hidef's evaluation records: well, read noise and bits of the sensor, divided by an empty frame."""
    shape = (FIELD_PX, FIELD_PX)
    clean = multislice_hologram(shape, PITCH_UM, particles, _LIGHT, margin_px=80)
    frame, before = (rng.poisson(level * 2820.0) + rng.normal(0, 3, shape) for level in (clean, np.ones(shape)))
    return (np.round(frame / 4.9) / np.maximum(np.round(before / 4.9), 1)).astype(np.float32)


def core(field: NDArray[Kind]) -> NDArray[Kind]:
    """The field's middle, [CORE_PX, CORE_PX]: of it alone there are pictures."""
    edge = (FIELD_PX - CORE_PX) // 2
    return field[edge:-edge, edge:-edge]


def through(slices: dict[float, Complex]) -> Picture:
    """What the microscope makes of transmissions [CORE_PX, CORE_PX] by their distance from the focus."""
    return brightfield_picture(slices, PITCH_UM, _MICROSCOPE, 0.0, condenser_directions(_MICROSCOPE, 24))


def sparse_planes(
    intensity: Picture, focus_um: float, iterations: int = 30, thresholds: tuple[float, float] = _THRESHOLDS
) -> dict[float, Complex]:
    """Transmissions of planes about the focus that together make the hologram and hold as little as they can.

    Compressive holography (D. J. Brady et al., Opt. Express 17, 13040 (2009), doi:10.1364/OE.17.013040) of the amplitude, shrunk
    as device.optics.phase_retrieval shrinks one plane; no plane amplifies.
    """
    amplitude = np.sqrt(np.maximum(intensity, 0))
    steps = [asm_transfer_function(intensity.shape, PITCH_UM, _LIGHT.wavelength_um, focus_um + d) for d in _PLANES_UM]
    planes = [np.zeros(intensity.shape, np.complex64) for _ in steps]
    ahead, scale = planes, 0.0
    for limit in np.linspace(*thresholds, iterations):
        wave = 1 + fft.ifft2(np.sum([fft.fft2(p) * s for p, s in zip(ahead, steps, strict=True)], axis=0))
        missing = (amplitude / np.maximum(np.abs(wave), 1e-6) - 1) * wave
        moved = [p + apply_transfer(missing, np.conj(s)) / len(steps) for p, s in zip(ahead, steps, strict=True)]
        scale = scale or float(np.quantile(np.abs(moved), 0.999))
        before, planes = planes, []
        for plane in moved:
            size = np.abs(plane)
            field = 1 + plane * np.maximum(1 - limit * scale / np.maximum(size, 1e-9), 0)
            planes.append(field / np.maximum(np.abs(field), 1) - 1)
        ahead = [now + 0.7 * (now - past) for now, past in zip(planes, before, strict=True)]
    return {d: core(1 + plane).astype(np.complex64) for d, plane in zip(_PLANES_UM, planes, strict=True)}
