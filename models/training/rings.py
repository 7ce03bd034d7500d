"""Fields compared ring by ring of frequencies: where a reconstruction stops knowing what it shows.

Fourier ring correlation and the ratio of powers over the boxes of all particles together (van Heel and Schatz, J. Struct. Biol.
151, 250 (2005), doi:10.1016/j.jsb.2005.05.009), of fields minus 1, each box faded out over its margin. A median error hides all of
this: rings above 0.2 cycles a pixel hold four per cent of a particle's power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from device.optics import fft

__all__ = ["RINGS", "RingTally", "ring_lines"]

Complex = NDArray[np.complex64]

WIDTH = 0.05
"""Of a ring, in cycles per pixel."""
RINGS = tuple(round(WIDTH * (k + 0.5), 3) for k in range(round(0.5 / WIDTH)))
"""Middles."""

_MARGIN_PX = 4
"""Over which a box fades out: as wide as the margin around a particle that is scored."""


@dataclass
class RingTally:
    """Sums over boxes by ring."""

    cross: NDArray[np.complex128] = field(default_factory=lambda: np.zeros(len(RINGS), np.complex128))
    power: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(RINGS)))
    true_power: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(RINGS)))

    def add(self, found: Complex, truth: Complex) -> None:
        """One particle's box, complex64 [height, width] each."""
        fade = _fade(found.shape[0])[:, None] * _fade(found.shape[1])[None, :]
        a, b = (fft.fft2((values - 1) * fade, norm="ortho").astype(np.complex128) for values in (found, truth))
        radius = np.hypot(fft.fftfreq(a.shape[0])[:, None], fft.fftfreq(a.shape[1])[None, :])
        # The mean is no detail; corners beyond the last ring aren't whole rings.
        kept = (radius > 0) & (radius < len(RINGS) * WIDTH)
        which = (radius[kept] / WIDTH).astype(int)
        np.add.at(self.cross, which, a[kept] * np.conj(b[kept]))
        np.add.at(self.power, which, np.abs(a[kept]) ** 2)
        np.add.at(self.true_power, which, np.abs(b[kept]) ** 2)

    @property
    def correlation(self) -> NDArray[np.float64]:
        """Fourier ring correlation, float64 [rings], -1 to 1."""
        return self.cross.real / np.sqrt(np.maximum(self.power * self.true_power, 1e-30))

    @property
    def power_ratio(self) -> NDArray[np.float64]:
        """Power over the truth's, float64 [rings]."""
        return self.power / np.maximum(self.true_power, 1e-30)

    def cutoff_per_px(self, least: float = 0.5) -> float:
        """Frequency at which the correlation first falls to `least`, linear between rings; half a cycle where it never does."""
        values = self.correlation
        below = np.flatnonzero(values < least)
        if not len(below):
            return 0.5
        k = int(below[0])
        if k == 0:
            return 0.0
        return float(np.interp(-least, -values[k - 1 : k + 1], RINGS[k - 1 : k + 1]))


def _fade(length: int) -> NDArray[np.float32]:
    margin = min(_MARGIN_PX, length // 4)
    ramp = np.ones(length, np.float32)
    if margin:
        edge = np.sin(np.pi / 2 * (np.arange(margin) + 0.5) / margin) ** 2
        ramp[:margin], ramp[-margin:] = edge, edge[::-1]
    return ramp


def ring_lines(rows: Sequence[tuple[str, str, RingTally]]) -> list[str]:
    """Markdown of (name, its other figures as cells, rings); the power ratio in brackets."""
    names = " | ".join(f"{ring:.3f}" for ring in RINGS)
    lines = [
        f"| method | PSNR dB, error, correlation | 0.5 at c/px | {names} |",
        "|---|---|---|" + "---|" * len(RINGS),
    ]
    for name, figures, tally in rows:
        cells = " | ".join(f"{c:.2f} ({p:.2f})" for c, p in zip(tally.correlation, tally.power_ratio, strict=True))
        lines.append(f"| {name} | {figures} | {tally.cutoff_per_px():.2f} | {cells} |")
    return lines
