"""Classical filters of a complex field's noise, each with the strength that is best on some scenes: what a denoiser has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from device.optics.windowed_fourier import filter_noise
from models.training.block_matching import block_matched

__all__ = ["tuned_filters"]

Complex = NDArray[np.complex64]
FieldFilter = Callable[[Complex, Complex], Complex]
"""(noisy field, a sample of the noise alone) -> filtered, complex64 [height, width] each."""

_COUNTS = 8000
"""Of one unit of a field, where a filter takes whole numbers."""


def tuned_filters(scenes: Sequence[tuple[Complex, Complex, Complex]]) -> dict[str, FieldFilter]:
    """Every filter with the strength whose amplitudes are nearest to the truth on average of dB over (noisy, noise, truth)."""
    out: dict[str, FieldFilter] = {}
    for name, (make, strengths) in _FILTERS.items():
        ways = [make(strength) for strength in strengths]
        errors = [
            np.mean([np.log(np.mean((np.abs(way(noisy, noise)) - np.abs(truth)) ** 2)) for noisy, noise, truth in scenes])
            for way in ways
        ]
        out[name] = ways[int(np.argmin(errors))]
    return out


def _nonlocal_means(strength: float) -> FieldFilter:
    """OpenCV's, of real and imaginary part together."""

    def way(noisy: Complex, noise: Complex) -> Complex:
        counts = np.stack([noisy.real, noisy.imag], axis=-1) * _COUNTS + 32768
        out = cv2.fastNlMeansDenoising(
            np.clip(counts, 0, 65535).astype(np.uint16), [strength * _COUNTS * float(np.std(noise))],
            templateWindowSize=5, searchWindowSize=21, normType=cv2.NORM_L1,
        ).astype(np.float32)  # fmt: skip
        return ((out[..., 0] - 32768 + 1j * (out[..., 1] - 32768)) / _COUNTS).astype(np.complex64)

    return way


def _windowed(strength: float) -> FieldFilter:
    return lambda noisy, noise: filter_noise(noisy, strength * float(np.std(noise)))[0]


def _block_matched(strength: float) -> FieldFilter:
    return lambda noisy, noise: block_matched(noisy, noise, strength)


_FILTERS: Mapping[str, tuple[Callable[[float], FieldFilter], tuple[float, ...]]] = {
    "non-local means": (_nonlocal_means, (0.4, 0.7, 1.0, 1.5, 2.2)),
    "windowed Fourier filter": (_windowed, (0.5, 1.0, 1.6, 2.4)),
    "BM3D, complex": (_block_matched, (2.0, 2.7, 3.4)),
}
