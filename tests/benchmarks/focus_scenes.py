"""Simulated holograms of one plane at a known distance, for the focus search: reference instruments and a foreign model.

The twin's particles on its reference instruments, and beside them a forward model of its own:
all waves in double precision on a grid twice as fine and a field twice as wide, pixels that integrate, an extended
source, photon noise, eight bits, uneven light. Its scenes are sparse (opaque grains, clear spheres), thin (fibres) and
extended (tissue that fills the field, and pieces with sharp edges).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.instrument import load_instrument
from device.optics.geometry import Geometry
from device.twin.forward import thin_hologram
from device.twin.illumination import Illumination
from device.twin.scene import draw_particle

__all__ = ["KINDS", "Simulated", "simulated"]

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

SIDE_PX = 256
TWINS = {
    "bioaerosol-imx219-850nm": ("birch", "ragweed", "alternaria", "dust", "fibre"),
    "flow-imx477-530nm": ("centric-diatom", "pennate-diatom", "euglena", "detritus"),
    "flow-imx296-530nm": ("rotifer", "centric-diatom", "detritus"),
    "assay-ov9281-850nm": ("bead", "dimer", "cluster"),
}
FOREIGN = ("grains", "spheres", "fibres", "tissue", "pieces")
# Wavelength, pitch, distance: near and far, fine and coarse.
INSTRUMENTS = (
    Geometry(0.405, 1.4, 700.0),
    Geometry(0.633, 3.45, 4_000.0),
    Geometry(0.532, 6.5, 12_000.0),
    Geometry(0.85, 1.12, 450.0),
    Geometry(0.633, 5.2, 15_000.0, source_distance_um=60_000.0),
    Geometry(0.52, 2.2, 1_500.0),
)


@dataclass(frozen=True)
class Simulated:
    """A hologram and its truth."""

    kind: str
    """Of the scene, with its instrument's name where it is the twin's."""
    intensity: NDArray[np.float32]
    """float32 [height, width], 1 where nothing is."""
    geometry: Geometry
    """At the true distance."""


def _twin(rng: np.random.Generator, kind: str) -> Simulated:
    name = next(n for n in TWINS if n.startswith(kind.removeprefix("twin ")))
    instrument, labels = load_instrument(name), TWINS[name]
    nominal = instrument.geometry
    geometry = nominal.at(float(nominal.distance_um * rng.uniform(0.7, 1.4)))
    lamp = instrument.lamp
    light = Illumination(
        geometry.wavelength_medium_um, lamp.bandwidth_um, lamp.source_diameter_um, lamp.source_distance_um or 1e9
    )
    pitch_um, z_um = geometry.object_pitch_um, geometry.distance_um
    field_um = (SIDE_PX * pitch_um, SIDE_PX * pitch_um)
    particles = [
        draw_particle(rng, str(rng.choice(labels)), field_um=field_um, depth_um=(z_um, z_um), voxel_um=pitch_um)
        for _ in range(int(rng.integers(4, 14)))
    ]
    electrons = thin_hologram((SIDE_PX, SIDE_PX), pitch_um, particles, light) * 3_000.0
    counts = rng.poisson(np.maximum(electrons, 0)).astype(np.float32)
    return Simulated(kind, normalise(counts).intensity, geometry)


def _grains(rng: np.random.Generator, side: int) -> Complex:
    field = np.ones((side, side), np.complex128)
    for _ in range(int(rng.integers(15, 60))):
        a, b = rng.uniform(2.5, 9, 2)
        t = rng.uniform(0, np.pi)
        part, down, across = _around(rng, side, 12)
        u, v = down * np.cos(t) + across * np.sin(t), across * np.cos(t) - down * np.sin(t)
        field[part] *= 1 - rng.uniform(0.6, 1) * np.clip((1 - np.hypot(u / a, v / b)) * min(a, b) + 0.5, 0, 1)
    return field


def _spheres(rng: np.random.Generator, side: int) -> Complex:
    phase = np.zeros((side, side))
    peak = rng.uniform(0.5, 3)
    for _ in range(int(rng.integers(15, 60))):
        radius = rng.uniform(3, 9)
        part, down, across = _around(rng, side, 12)
        phase[part] += peak * radius / 6 * np.sqrt(np.maximum(1 - (down**2 + across**2) / radius**2, 0))
    return np.exp(1j * phase)


def _around(rng: np.random.Generator, side: int, reach: int) -> tuple[tuple[slice, slice], Real, Real]:
    """A square around a random place, and the distances of its rows and columns from there."""
    y, x = rng.uniform(reach + 1, side - reach - 1, 2)
    top, left = int(y) - reach, int(x) - reach
    down, across = np.ogrid[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    return (slice(top, top + 2 * reach + 1), slice(left, left + 2 * reach + 1)), down - y, across - x


def _fibres(rng: np.random.Generator, side: int) -> Complex:
    drawn = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(3, 16))):
        length = int(rng.integers(60, 2 * side))
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.002, 0.03), length))
        path = rng.uniform(0, side, 2) + np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1), 0)
        one = np.zeros_like(drawn)
        cv2.polylines(one, [np.round(path * 16).astype(np.int32)], False, 1.0, int(rng.integers(2, 9)), cv2.LINE_AA, 4)
        drawn += cv2.GaussianBlur(one, (0, 0), 0.8)
    absorbed, delayed = rng.uniform(0, 0.7), rng.uniform(0.2, 2)
    return (np.exp(-absorbed * drawn + 1j * delayed * drawn)).astype(np.complex128)


def _texture(rng: np.random.Generator, side: int, slope: float) -> Real:
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    wave = np.fft.fft2(rng.standard_normal((side, side))) / (f + 2 / side) ** slope
    values = np.fft.ifft2(wave).real
    return (values - values.mean()) / values.std()


def _tissue(rng: np.random.Generator, side: int) -> Complex:
    slope = rng.uniform(1.2, 1.8)
    phase = rng.uniform(0.3, 1.2) * _texture(rng, side, slope)
    density = rng.uniform(0.05, 0.3) * np.maximum(_texture(rng, side, slope), 0)
    nuclei = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(100, 500))):
        y, x = rng.integers(0, side, 2)
        axes = (int(rng.integers(2, 6)), int(rng.integers(2, 6)))
        cv2.ellipse(nuclei, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    nuclei = cv2.GaussianBlur(nuclei, (0, 0), 0.7)
    return np.exp(-density - rng.uniform(0.2, 0.8) * nuclei + 1j * phase)


def _pieces(rng: np.random.Generator, side: int) -> Complex:
    shade, phase = np.ones((side, side), np.float32), np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(60, 250))):
        middle, reach = rng.uniform(0, side, 2), rng.uniform(5, 50)
        corners = np.round(middle + rng.uniform(-reach, reach, (int(rng.integers(3, 6)), 2))).astype(np.int32)
        cv2.fillPoly(shade, [corners], float(rng.uniform(0.4, 1)))
        cv2.fillPoly(phase, [corners], float(rng.uniform(0, 1.5)))
    return (shade * np.exp(1j * phase)).astype(np.complex128)


_SCENES: dict[str, Callable[[np.random.Generator, int], Complex]] = {
    "grains": _grains, "spheres": _spheres, "fibres": _fibres, "tissue": _tissue, "pieces": _pieces,
}  # fmt: skip


def _foreign(rng: np.random.Generator, kind: str) -> Simulated:
    nominal = INSTRUMENTS[int(rng.integers(len(INSTRUMENTS)))]
    geometry = nominal.at(float(nominal.distance_um * rng.uniform(0.6, 1.6)))
    side, pixel_um = 4 * SIDE_PX, geometry.object_pitch_um / 2
    field = _SCENES[kind](rng, side)
    f = np.fft.fftfreq(side, pixel_um)
    squared = f[:, None] ** 2 + f[None] ** 2
    along = np.sqrt(np.maximum(geometry.wavelength_medium_um**-2.0 - squared, 0))
    kernel = np.exp(2j * np.pi * geometry.propagation_um * along)
    blur_um = rng.uniform(0, 1.5) * geometry.object_pitch_um
    intensity = np.abs(np.fft.ifft2(np.fft.fft2(field) * kernel)) ** 2
    intensity = np.fft.ifft2(np.fft.fft2(intensity) * np.exp(-2 * (np.pi * blur_um / 2) ** 2 * squared)).real
    inner = slice(SIDE_PX // 2, -SIDE_PX // 2)
    pixels = intensity.reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3))[inner, inner]
    ramp = np.linspace(-0.5, 0.5, SIDE_PX)
    pixels = pixels * (1 + rng.uniform(-0.2, 0.2) * ramp[:, None] + rng.uniform(-0.2, 0.2) * ramp[None])
    electrons = rng.poisson(rng.uniform(1_000, 10_000) * pixels / pixels.mean())
    counts = np.clip(np.round(electrons * 100.0 / electrons.mean()), 0, 255).astype(np.float32)
    return Simulated(kind, normalise(counts).intensity, geometry)


KINDS = (*(f"twin {'-'.join(name.split('-')[:2])}" for name in TWINS), *FOREIGN)


def simulated(rng: np.random.Generator, kinds: tuple[str, ...] = KINDS) -> Iterator[Simulated]:
    """One hologram of each kind, again and again."""
    while True:
        for kind in kinds:
            yield _foreign(rng, kind) if kind in FOREIGN else _twin(rng, kind)
