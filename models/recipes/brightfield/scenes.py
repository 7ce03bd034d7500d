"""What the brightfield view learns from: the same random scene as a sensor records it and as a microscope shows it.

Dimensionless, as HIDEF's scenes (models/recipes/hidef/scenes.py): lengths are pixels, a distance is a defocus number
F = wavelength * distance / pitch^2. The microscope's apertures are drawn about OBJECTIVE_PER_PX and CONDENSER_SHARE. What goes in is either
the recording refocused to the plane that the microscope is focused on, or, where all lies in one plane, the field that the
shipped hidef-small makes of it, as the box keeps its crops.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

import models
from device.inference.networks import HidefNetwork
from device.optics import fft
from device.optics.microscope import Microscope, condenser_directions
from device.optics.propagation import compute_transfer_function, propagate
from device.twin.brightfield import brightfield_picture
from device.twin.forward import paste
from device.twin.illumination import Illumination, coherence_envelope
from models.recipes.hidef.scenes import Shapes

__all__ = ["CONDENSER_SHARE", "OBJECTIVE_PER_PX", "samples"]

OBJECTIVE_PER_PX = 0.33
"""Radius of the objective's pupil in cycles a pixel: a 10x/0.25 at 850 nm on pixels of 1.12 um."""
CONDENSER_SHARE = 0.8
"""Aperture of the condenser over the objective's."""

_SCENE_PX, _TILE_PX = 256, 128
_DIRECTIONS = 16
_SLICE_NUMBER = 4.5
"""Defocus number between two slices; the microscope's depth of field is 9."""
_DEEPEST = 78.0
"""Largest defocus number of a particle off the middle plane."""
_FLAT_SHARE = 0.35
_SHAPE = (_SCENE_PX, _SCENE_PX)

Slices = dict[float, NDArray[np.complex64]]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _slices(rng: np.random.Generator, shapes: Shapes, wavelength: float, depths: list[float]) -> Slices:
    """Transmissions by defocus number off the middle plane, of particles that lie about `depths`."""
    slices: Slices = {}
    typical, variety = _log_uniform(rng, 3.0, 44.0), float(rng.uniform(0.02, 0.6))
    phase_typical, phase_variety = _log_uniform(rng, 0.3, 8.0), float(rng.uniform(0.02, 0.5))
    opaque, thickness = rng.random() < 0.25, float(rng.uniform(0.65, 1.1))
    most = 0.15 * _SCENE_PX**2 / (0.8 * typical**2) + 3
    for _ in range(int(_log_uniform(rng, 2, min(max(most, 3), 60)))):
        diameter = float(np.clip(typical * np.exp(rng.normal(0, variety)), 3.0, 48.0))
        shape = shapes.pick(diameter)
        peak = float((-1 if rng.random() < 0.05 else 1) * phase_typical * np.exp(rng.normal(0, phase_variety)))
        opacity = float(rng.uniform(0, 3)) if opaque else 0.0
        number = (len(shape.refraction) - 1) * thickness * wavelength
        count = int(np.clip(round(number / _SLICE_NUMBER), 1, 10))
        middle, place = float(rng.choice(depths)), rng.integers(_SCENE_PX, size=2)
        for k, (refraction, absorption) in enumerate(zip(*shape.slabs(count), strict=True)):
            slab = np.exp((1j * peak - opacity) * refraction - abs(peak) * absorption).astype(np.complex64)
            # The far side first, on planes that all particles share.
            depth = _SLICE_NUMBER * round((middle + number * (0.5 - (k + 0.5) / count)) / _SLICE_NUMBER)
            paste(slices.setdefault(depth, np.ones(_SHAPE, np.complex64)), slab, int(place[0]), int(place[1]))
    return slices


