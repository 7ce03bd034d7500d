"""Off-axis holograms: one frame, one exact complex field.

The reference beam comes at an angle, so the object's wave sits in the spectrum at the carrier, apart from its conjugate and
from the two intensities at zero (Takeda et al., J. Opt. Soc. Am. 72, 156 (1982), doi:10.1364/JOSA.72.000156; Cuche et al.,
Appl. Opt. 38, 6994 (1999), doi:10.1364/AO.38.006994). It is found, cut out and moved to zero; what is left of tilt and
curvature is fitted where the field is smooth and taken off.

Which of the two orders is the object and which its conjugate can't be told from the frame: the sign of the phase is a
convention, chosen here by the side of the carrier (towards growing rows, or growing columns where the rows are even).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft

__all__ = ["Carrier", "demodulate", "find_carrier", "flatten"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float64]

_ZERO_ORDER = 0.06  # cycles per pixel around zero that are never the carrier
_TAPER = 0.15  # of the filter's radius
_DISC_EDGE = 1.75  # a square order's corner over its root mean square radius, 3 ** 0.5, and a little
_COMPACT = 0.01  # cycles per pixel: an order whose root mean square radius is less is centred on its peak
_FRINGE_RAD = 2 * np.pi
_FLATTER = 0.65
"""Spread of the background's phase with curvature off, relative to that with tilt off alone, from which on it is the optics'."""
_MOST_SORTED = 200_000


@dataclass(frozen=True)
class Carrier:
    """The object's order in the spectrum."""

    rows: float
    """Cycles per pixel along the rows' index."""
    columns: float
    """Cycles per pixel along the columns' index."""
    radius: float
    """Of the filter, cycles per pixel: what the order extends to, at least a third of its distance from zero (where an
    object of that bandwidth meets its own intensity, twice as wide), at most half its distance from its conjugate."""
    prominence: float
    """Peak amplitude over the median one of its ring: under 10 it may be no carrier."""

    @property
    def separation(self) -> float:
        """Distance from zero, cycles per pixel."""
        return float(np.hypot(self.rows, self.columns))


def find_carrier(frame: NDArray[np.floating], *, conjugate: bool = False) -> Carrier:
    """The carrier of an off-axis hologram; `conjugate` takes the other of the two orders.

    Parameters: `frame` float [height, width]. Raises InputError where the frame isn't two-dimensional, isn't finite, or
    holds no carrier that stands out.
    """
    if frame.ndim != 2 or min(frame.shape) < 32 or not np.isfinite(frame).all():
        raise InputError("not a hologram", expected="32 x 32 finite pixels or more", got=f"shape {frame.shape}")
    power = np.abs(_windowed_spectrum(frame)) ** 2
    fy, fx = _grid(frame.shape)
    apart = np.hypot(fy, fx)
    candidates = (apart > _ZERO_ORDER) & ((fy > 0) | ((fy == 0) & (fx > 0)))
    peak = np.unravel_index(int(np.argmax(np.where(candidates, power, 0))), power.shape)
    ring = candidates & (np.abs(apart - apart[peak]) < 0.02)
    prominence = float(np.sqrt(power[peak] / max(float(np.median(power[ring])), 1e-30)))
    if prominence < 10:
        raise InputError("no carrier stands out of the spectrum", where="off-axis hologram",
                         expected="a peak ten times the amplitude around it", got=f"{prominence:.1f} times",
                         remedy="Is this an in-line hologram? Use another method.")  # fmt: skip
    rows, columns = (_refined(power, peak, axis) for axis in (0, 1))
    rows, columns, radius = _extent(np.maximum(power - 10 * np.median(power[ring]), 0), rows, columns)
    # Rows that are nearly even don't decide the side: noise would.
    flipped = rows < -_COMPACT or (abs(rows) <= _COMPACT and columns < 0)
    sign = -1 if flipped != conjugate else 1
    return Carrier(sign * rows, sign * columns, radius, prominence)


