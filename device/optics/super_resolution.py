"""Pixel super-resolution: one finer frame from several that are shifted by parts of a pixel.

Shifts are unknown. They are found by phase correlation, refined by what the common fine frame leaves unexplained, and the
fine frame is the least-squares answer to all frames under the pixel's own integration (Elad and Hel-Or, IEEE Trans. Image
Process. 10, 1187 (2001), doi:10.1109/83.935034; for lensless holograms Bishara et al., Opt. Express 18, 11181 (2010),
doi:10.1364/OE.18.011181), damped where no frame tells. Shifts are pure translations, so on a grid common to all frames
the shift is a phase in the spectrum and everything is exact for a band-limited scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft

__all__ = ["SuperResolved", "super_resolve"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_ROUNDS = 2
_CONJUGATE_GRADIENTS = 15
_EDGE_PX = 4
_MARGIN_PX = 8
_BLUR_PX = 1.5


@dataclass(frozen=True)
class SuperResolved:
    """A finer frame."""

    frame: Real
    """float32 [factor * height, factor * width]; pixel (0, 0) covers the upper left part of the frames' first."""
    shifts_px: tuple[tuple[float, float], ...]
    """Rows and columns, in pixels of the frames, against the first."""
    residual: float
    """Root mean square of what stays unexplained, relative to the frames' own variation."""


def super_resolve(frames: Sequence[NDArray[np.floating]], factor: int = 2, *, damping: float = 0.005) -> SuperResolved:
    """A frame `factor` times as fine, from frames of one scene at unknown sub-pixel shifts.

    Parameters: `frames` float [height, width] each, at least two; `factor` 2 to 4; `damping` relative weight of a small
    norm, which keeps out what the shifts don't determine. Raises InputError for frames of different shapes, too few
    frames, or a factor out of range.
    """
    if factor not in {2, 3, 4}:
        raise InputError("no such factor", where="super-resolution", expected="2, 3 or 4", got=factor)
    if len(frames) < 2 or any(f.shape != frames[0].shape or f.ndim != 2 for f in frames):
        raise InputError("not frames of one scene", where="super-resolution", expected="two or more of one shape",
                         got=[f.shape for f in frames])  # fmt: skip
    mean = float(np.mean(frames[0]))
    measured = [np.asarray(f, np.float32) - np.float32(np.mean(f)) for f in frames]
    shifts = [_coarse_shift(measured[0], f) for f in measured]
    farthest_px = max(max(abs(dy), abs(dx)) for dy, dx in shifts)
    if farthest_px > min(frames[0].shape) / 4:
        raise InputError("frames lie too far apart", where="super-resolution", expected="shifts of a quarter frame at most",
                         got=f"{farthest_px:.1f} px")  # fmt: skip
    scene = _Scene(measured[0].shape, factor, int(np.ceil(farthest_px)) + _MARGIN_PX)
    spectrum = np.zeros(scene.shape, np.complex64)
    for _ in range(_ROUNDS):
        spectrum = scene.solve(measured, shifts, damping)
        shifts = [scene.refined_shift(spectrum, f, s) for f, s in zip(measured, shifts, strict=True)]
        measured = _equal_exposure(measured, [scene.predicted(spectrum, s) for s in shifts])
        shifts = [(dy - shifts[0][0], dx - shifts[0][1]) for dy, dx in shifts]
    spectrum = scene.solve(measured, shifts, damping)
    left = [f - scene.predicted(spectrum, s) for f, s in zip(measured, shifts, strict=True)]
    inner = (slice(_EDGE_PX, -_EDGE_PX),) * 2
    residual = float(np.sqrt(np.mean([np.mean(r[inner] ** 2) for r in left]) / np.mean([np.var(f[inner]) for f in measured])))
    return SuperResolved(np.asarray(fft.ifft2(spectrum).real[scene.window] + mean, np.float32), tuple(shifts), residual)


def _equal_exposure(frames: Sequence[Real], predicted: Sequence[Real]) -> list[Real]:
    """Frames scaled to the first one's exposure, by what each holds of the common scene."""
    inner = (slice(_EDGE_PX, -_EDGE_PX),) * 2
    gains = [
        float(np.vdot(p[inner], f[inner]) / max(float(np.vdot(p[inner], p[inner])), 1e-30))
        for f, p in zip(frames, predicted, strict=True)
    ]
    # A gain this far off isn't exposure: such a frame doesn't show the scene, and stays as it is.
    ratios = [g / gains[0] if gains[0] > 0 else 1.0 for g in gains]
    return [f / np.float32(r) if 0.5 < r < 2 else f for f, r in zip(frames, ratios, strict=True)]


