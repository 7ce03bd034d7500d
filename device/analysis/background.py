"""Raw frames to holograms: pedestal, background division, level, noise."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.median import median_of
from device.errors import InputError

__all__ = ["Normalised", "RunningMedian", "appeared", "median_background", "normalise", "smooth_light"]

Image = NDArray[np.float32]

_UNLIT = 0.05
"""Share of a background's median below which no light came there: a ratio of such pixels is noise, and says nothing."""

_NOISY_BACKGROUND = 0.15
"""Relative noise of a pixel of a background beyond which it is no help: the uneven light that it would take off is less."""

_MANY_NEGATIVE = 0.01
"""Share of the pixels. A pixel of 5 electrons and more is hardly ever negative."""


@dataclass(frozen=True)
class Normalised:
    """A hologram's intensity and what is known of its quality."""

    intensity: Image
    """float32 [height, width], read-only, 1 where nothing is."""
    noise: float
    """Relative standard deviation of a pixel where nothing is."""
    saturated: float
    """Share of pixels at the white level."""


def normalise(
    pixels: Image, background: Image | None = None, *, dark_counts: float = 0.0, white_counts: float | None = None
) -> Normalised:
    """Divide a frame by its background.

    Parameters: `pixels` float [height, width] in counts; `background` of the same shape (None: the frame's own smooth
    illumination, which no fringe can follow); `dark_counts` the pedestal of both; `white_counts` the saturation level.
    InputError where shapes differ, pixels aren't finite, or nothing is left above the pedestal. A background that is itself of few
    photons would add its noise: the frame's own smooth illumination is taken instead. Negative pixels are set to 0 but where read
    noise makes many of them, for then that would lighten the frame.
    """
    frame = _above_pedestal(pixels, dark_counts)
    level = float(frame.mean())
    if background is not None:
        _same_shape(frame, background)
        background = None if _is_noisy(background, dark_counts) else background
    if background is None:
        divided = frame / smooth_light(frame)
        divided /= np.float32(divided.mean())
    else:
        below = background.astype(np.float32) - np.float32(dark_counts)
        step = max(1, frame.shape[0] // 256)
        unlit = below < np.float32(_UNLIT * float(np.median(below[::step])))
        divided = np.divide(frame, np.maximum(below, np.float32(1e-3 * level), out=below), out=below)
        divided /= np.float32(np.median(divided[::step]))
        divided[unlit] = 1
    of_reading = float((divided[:: max(1, frame.shape[0] // 256)] < 0).mean()) > _MANY_NEGATIVE
    np.clip(divided, -50 if of_reading else 0, 50, out=divided)
    return _finished(divided, pixels, white_counts)


def appeared(pixels: Image, before: Image, *, dark_counts: float = 0.0, white_counts: float | None = None) -> Normalised:
    """The hologram of what came between two frames, where much lies already that stays.

    Parameters and errors as for `normalise`. The field of what came, b, adds to that of what lay there, 1 + a. A ratio of the
    frames holds b / (1 + a): it is wrong by the whole of a, and grows without bound in the shadows of a, where particles are seen
    then that aren't there. The difference of the amplitudes is b's real part turned by the phase of 1 + a alone.
    """
    frame = _above_pedestal(pixels, dark_counts)
    _same_shape(frame, before)
    lay = np.maximum(_above_pedestal(before, dark_counts), np.float32(0))
    step = max(1, frame.shape[0] // 256)
    rows, least = lay[::step], np.float32(1e-3 * float(lay.mean()))
    gain = float(np.median(frame[::step] / np.maximum(rows, least)))
    amplitude = np.sqrt(np.maximum(frame, np.float32(0)) / np.float32(max(gain, 1e-6)))
    amplitude -= np.sqrt(lay)
    amplitude /= np.sqrt(smooth_light(lay))
    amplitude += np.float32(1)
    intensity = np.square(np.clip(amplitude, 0, 7, out=amplitude), out=amplitude)
    return _finished(intensity, pixels, white_counts)


def _above_pedestal(pixels: Image, dark_counts: float) -> Image:
    frame = pixels.astype(np.float32) - np.float32(dark_counts)
    level = float(frame.mean())
    # One pass over the pixels: whatever isn't finite spoils the mean.
    if not np.isfinite(level):
        raise InputError("the frame holds NaN or infinity", got=f"{int((~np.isfinite(frame)).sum())} of {frame.size} pixels")
    if level <= 0 or float(frame.max()) == float(frame.min()):
        raise InputError(
            "the frame is dark or constant", expected="light above the pedestal", got=f"a mean of {level:.3g} counts",
            remedy="Is the lamp on, and the exposure long enough?",
        )  # fmt: skip
    return frame


def _is_noisy(background: Image, dark_counts: float) -> bool:
    above = np.subtract(background, np.float32(dark_counts), dtype=np.float32)
    return noise_level(above) > _NOISY_BACKGROUND * max(float(above.mean()), 0.0)


def _same_shape(frame: Image, background: Image) -> None:
    if background.shape != frame.shape:
        raise InputError("the background has another shape", expected=frame.shape, got=background.shape)


def _finished(intensity: Image, pixels: Image, white_counts: float | None) -> Normalised:
    intensity.setflags(write=False)
    saturated = float((pixels >= white_counts).mean()) if white_counts is not None else 0.0
    return Normalised(intensity, noise_level(intensity), saturated)


def noise_level(intensity: Image) -> float:
    """Noise of a pixel, robustly: the median of a mask that plane and one-way curved light passes by.

    Source of the mask: J. Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996), doi:10.1006/cviu.1996.0060.
    """
    step = max(1, intensity.shape[0] // 256)
    rows = intensity[:-2:step] - 2 * intensity[1:-1:step] + intensity[2::step]
    mask = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(1.4826 * np.median(np.abs(mask)) / 6)


def smooth_light(frame: Image, blocks: int = 16) -> Image:
    """Illumination of a single frame: a quadratic through medians of blocks, float32 [height, width].

    Six coefficients can't follow fringes or particles; medians keep strong particles from pulling it.
    """
    height, width = frame.shape
    rows, columns = (np.array_split(np.arange(n), blocks) for n in (height, width))
    medians = np.array([[np.median(frame[r[0] : r[-1] + 1, c[0] : c[-1] + 1]) for c in columns] for r in rows])
    y = (np.array([r.mean() for r in rows]) / height - 0.5)[:, None]
    x = (np.array([c.mean() for c in columns]) / width - 0.5)[None, :]
    terms = [np.ones((blocks, blocks)), x + 0 * y, y + 0 * x, x * y, x * x + 0 * y, y * y + 0 * x]
    design = np.stack([t.ravel() for t in terms], axis=1)
    fitted, *_ = np.linalg.lstsq(design, medians.ravel(), rcond=None)
    level, along_x, along_y, along_both, bent_x, bent_y = (float(c) for c in fitted)
    fine_y, fine_x = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    # One plane of the frame at a time: six of them were the most that a box ever held.
    light = np.multiply.outer(along_both * fine_y, fine_x)
    light += (along_x * fine_x + bent_x * fine_x**2)[None, :]
    light += (level + along_y * fine_y + bent_y * fine_y**2)[:, None]
    return np.maximum(light, 0.05 * float(np.median(medians)), out=light).astype(np.float32)


def median_background(frames: list[Image]) -> Image:
    """Pixel-wise median of frames after each is brought to the same level; float32 [height, width]."""
    if len({f.shape for f in frames}) != 1:
        raise InputError("frames of several shapes share no background", got=sorted({f.shape for f in frames}))
    # A grid of pixels tells a frame's level as well as all of them.
    step = max(1, min(frames[0].shape) // 256)
    levels = [max(float(np.median(f[::step, ::step])), 1e-6) for f in frames]
    level = float(np.median(levels))
    return median_of([f * np.float32(level / own) for f, own in zip(frames, levels, strict=True)])


@dataclass
class RunningMedian:
    """Median of the last frames: the background of a stream in which particles come and go."""

    length: int = 9
    """Frames kept."""
    _frames: deque[Image] = field(default_factory=deque)

    def add(self, frame: Image) -> None:
        """Take a frame in."""
        self._frames.append(frame)
        if len(self._frames) > self.length:
            self._frames.popleft()

    def background(self) -> Image | None:
        """The median, or None before there are three frames."""
        return median_background(list(self._frames)) if len(self._frames) >= 3 else None


def block_means(intensity: Image | NDArray[np.uint16], factor: int) -> Image:
    """Means over factor x factor blocks."""
    height, width = (n // factor for n in intensity.shape)
    whole = intensity[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)