def demodulate(frame: NDArray[np.floating], carrier: Carrier) -> Complex:
    """The field of one order, complex64 [height, width], the carrier's tilt taken off.

    A round filter of the order's radius with a soft edge, in physical frequency (round on any frame shape).
    """
    spectrum = fft.fft2(np.asarray(frame, np.float32))
    fy, fx = _grid(frame.shape)
    away = np.hypot(_wrapped(fy - carrier.rows), _wrapped(fx - carrier.columns)) / carrier.radius
    edge = np.clip((1 + _TAPER / 2 - away) / _TAPER, 0, 1)
    spectrum *= np.asarray(edge**2 * (3 - 2 * edge), np.float32)
    field = fft.ifft2(spectrum, overwrite_x=True)
    y, x = np.arange(frame.shape[0])[:, None], np.arange(frame.shape[1])[None, :]
    return field * np.exp(-2j * np.pi * (carrier.rows * y + carrier.columns * x)).astype(np.complex64)


def flatten(field: NDArray[np.complexfloating], *, order: int | None = None, rounds: int = 6) -> Complex:
    """The field without tilt and smooth aberrations, background phase 0.

    A polynomial in rows and columns is fitted to the phase, by way of the phase *differences* between neighbours, which
    need no unwrapping; then it is refined on the wrapped remainder. Edges of the object are outliers to the differences
    and are weighted down (iteratively, Cauchy weights).

    Parameters: `order` of the polynomial, 1 for tilt alone, 2 for curvature too; None takes curvature off where it puts
    more than a fringe into the field (optics that aren't telecentric), or where the greater part of the field is flatter
    without it: an object on the smaller part can't do that. Raises InputError where the field isn't two-dimensional.
    """
    if field.ndim != 2 or (order is not None and order < 1):
        raise InputError(
            "not a field to flatten", expected="[height, width], order 1 or more", got=f"shape {field.shape}, {order}"
        )
    height, width = field.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    if order is None:
        quadratic = _slope_fit(field, _terms(2)[2:], _terms(2), y, x, rounds)
        if np.ptp(quadratic) > _FRINGE_RAD:
            order = 2
        else:
            tilted, curved = (_flattened(field, n, y, x, rounds) for n in (1, 2))
            flatter = background_spread_rad(np.angle(curved)) < _FLATTER * background_spread_rad(np.angle(tilted))
            return curved if flatter else tilted
    return _flattened(field, order, y, x, rounds)