def _coarse_shift(first: Real, other: Real) -> tuple[float, float]:
    """Shift of what both frames sample without aliasing: blurred, correlated, then by the first one's gradient."""
    a, b = (cv2.GaussianBlur(f, (0, 0), _BLUR_PX) for f in (first, other))
    window = cv2.createHanningWindow((a.shape[1], a.shape[0]), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(a, b, window)
    spectrum = fft.fft2(np.pad(a, _MARGIN_PX, mode="symmetric"))
    fy, fx = (fft.fftfreq(n).astype(np.float32) for n in spectrum.shape)
    inner = (slice(2 * _MARGIN_PX, -2 * _MARGIN_PX),) * 2
    ramp_y, ramp_x = (np.asarray(-2j * np.pi * f, np.complex64) for f in (fy[:, None], fx[None, :]))
    for _ in range(4):
        moved = spectrum * np.exp(ramp_y * np.float32(down)) * np.exp(ramp_x * np.float32(right))
        here, dy, dx = (fft.ifft2(moved * w).real[inner].ravel() for w in (np.complex64(1), ramp_y, ramp_x))
        goal = np.pad(b, _MARGIN_PX, mode="symmetric")[inner].ravel()
        step = np.linalg.lstsq(np.stack([dy, dx], axis=1), goal - here, rcond=None)[0]
        down, right = down + float(np.clip(step[0], -0.5, 0.5)), right + float(np.clip(step[1], -0.5, 0.5))
    return float(down), float(right)


class _Scene:
    """The fine grid, and how a frame comes from it: shift, integrate over pixels, sample."""

    def __init__(self, frame_shape: tuple[int, ...], factor: int, margin_px: int) -> None:
        self.factor = factor
        # A shift brings in what lies outside the frame: unknown, not periodic.
        self.shape = tuple((n + 2 * margin_px) * factor for n in frame_shape)
        inside = slice(margin_px * factor, -margin_px * factor)
        self.window = (inside, inside)
        self.samples = (slice(inside.start, inside.stop, factor),) * 2
        # Cycles per coarse pixel.
        self.fy = fft.fftfreq(self.shape[0], 1 / factor).astype(np.float32)[:, None]
        self.fx = fft.fftfreq(self.shape[1], 1 / factor).astype(np.float32)[None, :]
        # A pixel sums `factor` fine ones; its first sample stands at the middle of them.
        middle = np.exp(2j * np.pi * (factor - 1) / (2 * factor) * (self.fy + self.fx))
        self.pixel = np.asarray(_box(self.fy, factor) * _box(self.fx, factor) * middle, np.complex64)

    def _transfer(self, shift: tuple[float, float]) -> Complex:
        return self.pixel * np.exp(-2j * np.pi * (self.fy * shift[0] + self.fx * shift[1])).astype(np.complex64)

    def predicted(self, spectrum: Complex, shift: tuple[float, float]) -> Real:
        """The frame at a shift, float32 [height, width]."""
        return np.asarray(fft.ifft2(spectrum * self._transfer(shift)).real[self.samples], np.float32)

    def _adjoint(self, frame: Real, shift: tuple[float, float]) -> Complex:
        fine = np.zeros(self.shape, np.float32)
        fine[self.samples] = frame
        return fft.fft2(fine) * np.conj(self._transfer(shift))

    def solve(self, frames: Sequence[Real], shifts: Sequence[tuple[float, float]], damping: float) -> Complex:
        """Spectrum of the fine frame: damped least squares by conjugate gradients."""
        weight = np.float32(damping * len(frames) / self.factor**2)

        def normal(spectrum: Complex) -> Complex:
            total = weight * spectrum
            for shift in shifts:
                total = total + self._adjoint(self.predicted(spectrum, shift), shift)
            return total

        right = np.sum([self._adjoint(f, s) for f, s in zip(frames, shifts, strict=True)], axis=0)
        answer, remainder = np.zeros_like(right), right
        towards, power = remainder, float(np.vdot(remainder, remainder).real)
        for _ in range(_CONJUGATE_GRADIENTS):
            if power <= 0:
                break
            curved = normal(towards)
            length = np.float32(power / max(float(np.vdot(towards, curved).real), 1e-30))
            answer = answer + length * towards
            remainder = remainder - length * curved
            power, before = float(np.vdot(remainder, remainder).real), power
            towards = remainder + np.float32(power / before) * towards
        return np.asarray(answer, np.complex64)

    def refined_shift(self, spectrum: Complex, frame: Real, shift: tuple[float, float]) -> tuple[float, float]:
        """One Gauss-Newton step on a frame's shift, the fine frame held."""
        inner = (slice(_EDGE_PX, -_EDGE_PX),) * 2
        carried = spectrum * self._transfer(shift)
        sampled = [
            fft.ifft2(carried * weight).real[self.samples][inner].ravel()
            for weight in (1.0, np.complex64(-2j * np.pi) * self.fy, np.complex64(-2j * np.pi) * self.fx)
        ]
        design = np.stack(sampled[1:], axis=1)
        step = np.linalg.lstsq(design, frame[inner].ravel() - sampled[0], rcond=None)[0]
        return shift[0] + float(np.clip(step[0], -0.3, 0.3)), shift[1] + float(np.clip(step[1], -0.3, 0.3))


def _box(frequency: Real, factor: int) -> NDArray[np.floating]:
    """Mean of `factor` fine samples, as a transfer function; `frequency` in cycles per coarse pixel."""
    half = np.pi * frequency / factor
    safe = np.where(np.abs(np.sin(half)) < 1e-6, 1.0, np.sin(half))
    return np.where(np.abs(np.sin(half)) < 1e-6, 1.0, np.sin(half * factor) / (factor * safe))
