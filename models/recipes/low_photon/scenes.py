"""What it learns from: HIDEF's scenes, each read out a few times with few photons and the sensor's read noise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import noise_level
from device.optics.photon_noise import amplitude_from_counts, band_above_noise, equivalent_photons
from models.recipes.hidef.scenes import SceneRange, recordings, tiles

__all__ = ["samples"]

_CLEAN = SceneRange(photons=(1e6, 1e6))
"""Scenes before they are read out."""

_READ_OUTS = 2
"""Of one scene: rendering it takes ten times as long."""

_PHOTONS = (0.3, 100.0)
"""That the noise is equivalent to."""

_ELECTRONS = (0.5, 100.0)
_READ_E = 3.0
_ONLY_PHOTONS = 0.4
"""Share of frames of a sensor whose read noise doesn't count."""


def samples(seed: int) -> Iterator[NDArray[np.float32]]:
    """Endless batches float32 [0 to 4, 256, 256, 6] of (start field 2, log10 of the photons 1, object field 2, weight 1)."""
    rng = np.random.default_rng((seed, 1))
    for scene in recordings(seed, _CLEAN):
        for _ in range(_READ_OUTS):
            counts, noise = _read_out(rng, scene.recorded)
            cut = tiles(rng, counts, scene, amplitude=partial(amplitude_from_counts, noise=noise))
            out = np.empty((*cut.shape[:3], cut.shape[3] + 1), np.float32)
            for k, tile in enumerate(cut):
                start = band_above_noise((1 + tile[..., 0] + 1j * tile[..., 1]).astype(np.complex64), noise)
                out[k, ..., 0], out[k, ..., 1] = start.real - 1, start.imag
            out[..., 2], out[..., 3:] = np.log10(equivalent_photons(noise)), cut[..., 2:]
            yield out


def _read_out(rng: np.random.Generator, intensity: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """(a frame of mean 1 as it was counted, its noise as the box measures it), within the range that is learnt."""
    while True:
        electrons = float(np.exp(rng.uniform(*np.log(_ELECTRONS))))
        read_e = 0.0 if rng.random() < _ONLY_PHOTONS else float(rng.uniform(0, _READ_E))
        counts = rng.poisson(intensity * electrons) + rng.normal(0, read_e, intensity.shape)
        frame = (counts / counts.mean()).astype(np.float32)
        noise = noise_level(frame)
        if _PHOTONS[0] <= equivalent_photons(noise) <= _PHOTONS[1]:
            return frame, noise
