"""Amplitude from few photons.

The square root of a count is the wave's amplitude where counts are many. Of few it is biased: with one photon a pixel its mean is
0.77, and faint fringes come out a fifth too strong.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.optics import fft

__all__ = ["amplitude_from_counts", "band_above_noise", "equivalent_photons"]

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]

_SPREAD = 0.5
"""Relative standard deviation of a hologram's intensity about its local mean, as the prior has it."""

_AROUND_PX = 15
"""Side of the square that the local mean is taken over."""

_RING_PER_PX = 0.01
"""Width of a ring of frequencies, in cycles a pixel."""

_NOISE_MARGIN = 0.05
"""By which the noise's power may be off, relative."""

_LEAST_SHARE = 0.1
"""Of a ring's power. Of 0.05, 0.15, 0.4 and 1 (Wiener's own filter), measured with a network trained on well lit frames, all do as
well in correlation at one photon a pixel (0.94, where the whole band has 0.84); the smaller two keep the fringes' strength."""


def amplitude_from_counts(intensity: Real, noise: float) -> Real:
    """Amplitude float32 [height, width] of a hologram `intensity` float32 [height, width], 1 where nothing is, negative where
    read noise made it so; `noise`: relative standard deviation of a pixel where nothing is, of photons and reading together; 0: the
    square root. With a noise, the mean is taken for the 1: the median of few counts isn't.

    Let a pixel's intensity, before it is read, be gamma distributed about the local mean m, with a standard deviation of
    _SPREAD * m. Given a count J of Poisson's law its mean is m + w (J - m), with w the share of the fringes in the variance of
    J; read noise widens the counts as more background light would (D. L. Snyder et al. 1993, doi:10.1364/JOSAA.10.001014). The
    root of that is a good amplitude of one pixel, but draws everything towards sqrt(m) by w; as what follows adds up thousands
    of pixels, which averages the noise anyway, that is taken off again: sqrt(m) + (sqrt(m + w (J - m)) - sqrt(m)) / w. With
    many photons w is 1, and it is sqrt(J). With few it is sqrt(m) + (J - m) / (2 sqrt(m)), for m = 1 the unbiased (1 + J) / 2.
    """
    if noise == 0:
        return np.sqrt(np.maximum(intensity, 0, dtype=np.float32))
    intensity = intensity / np.float32(max(float(intensity.mean()), 1e-3))
    around = np.maximum(cv2.blur(intensity, (_AROUND_PX, _AROUND_PX), borderType=cv2.BORDER_REFLECT), np.float32(0.05))
    share = around / (around + np.float32((noise / _SPREAD) ** 2))
    root = np.sqrt(around)
    # The difference of the roots over w, without a difference of near numbers.
    away = np.maximum(intensity - around, -around / share)
    return np.asarray(root + away / (np.sqrt(np.maximum(around + share * away, 0)) + root), np.float32)


def equivalent_photons(noise: float) -> float:
    """Electrons a pixel whose photon noise alone would be `noise`, relative: fewer than were counted where read noise adds to it."""
    return 1 / noise**2


def band_above_noise(field: Complex, noise: float) -> Complex:
    """A refocused field complex64 [height, width], 1 where nothing is, without the frequencies that hold nothing but noise.

    `noise` as above, of the hologram. Refocusing turns white noise of the amplitude, noise / 2, into as much white noise; the fringes of
    particles fall with frequency. What a ring of frequencies holds above the noise is a share of its power (Wiener's); rings up to the
    last that has _LEAST_SHARE and more of it pass whole, for a network is to see fringes as strong as they are, the others in proportion.
    """
    spectrum = fft.fft2(field - 1)
    radius = np.hypot(fft.fftfreq(field.shape[0])[:, None], fft.fftfreq(field.shape[1])[None, :])
    # Corners, beyond the pixels' Nyquist frequency along an axis, go with the last ring.
    ring = (np.minimum(radius, 0.4999) / _RING_PER_PX).astype(np.intp)
    count = np.maximum(np.bincount(ring.ravel()), 1)
    power = np.bincount(ring.ravel(), (np.abs(spectrum) ** 2).ravel()) / count / field.size
    # The mean power of n frequencies of noise is its own by one part in sqrt(n).
    most = (1 + _NOISE_MARGIN + 3 / np.sqrt(count)) * noise**2 / 4
    share = 1 - most / np.maximum(power, 1e-12)
    share = np.convolve(np.pad(np.maximum(share, 0), 2, mode="edge"), np.full(5, 0.2), "valid")
    gain = np.minimum(np.maximum.accumulate(share[::-1])[::-1] / _LEAST_SHARE, 1).astype(np.float32)
    return 1 + fft.ifft2(spectrum * gain[ring])
