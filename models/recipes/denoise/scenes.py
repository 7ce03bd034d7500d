"""What the denoiser learns from: random fields with coherent noise. Lengths are pixels, fields are 1 where nothing is.

Of a lamp that is a laser diode every surface in the way scatters a little. What comes from before the object passes through it,
what comes from behind it is added; both are speckle, circular Gaussian (J. W. Goodman, Speckle Phenomena in Optics, 2nd ed.,
doi:10.1117/3.2548484), here of a Gaussian pupil, and averaged over one to four looks. On top of it lies what a reconstruction
left of the twin image, out of focus by any amount.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from device.optics import fft
from models.recipes.hidef.extended import extended_plane
from models.recipes.hidef.scenes import Shapes

__all__ = ["samples"]

Complex = NDArray[np.complex64]

TILE_PX = 128
GRAIN_PX = (1.1, 4.4)
"""Full width at half maximum of a speckle, of its intensity's autocovariance."""
_FWHM = 2 * np.sqrt(2 * np.log(2))
_POWER = (0.01, 0.8)
"""Of the diffuse light of one look, over the direct light's."""
_BATCH = 16
_RENDERED_PX = 28.0
"""Larger grains are these, magnified: voxels take time."""


def samples(seed: int) -> Iterator[NDArray[np.float32]]:
    """Endless batches float32 [16, 128, 128, 5] of the noisy field (real part less 1, imaginary part), the clean one, the weight."""
    rng = np.random.default_rng((seed, 5))
    shapes = Shapes(rng)
    while True:
        out = np.empty((_BATCH, TILE_PX, TILE_PX, 5), np.float32)
        for sample in out:
            clean = _object(rng, shapes)
            near = scipy.ndimage.binary_dilation(np.abs(clean - 1) > 0.1, iterations=2)
            clean, noisy = _recorded(rng, clean)
            for channel, part in enumerate((noisy.real - 1, noisy.imag, clean.real - 1, clean.imag)):
                sample[..., channel] = part
            sample[..., 4] = 1 + 2 * near
        yield out


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _object(rng: np.random.Generator, shapes: Shapes) -> Complex:
    """A clean field: nothing, single grains, or what fills it."""
    kind = rng.random()
    if kind < 0.05:
        return np.ones((TILE_PX, TILE_PX), np.complex64)
    if kind < 0.35:
        return extended_plane(rng, TILE_PX)
    field = _texture(rng) if kind < 0.5 else np.ones((TILE_PX, TILE_PX), np.complex64)
    typical = _log_uniform(rng, 5, 80)
    phase, opaque = _log_uniform(rng, 0.15, 8.0), rng.random() < 0.3
    for _ in range(int(_log_uniform(rng, 1, max(2.0, min(24.0, 0.5 * (TILE_PX / typical) ** 2))))):
        diameter = float(np.clip(typical * np.exp(rng.normal(0, 0.3)), 4, 90))
        shape = shapes.pick(min(diameter, _RENDERED_PX))
        peak = phase * float(np.exp(rng.normal(0, 0.2))) * (-1 if rng.random() < 0.05 else 1)
        dark = float(rng.uniform(0, 2.5)) if opaque else 0.0
        exponent = (1j * peak - dark) * shape.refraction[-1] - abs(peak) * shape.absorption[-1]
        if diameter > _RENDERED_PX:
            exponent = _magnified(exponent.real, diameter) + 1j * _magnified(exponent.imag, diameter)
        wave = np.exp(np.minimum(exponent.real, 0) + 1j * exponent.imag).astype(np.complex64)
        _paste(field, wave, int(rng.integers(TILE_PX)), int(rng.integers(TILE_PX)))
    if rng.random() < 0.4:
        # Few instruments see as fine as their pixels.
        width = float(rng.uniform(0.4, 1.2))
        field = (cv2.GaussianBlur(field.real, (0, 0), width) + 1j * cv2.GaussianBlur(field.imag, (0, 0), width)).astype(
            np.complex64
        )
    return field


def _magnified(image: NDArray[np.floating], diameter_px: float) -> NDArray[np.floating]:
    side = round(len(image) * diameter_px / _RENDERED_PX)
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _paste(field: Complex, wave: Complex, x: int, y: int) -> None:
    """Multiply a patch with its middle at (x, y); what lies outside is cut off."""
    top, left = y - wave.shape[0] // 2, x - wave.shape[1] // 2
    rows, columns = (slice(max(o, 0), max(min(o + n, TILE_PX), 0)) for o, n in zip((top, left), wave.shape, strict=True))
    field[rows, columns] *= wave[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _texture(rng: np.random.Generator) -> Complex:
    """Smooth structure of several scales that fills the field: what speckle mustn't be mistaken for."""
    phase = np.zeros((TILE_PX, TILE_PX), np.float32)
    for scale in np.exp(rng.uniform(np.log(1.0), np.log(20), 3)):
        noise = cv2.GaussianBlur(rng.standard_normal(phase.shape).astype(np.float32), (0, 0), float(scale))
        noise /= noise.std()
        phase += rng.uniform(0.05, 0.6) * (np.tanh(4 * noise) if rng.random() < 0.5 else noise)
    density = float(rng.uniform(0, 0.3))
    return np.exp(1j * phase - density * (phase - phase.min())).astype(np.complex64)


def _speckle(rng: np.random.Generator, grain_px: float) -> Complex:
    """Fully developed speckle of a Gaussian pupil, mean 0, mean intensity 1."""
    parts = [
        cv2.GaussianBlur(rng.standard_normal((TILE_PX, TILE_PX)).astype(np.float32), (0, 0), grain_px / _FWHM) for _ in "ri"
    ]
    wave = parts[0] + 1j * parts[1]
    return (wave / np.sqrt(np.mean(np.abs(wave) ** 2))).astype(np.complex64)


def _recorded(rng: np.random.Generator, clean: Complex) -> tuple[Complex, Complex]:
    """(the clean field as its background lies, the same with all that coherent light adds)."""
    grain, looks = _log_uniform(rng, *GRAIN_PX), int(rng.integers(1, 5))
    power = _log_uniform(rng, *_POWER) / looks
    before = float(rng.uniform(0, 1))
    noisy = clean * (1 + np.sqrt(before * power) * _speckle(rng, grain))
    noisy += np.sqrt((1 - before) * power) * _speckle(rng, grain * _log_uniform(rng, 0.8, 1.25))
    if rng.random() < 0.6:
        radius = fft.fftfreq(TILE_PX)[:, None] ** 2 + fft.fftfreq(TILE_PX)[None, :] ** 2
        defocus = np.exp(-1j * np.pi * _log_uniform(rng, 30, 800) * radius)
        noisy += float(rng.uniform(0, 0.3)) * fft.ifft2(fft.fft2(np.conj(clean - 1)) * defocus)
    if rng.random() < 0.7:
        white = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
        noisy += _log_uniform(rng, 0.005, 0.1) * white / np.sqrt(2)
    # A background is never quite 1: what is smooth stays.
    light = 1 + rng.normal(0, 0.04) + 1j * rng.normal(0, 0.08)
    y, x = np.mgrid[-0.5 : 0.5 : TILE_PX * 1j, -0.5 : 0.5 : TILE_PX * 1j]
    light = light * np.exp(1j * (rng.normal(0, 0.1) * y + rng.normal(0, 0.1) * x + rng.normal(0, 0.1) * x * y))
    return (clean * light).astype(np.complex64), (noisy * light).astype(np.complex64)
