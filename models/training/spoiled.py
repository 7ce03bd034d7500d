"""Crops of things that were never whole: what reconstructions leave where a scene is none of a classifier's.

Made from crops of known particles, at no cost: the same shape at another size, two halves of unlike things, a field that is out of
focus, a random texture behind a random outline. They stand beside the strangers of frames (outlier exposure, arXiv:1812.04606),
which are whole and in focus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from device.analysis.crops import CROP_PX
from device.optics import fft

__all__ = ["spoiled_crops"]

Crop = NDArray[np.float32]
"""float32 [CROP_PX, CROP_PX, channels]."""
Sizes = tuple[float, float]

_FULL_SCALE = 2.0


def spoiled_crops(
    images: NDArray[np.float16], targets: NDArray[np.int64], count: int, wavelength_um: float, rng: np.random.Generator
) -> NDArray[np.float16]:
    """`count` crops that are none of the classes, float16 [count, CROP_PX, CROP_PX, channels].

    Parameters: `images` [n, CROP_PX, CROP_PX, channels] and `targets` int64 [n] of known particles; `wavelength_um` in the medium.
    """
    sizes = _own_size(images)
    limits = {
        int(k): (float(np.quantile(sizes[targets == k], 0.01)), float(np.quantile(sizes[targets == k], 0.99)))
        for k in np.unique(targets)
    }
    out: list[Crop] = []
    while len(out) < count:
        k, other = rng.integers(len(images), size=2)
        crop, kind = images[k].astype(np.float32), int(targets[k])
        made: Crop | None
        match int(rng.integers(4)):
            case 0:
                made = _resized(crop, float(sizes[k]), limits[kind], rng)
            case 1:
                made = None if targets[other] == kind else _halves(crop, images[other].astype(np.float32))
            case 2:
                made = _out_of_focus(crop, float(sizes[k]), wavelength_um, rng)
            case _:
                made = _texture(crop, rng)
        if made is not None:
            out.append(np.clip(made, -_FULL_SCALE, _FULL_SCALE))
    return np.stack(out).astype(np.float16)


def _own_size(images: NDArray[np.float16]) -> NDArray[np.float64]:
    """log2(esd in um) of each crop, float64 [n]."""
    return 4 * images[..., 2].astype(np.float64).max(axis=(1, 2))


def _resized(crop: Crop, size: float, limits: Sizes, rng: np.random.Generator) -> Crop | None:
    """The same shape on another of the crops' pitches, where its class comes in no such size."""
    octaves = int(rng.choice([-2, -1, 1, 2]))
    if limits[0] - 0.3 < size + octaves < limits[1] + 0.3 or size + octaves < 1:
        return None
    out = crop.copy()
    out[..., 2] *= (size + octaves) / size
    out[..., 3] += octaves / 4
    return out


def _halves(crop: Crop, other: Crop) -> Crop:
    """Half of one thing and half of another."""
    out = crop.copy()
    out[:, CROP_PX // 2 :, :3] = other[:, CROP_PX // 2 :, :3]
    return out


def _out_of_focus(crop: Crop, size: float, wavelength_um: float, rng: np.random.Generator) -> Crop:
    """The field so far off that its outline is gone."""
    pitch_um = 2 ** (4 * float(crop[0, 0, 3]))
    away_um = float(rng.choice([-1, 1])) * max(rng.uniform(0.1, 0.5) * 4**size / wavelength_um, 40.0)
    frequency = fft.fftfreq(CROP_PX) / pitch_um
    turn = np.exp(-1j * np.pi * wavelength_um * away_um * (frequency[:, None] ** 2 + frequency[None, :] ** 2))
    field = fft.ifft2(fft.fft2((crop[..., 0] + 1j * crop[..., 1]).astype(np.complex64)) * turn)
    out = crop.copy()
    out[..., 0], out[..., 1] = field.real, field.imag
    return out


def _texture(crop: Crop, rng: np.random.Generator) -> Crop:
    """Random waves behind a random outline as large as the crop's own."""
    shape = (CROP_PX, CROP_PX)
    area = float((crop[..., 2] > 0.5 * crop[..., 2].max()).mean())
    away = (np.arange(CROP_PX) - (CROP_PX - 1) / 2) / CROP_PX
    relief = gaussian_filter(rng.standard_normal(shape), rng.uniform(2, 8))
    relief = relief / relief.std() - rng.uniform(0.5, 3) * 8 * (away[:, None] ** 2 + away[None, :] ** 2)
    soft = gaussian_filter((relief > np.quantile(relief, 1 - area)).astype(np.float32), rng.uniform(0.4, 1.2))
    waves = gaussian_filter(rng.standard_normal((2, *shape)), (0, *(rng.uniform(0.7, 6, 2))))
    waves *= rng.uniform(0.1, 1.0) / np.maximum(waves.std(), 1e-9)
    path = (rng.normal(0, 1.5) + waves[0]) + 1j * abs(rng.normal(0, 0.5)) * (1 + np.tanh(waves[1]))
    field = soft * (np.exp(1j * path) - 1)
    out = crop.copy()
    out[..., 0], out[..., 1], out[..., 2] = field.real, field.imag, soft * crop[..., 2].max()
    return out