def _recorded(rng: np.random.Generator, slices: Slices, number: float, wavelength: float) -> NDArray[np.float32]:
    """Intensity on a sensor at a defocus number from the middle plane, with its noise; mean about 1."""
    wave, planes = np.ones(_SHAPE, np.complex64), sorted(slices, reverse=True)
    for here, after in zip(planes, [*planes[1:], 0.0], strict=True):
        step = compute_transfer_function(_SHAPE, 1.0, wavelength, (here - after) / wavelength, band_limited=False)
        wave = fft.ifft2(fft.fft2(wave * slices[here]) * step)
    distance = number / wavelength
    light = Illumination(
        wavelength,
        float(rng.uniform(0, 0.02)) * wavelength,
        float(rng.uniform(0, 2)) if rng.random() < 0.5 else 0.0,
        2 * distance,
    )
    carried = compute_transfer_function(_SHAPE, 1.0, wavelength, distance, band_limited=False)
    carried *= coherence_envelope(_SHAPE, 1.0, light, distance)
    pixel = np.sinc(float(rng.uniform(0, 1)) * fft.fftfreq(_SCENE_PX)).astype(np.float32)
    carried *= pixel[:, None] * pixel[None, :]
    if rng.random() < 0.5:
        frequency = np.hypot(fft.fftfreq(_SCENE_PX)[:, None], fft.fftfreq(_SCENE_PX)[None, :])
        carried *= (1 / (1 + np.exp((frequency - rng.uniform(0.2, 0.5)) / 0.012))).astype(np.float32)
    intensity = np.abs(1 + fft.ifft2(fft.fft2(wave - 1) * carried)) ** 2
    uneven = rng.normal(0, rng.uniform(0, 0.05), (4, 4))
    light_left = 1 + scipy.ndimage.zoom(uneven, _SCENE_PX / 4, order=3, mode="grid-wrap", grid_mode=True)
    electrons = _log_uniform(rng, 60.0, 30000.0)
    counts = rng.poisson(np.maximum(intensity * light_left, 0) * electrons) + rng.normal(0, 2, _SHAPE)
    levels = 2.0 ** rng.integers(7, 13)
    return (np.round(counts / electrons / 3.5 * levels).clip(0, levels) / levels * 3.5).astype(np.float32)


def _refocused(recorded: NDArray[np.float32], number: float, wavelength: float) -> NDArray[np.complex64]:
    amplitude = np.sqrt(recorded / max(float(recorded.mean()), 1e-3))
    return propagate(amplitude, pitch_um=1.0, wavelength_um=wavelength, distance_um=-number / wavelength, margin_px=0)


def _scene(rng: np.random.Generator, shapes: Shapes, hidef: HidefNetwork) -> NDArray[np.float32]:
    """Tiles of one scene, float32 [n, _TILE_PX, _TILE_PX, 4]: field (2), picture, weight."""
    wavelength, number = _log_uniform(rng, 0.08, 0.85), _log_uniform(rng, 25.0, 400.0)
    flat = rng.random() < _FLAT_SHARE
    half = min(_DEEPEST, 0.8 * number - 10)
    depths = [0.0] if flat else [float(d) for d in rng.uniform(-half, half, int(rng.integers(2, 5)))]
    slices = _slices(rng, shapes, wavelength, depths)
    # Mostly on one of the particles, give or take what a focus is found to.
    focus = (
        float(rng.choice(depths)) + float(rng.normal(0, 2)) if flat or rng.random() < 0.85 else float(rng.uniform(-half, half))
    )
    objective = min(OBJECTIVE_PER_PX * wavelength, 0.9)
    microscope = Microscope(wavelength, objective, CONDENSER_SHARE * objective)
    directions = condenser_directions(microscope, _DIRECTIONS, float(rng.uniform(0, 2 * np.pi)))
    in_um = {depth / wavelength: slab for depth, slab in slices.items()}
    picture = brightfield_picture(in_um, 1.0, microscope, focus / wavelength, directions) - 1
    recorded = _recorded(rng, slices, number, wavelength)
    fields = [_refocused(recorded, number + focus + float(rng.normal(0, 1)), wavelength)]
    if flat:
        fields.append(hidef.run(fields[0]))
    near = scipy.ndimage.binary_dilation(np.abs(picture) > 0.05, iterations=3)
    tiles = [
        np.stack([field.real - 1, field.imag, picture, 1 + 5 * near], axis=-1)[a : a + _TILE_PX, b : b + _TILE_PX]
        for field in fields for a in (0, _TILE_PX) for b in (0, _TILE_PX)
    ]  # fmt: skip
    # Empty tiles teach little after the first: one in ten is kept.
    return np.array([tile for tile in tiles if (tile[..., 3] > 1).mean() > 0.01 or rng.random() < 0.1], np.float32)


def samples(seed: int) -> Iterator[NDArray[np.float32]]:
    """Endless batches of (field 2, picture 1, weight 1)."""
    from device.inference.store import ModelStore

    bundle, interpreter = ModelStore(Path(models.__file__).parent / "artefacts").open("hidef-small")
    hidef = HidefNetwork(interpreter, bundle.manifest)
    rng = np.random.default_rng(seed)
    shapes = Shapes(rng)
    while True:
        tiles = _scene(rng, shapes, hidef)
        if len(tiles):
            yield tiles
