"""A deep decoder: images that a few numbers can make, and the gradient by those numbers.

Heckel and Hand, Deep Decoder (ICLR 2019, arXiv:1810.03982): channels on a coarse grid are mixed pixel by pixel (1 x 1 convolutions),
made twice as fine by linear interpolation, rectified and normalised, some times over; a last mixture makes the image. It has fewer
parameters than the image has pixels and no training: what it can make with few steps is compact and smooth, and noise comes last.
There the coarse grid holds fixed noise; here it is fitted, too: many particles in many places are out of reach of mixtures alone
(models/decisions/2026-11-28-untrained.md). Forward pass and gradient are matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Adam", "DeepDecoder", "interpolation"]

Real = NDArray[np.float32]

_LEAST_VARIANCE = 1e-5


def interpolation(fine: int, coarse: int) -> Real:
    """Linear interpolation of `coarse` samples to `fine` ones over the same length, float32 [fine, coarse]; rows sum to 1."""
    places = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    matrix = np.maximum(1 - np.abs(places[:, None] - np.arange(coarse)), 0)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass
class _Layer:
    """What the gradient needs of a forward pass."""

    given: Real
    positive: NDArray[np.bool_]
    normal: Real
    deviation: Real


class DeepDecoder:
    """Images float32 [outputs, height, width] of `parameters`, a list of float32 arrays that are changed in place.

    Parameters: `shape` of the image; `channels` in every layer; `levels` of doubling; `outputs` images; `rng` of the first
    parameters. The first image is about zero.
    """

    def __init__(self, shape: tuple[int, int], *, channels: int, levels: int, outputs: int, rng: np.random.Generator) -> None:
        grids = [tuple(max(-(-n >> k), 1) for n in shape) for k in range(levels, -1, -1)]
        self._up = [(interpolation(fine[0], coarse[0]), interpolation(fine[1], coarse[1])) for coarse, fine in pairwise(grids)]
        self._input = rng.uniform(-1, 1, (channels, *grids[0])).astype(np.float32)
        spread = np.float32(1 / np.sqrt(channels))
        self._mixtures = [spread * rng.standard_normal((channels, channels), np.float32) for _ in range(levels)]
        self._gains = [np.ones((channels, 1, 1), np.float32) for _ in range(levels)]
        self._shifts = [np.zeros((channels, 1, 1), np.float32) for _ in range(levels)]
        self._last = np.float32(0.02) * spread * rng.standard_normal((outputs, channels), np.float32)
        self._level = np.zeros((outputs, 1, 1), np.float32)
        self._layers: list[_Layer] = []
        self._top = self._input

    @property
    def parameters(self) -> list[Real]:
        """Everything that is fitted."""
        return [self._input, *self._mixtures, *self._gains, *self._shifts, self._last, self._level]

    def forward(self) -> Real:
        """The image, float32 [outputs, height, width]."""
        here, self._layers = self._input, []
        for mixture, gain, shift, (down, across) in zip(self._mixtures, self._gains, self._shifts, self._up, strict=True):
            given = here
            fine = down @ _mixed(mixture, given) @ across.T
            positive = fine > 0
            fine *= positive
            fine -= fine.mean(axis=(1, 2), keepdims=True)
            deviation = np.sqrt(np.einsum("cij,cij->c", fine, fine)[:, None, None] / fine[0].size + np.float32(_LEAST_VARIANCE))
            fine /= deviation
            self._layers.append(_Layer(given, positive, fine, deviation))
            here = gain * fine + shift
        self._top = here
        return _mixed(self._last, here) + self._level

    def gradient(self, slope: Real) -> list[Real]:
        """Of a figure by every one of `parameters`, given its `slope` by the image of the latest `forward`, like the image."""
        flat = slope.reshape(slope.shape[0], -1)
        last, level = flat @ self._top.reshape(len(self._top), -1).T, slope.sum(axis=(1, 2))[:, None, None]
        here = _mixed(self._last.T, slope)
        mixtures, gains, shifts = [], [], []
        for k in range(len(self._mixtures) - 1, -1, -1):
            layer, (down, across) = self._layers[k], self._up[k]
            pixels = layer.normal[0].size
            gain = np.einsum("cij,cij->c", here, layer.normal)[:, None, None]
            shift = here.sum(axis=(1, 2))[:, None, None]
            gains.append(gain)
            shifts.append(shift)
            # Of the normalisation: what changes neither mean nor deviation is passed on.
            here -= shift / np.float32(pixels) + layer.normal * (gain / np.float32(pixels))
            here *= self._gains[k] / layer.deviation
            here *= layer.positive
            coarse = down.T @ here @ across
            mixtures.append(coarse.reshape(len(coarse), -1) @ layer.given.reshape(len(layer.given), -1).T)
            here = _mixed(self._mixtures[k].T, coarse)
        return [here, *mixtures[::-1], *gains[::-1], *shifts[::-1], last, level]


def _mixed(matrix: Real, image: Real) -> Real:
    """Channels of an image [channels, height, width], mixed pixel by pixel."""
    return (matrix @ image.reshape(len(image), -1)).reshape(-1, *image.shape[1:])


@dataclass
class Adam:
    """Steps of one size whatever the gradient's, by its running moments (Kingma and Ba, ICLR 2015, arXiv:1412.6980)."""

    parameters: list[Real]
    """Changed in place."""
    decay: tuple[float, float] = (0.9, 0.99)
    """Of the mean and of the mean square, a step."""
    _moments: list[tuple[Real, Real]] = field(default_factory=list[tuple[Real, Real]])
    _steps: int = 0

    def step(self, gradient: list[Real], rate: float) -> None:
        """One step against the gradient, `rate` long at most in every parameter."""
        if not self._moments:
            self._moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.parameters]
        self._steps += 1
        first, second = self.decay
        for parameter, slope, (mean, square) in zip(self.parameters, gradient, self._moments, strict=True):
            mean[...] += np.float32(1 - first) * (slope - mean)
            square[...] += np.float32(1 - second) * (slope * slope - square)
            root = np.sqrt(square / np.float32(1 - second**self._steps))
            parameter[...] -= np.float32(rate / (1 - first**self._steps)) * mean / (root + np.float32(1e-12))