def background_spread_rad(phase_rad: NDArray[np.floating]) -> float:
    """Width of the narrowest interval that holds half of the pixels: of the background, where no more than half is object."""
    values = np.sort(phase_rad, axis=None)[:: max(phase_rad.size // _MOST_SORTED, 1)]
    half = values.size // 2
    return float((values[half:] - values[: values.size - half]).min())


def _flattened(field: NDArray[np.complexfloating], order: int, y: Real, x: Real, rounds: int) -> Complex:
    terms = _terms(order)
    surface = _slope_fit(field, terms, terms, y, x, rounds)
    flat = np.asarray(field * np.exp(-1j * surface), np.complex64)
    return _phase_fit(flat, terms, y, x, rounds)


def _terms(order: int) -> list[tuple[int, int]]:
    """Powers of rows and columns up to an order, piston left out, lowest first."""
    return [(p, total - p) for total in range(1, order + 1) for p in range(total + 1)]


def _windowed_spectrum(frame: NDArray[np.floating]) -> NDArray[np.complex64]:
    window = np.outer(np.hanning(frame.shape[0]), np.hanning(frame.shape[1]))
    return fft.fft2(((frame - frame.mean()) * window).astype(np.float32))


def _extent(power: NDArray[np.floating], rows: float, columns: float) -> tuple[float, float, float]:
    """Centre and filter radius of the order around a peak: its centroid where curvature smears it, else the peak."""
    fy, fx = _grid(power.shape)
    spread = 0.0
    centre = (rows, columns)
    for _ in range(4):
        limit = _farthest(centre)
        dy, dx = _wrapped(fy - centre[0]), _wrapped(fx - centre[1])
        weight = np.where(np.hypot(dy, dx) < limit, power, 0)
        total = max(float(weight.sum()), 1e-30)
        shift = float((weight * dy).sum()) / total, float((weight * dx).sum()) / total
        spread = float(np.sqrt((weight * ((dy - shift[0]) ** 2 + (dx - shift[1]) ** 2)).sum() / total))
        if spread < _COMPACT:
            centre = (rows, columns)
            break
        centre = (centre[0] + shift[0], centre[1] + shift[1])
    radius = min(max(float(np.hypot(*centre)) / 3, _DISC_EDGE * spread), _farthest(centre))
    return centre[0], centre[1], radius


def _farthest(centre: tuple[float, float]) -> float:
    """Half the distance to zero or to the conjugate, which may be nearer past the sampling limit."""
    to_conjugate = np.hypot(*(_wrapped(np.asarray(2 * f)) for f in centre))
    return float(min(np.hypot(*centre), to_conjugate)) / 2


def _grid(shape: tuple[int, ...]) -> tuple[Real, Real]:
    return fft.fftfreq(shape[0])[:, None], fft.fftfreq(shape[1])[None, :]


def _wrapped(frequency: Real) -> Real:
    return (frequency + 0.5) % 1.0 - 0.5


def _refined(power: NDArray[np.floating], peak: tuple[np.intp, ...], axis: int) -> float:
    """Frequency of a peak along one axis by a parabola through the logarithms (a Hann window's peak is nearly Gaussian)."""
    n, here = power.shape[axis], int(peak[axis])
    line = np.take(power, int(peak[1 - axis]), axis=1 - axis)
    left, top, right = (float(np.log(line[(here + d) % n] + 1e-30)) for d in (-1, 0, 1))
    offset = 0.5 * (left - right) / min(left - 2 * top + right, -1e-9)
    frequency = (here + float(np.clip(offset, -0.5, 0.5))) / n
    return frequency - 1 if frequency > 0.5 else frequency


def _slope_fit(
    field: NDArray[np.complexfloating], kept: list[tuple[int, int]], terms: list[tuple[int, int]], y: Real, x: Real, rounds: int
) -> Real:
    """The kept terms of the polynomial surface (rad) whose slopes fit those of the field's phase."""
    step = max(1, min(field.shape) // 200)
    down = np.angle(field[1:, :] * np.conj(field[:-1, :]))[::step, ::step]
    right = np.angle(field[:, 1:] * np.conj(field[:, :-1]))[::step, ::step]

    def slopes(p: int, q: int) -> tuple[Real, Real]:
        surface = np.asarray(y**p * x**q)
        return np.diff(surface, axis=0)[::step, ::step], np.diff(surface, axis=1)[::step, ::step]

    columns = [np.concatenate([part.ravel() for part in slopes(p, q)]) for p, q in terms]
    design, target = np.stack(columns, axis=1), np.concatenate([down.ravel(), right.ravel()]).astype(np.float64)
    coefficients = _robust(design, target, rounds)
    return np.asarray(sum(c * y**p * x**q for c, (p, q) in zip(coefficients, terms, strict=True) if (p, q) in kept))


def _phase_fit(flat: Complex, terms: list[tuple[int, int]], y: Real, x: Real, rounds: int) -> Complex:
    """Piston and polynomial from the wrapped remainder, whose background lies within a cycle by now."""
    for _ in range(3):
        piston = np.angle(np.exp(1j * np.angle(flat)).sum())
        phase = np.angle(flat * np.exp(-1j * piston))
        step = max(1, min(flat.shape) // 200)
        columns = [np.broadcast_to(y**p * x**q, flat.shape)[::step, ::step].ravel() for p, q in [(0, 0), *terms]]
        coefficients = _robust(np.stack(columns, axis=1), phase[::step, ::step].ravel().astype(np.float64), rounds)
        surface = sum(c * y**p * x**q for c, (p, q) in zip(coefficients, [(0, 0), *terms], strict=True))
        flat = np.asarray(flat * np.exp(-1j * (piston + surface)), np.complex64)
    return flat


def _robust(design: Real, target: Real, rounds: int) -> Real:
    """Least squares, rows of large residuals weighted down (Cauchy)."""
    weight = np.ones_like(target)
    coefficients = np.zeros(design.shape[1])
    for _ in range(rounds):
        weighted = design * weight[:, None]
        coefficients = np.linalg.lstsq(weighted.T @ design, weighted.T @ target, rcond=None)[0]
        residual = target - design @ coefficients
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-6)
        weight = 1 / (1 + (residual / (2.4 * scale)) ** 2)
    return np.asarray(coefficients, np.float64)
