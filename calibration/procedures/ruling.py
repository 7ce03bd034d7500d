"""Pixel pitch from a ruled target: its period in pixels is a line in the spectrum.

In collimated light the hologram of a grating has the grating's period at any distance, so nothing needs to be in focus; in
a point-source geometry the pitch at the object is measured, magnification included. Which harmonic is strongest depends on the
distance all the same: harmonic n of a weak grating goes with cos(pi wavelength distance n^2 / period^2), so that near a
fractional Talbot distance the fundamental vanishes (Guigay, Optica Acta 18, 677 (1971)). The harmonic is therefore told from
the others that are seen, and from the instrument file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from calibration.procedures.comparison import against_instrument
from calibration.procedures.outcome import ProcedureOutcome, halves_agree, mean_with_uncertainty
from device.calibration import Quantity
from device.errors import InputError
from device.instrument import Instrument

__all__ = ["Line", "line_frequency", "measure_ruled_pitch"]

_BLOCKS = 3
_STRONG = 20.0
"""Of the strongest line, over the median of the spectrum."""
_SEEN = 8.0
"""Of any other line, over the median around it: the largest of a few thousand values of noise stays under 5."""
_FAINTEST = 2e-3
"""Of the strongest line: fainter ones may be side lobes of the window."""
_FAINTEST_BETWEEN = 0.02
"""The same for lines between the harmonics, where a field that ends at the frame leaves traces."""
_CLEAR = 0.15
"""Of the strongest line: from there on its frequency is known about as well."""
_VANISHED = 0.3
"""Of its contrast close to the ruling: with less, other harmonics outshine the fundamental."""
_UNSTATED_DISTANCE = 0.05
"""Relative standard uncertainty of a distance that the instrument file gives without one."""
_MOST_WALK = 0.18
"""Of the frame's shorter side; beyond it pitches of simulated frames were off by up to 0.7 per cent."""
_MOST_ORDERS = 8
_LEAST_PERIODS = 6.0
"""In the frame's shorter side: fewer can't be told from uneven light."""
_ORDER_TOLERANCE = 0.03
"""How far from a whole number of times the expected frequency a line may be: the pitch is known to a few per cent."""
_HARMONICS_AGREE = 2e-3
"""Relative; lines of one grating lie at whole multiples."""
_FOLD_BINS = 6
"""Closer than this, in bins of a block, a folded line pulls at the one that is measured."""


@dataclass(frozen=True)
class Line:
    """One harmonic of a grating."""

    order: int
    row_frequency: float
    """Cycles per pixel."""
    column_frequency: float
    strength: float
    """Amplitude."""

    @property
    def fundamental(self) -> float:
        """Frequency of the grating itself, cycles per pixel."""
        return float(np.hypot(self.row_frequency, self.column_frequency)) / self.order


class _Spectrum:
    """A frame [height, width] seen by its lines."""

    def __init__(self, intensity: NDArray[np.floating]) -> None:
        self.height, self.width = intensity.shape
        window = np.outer(np.hanning(self.height), np.hanning(self.width))
        self.lines = (intensity - intensity.mean()) * window
        self.magnitude = np.abs(np.fft.fft2(self.lines))
        fy, fx = np.fft.fftfreq(self.height) * self.height, np.fft.fftfreq(self.width) * self.width
        self.magnitude[np.hypot(fy[:, None], fx[None, :]) < 4] = 0
        self._y, self._x = np.arange(self.height) - self.height / 2, np.arange(self.width) - self.width / 2

    def strongest(self) -> tuple[float, float]:
        """Frequency of the strongest line; InputError where none stands out."""
        half = self.magnitude[:, : self.width // 2]
        row, column = (int(k) for k in np.unravel_index(int(np.argmax(half)), half.shape))
        over = half[row, column] / np.median(half)
        if not over >= _STRONG:
            raise InputError("no ruling found", where="calibration frame", expected="one regular grating over the whole frame",
                             got=f"a line {over:.0f} times the noise",
                             remedy="Put the ruled target in and check focus and exposure.")  # fmt: skip
        return self.refined(float(np.fft.fftfreq(self.height)[row]), float(np.fft.fftfreq(self.width)[column]))

    def refined(self, row_frequency: float, column_frequency: float) -> tuple[float, float]:
        """The peak near a frequency, between the bins of the discrete transform."""
        start = np.array([row_frequency, column_frequency])
        simplex = start + np.array([[0, 0], [0.4 / self.height, 0], [0, 0.4 / self.width]])

        def minus_amplitude(frequency: NDArray[np.float64]) -> float:
            return -self.amplitude(float(frequency[0]), float(frequency[1]))

        found = scipy.optimize.minimize(
            minus_amplitude, start, method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-9},
        )  # fmt: skip
        return float(found.x[0]), float(found.x[1])

    def amplitude(self, row_frequency: float, column_frequency: float) -> float:
        """Of the wave of a frequency."""
        turns = 2 * np.pi * row_frequency * self._y
        # Real products: a complex one would copy the frame each time.
        cosine, sine = np.stack([np.cos(turns), np.sin(turns)]) @ self.lines
        return float(np.abs((cosine - 1j * sine) @ np.exp(-2j * np.pi * column_frequency * self._x)))

    def line(self, order: int, row_frequency: float, column_frequency: float) -> Line | None:
        """The line near a frequency; None where none stands out of what surrounds it."""
        row, column = round(row_frequency * self.height), round(column_frequency * self.width)
        reach = np.arange(-12, 13)
        around = self.magnitude[np.ix_((row + reach) % self.height, (column + reach) % self.width)]
        apart = np.maximum(np.abs(reach)[:, None], np.abs(reach)[None, :])
        near = np.where(apart <= 2, around, 0)
        # The skirt of a neighbour rises towards it and has no peak here.
        is_peak = near.max() >= around[apart <= 4].max()
        if not is_peak or near.max() < _SEEN * max(float(np.median(around[apart > 4])), 1e-12):
            return None
        peak = np.unravel_index(int(np.argmax(near)), near.shape)
        at = self.refined((row + int(reach[peak[0]])) / self.height, (column + int(reach[peak[1]])) / self.width)
        if np.hypot((at[0] - row_frequency) * self.height, (at[1] - column_frequency) * self.width) > 4:
            return None
        return Line(order, *at, self.amplitude(*at))


def line_frequency(intensity: NDArray[np.floating]) -> tuple[float, float]:
    """Frequency of the strongest line in a frame [height, width], cycles per pixel along rows and columns.

    The peak of the windowed Fourier transform between the bins of the discrete one. InputError where no line stands out.
    """
    return _Spectrum(intensity).strongest()


def measure_ruled_pitch(
    intensity: NDArray[np.floating], instrument: Instrument, period_um: float, period_uncertainty_um: float
) -> ProcedureOutcome:
    """Pitch from a ruling of known period; the uncertainty from how parts of the frame disagree, and the period's own.

    It fails where the strongest line is no harmonic that the instrument file allows, where other lines contradict it, and where
    parts of the frame do. InputError for a ruling too fine or too coarse for the frame.
    """
    expected = instrument.geometry.object_pitch_um / period_um
    _refuse_period(intensity.shape, expected, period_um)
    spectrum = _Spectrum(intensity)
    strongest = spectrum.strongest()
    ratio = float(np.hypot(*strongest)) / expected
    order = max(round(ratio), 1)
    main = Line(order, *strongest, spectrum.amplitude(*strongest))
    reasons = [] if abs(ratio / order - 1) <= _ORDER_TOLERANCE else [_strange(main, instrument, period_um)]
    harmonics = _harmonics(spectrum, main)
    reasons += _walked_off(intensity.shape, instrument, period_um)
    reasons += _contradictions(spectrum, main, harmonics, instrument, period_um)
    parts = _in_blocks(intensity, main)
    _, statistical, scatter, _ = mean_with_uncertainty(parts.ravel())
    whole = main.fundamental
    if scatter / whole > 0.02:
        reasons.append(f"the period differs by {scatter / whole:.1%} over the frame: the target is bent, or it isn't a ruling")
    reasons += halves_agree("period", (parts[0], parts[-1]), (parts[:, 0], parts[:, -1]), floor=2e-3 * whole)
    magnification = instrument.sensor.pitch_um / instrument.geometry.object_pitch_um
    pitch_um = whole * period_um * magnification
    # What the harmonics disagree by is an error that every part of the frame shares.
    shared = max(abs(line.fundamental / whole - 1) for line in _clear(harmonics))
    relative = float(np.linalg.norm([statistical / whole, shared, period_uncertainty_um / period_um]))
    values = {"pitch_um": Quantity(value=pitch_um, uncertainty=pitch_um * relative, unit="um")}
    reasons += against_instrument(values, instrument)
    residuals = {
        "period_px": 1 / whole,
        "period_scatter": scatter / whole,
        "harmonic_used": float(order),
        "harmonics_seen": float(len(harmonics)),
    }
    return ProcedureOutcome(values, residuals, reasons)


def _refuse_period(shape: tuple[int, ...], expected: float, period_um: float) -> None:
    """InputError where the frame can't show a ruling of this frequency, cycles per pixel."""
    smallest = min(shape)
    if not _LEAST_PERIODS / smallest <= expected <= 0.45:
        raise InputError(
            "this frame can't tell a pitch from that ruling", where="--ruling-um",
            expected=f"a period of 2.3 to {smallest / _LEAST_PERIODS:.0f} pixels", got=f"{period_um:g} um, {1 / expected:.3g} pixels",
            remedy="Take another ruling, or correct device.instrument.",
        )  # fmt: skip


def _walked_off(shape: tuple[int, ...], instrument: Instrument, period_um: float) -> list[str]:
    """Why not, where the first orders meet so far from where they left that the target's edge takes part."""
    geometry = instrument.geometry
    share = geometry.defocus_number * geometry.object_pitch_um / period_um / min(shape)
    if share <= _MOST_WALK:
        return []
    return [
        f"at this distance the orders of a ruling of {period_um:g} um walk off by {share:.0%} of the frame ({_MOST_WALK:.0%} or less): "
        "take a coarser ruling, or put it closer"
    ]


def _harmonics(spectrum: _Spectrum, main: Line) -> list[Line]:
    """Every whole multiple of the grating's frequency that is seen, the one that was measured first."""
    found = [main]
    for order in range(1, _MOST_ORDERS + 1):
        row, column = (f * order / main.order for f in (main.row_frequency, main.column_frequency))
        if order == main.order or max(abs(row), abs(column)) > 0.48:
            continue
        line = spectrum.line(order, row, column)
        if line is not None and line.strength > _FAINTEST * main.strength:
            found.append(line)
    return found


def _clear(harmonics: list[Line]) -> list[Line]:
    """Those strong enough for their own frequency to count; the one that was measured first."""
    return [line for line in harmonics if line.strength >= _CLEAR * harmonics[0].strength]


def _contradictions(
    spectrum: _Spectrum, main: Line, harmonics: list[Line], instrument: Instrument, period_um: float
) -> list[str]:
    """What else the measured line could be."""
    reasons: list[str] = []
    whole = main.fundamental
    least, most = _fundamental_visibility(instrument, period_um)
    common = math.gcd(*(line.order for line in harmonics))
    # At half a Talbot distance the second harmonic, the strongest, and its multiples are what a right ruling shows.
    if common > 1 and not (common == main.order == 2 and most < _VANISHED):
        reasons.append(
            f"only every harmonic of order {common} is seen: it could be a ruling of {period_um / common:g} um instead of {period_um:g}, or "
            f"the pitch {common} times the instrument file's; change the distance to the target, or take another ruling"
        )
    if common == 1 and main.order % 2 and least < _VANISHED:
        reasons.append(
            f"at this distance harmonic 1 of a ruling of {period_um:g} um may vanish (near a fractional Talbot distance), so that what "
            "stands out could be another: put the target elsewhere, take a coarser ruling, or state the distance's uncertainty "
            "(optics.distance_uncertainty_um, or holonode-calibrate distance)"
        )
    reasons += [
        f"harmonics {main.order} and {line.order} disagree about the period ({1 / whole:.4g} and {1 / line.fundamental:.4g} "
        "pixels): it isn't one regular ruling"
        for line in _clear(harmonics)[1:]
        if abs(line.fundamental / whole - 1) > _HARMONICS_AGREE
    ]
    for parts in (2, 3, 4, 5):
        between = [_fraction(spectrum, main, k, parts) for k in range(1, parts)]
        if any(line is not None and line.strength > _FAINTEST_BETWEEN * main.strength for line in between):
            other_um = instrument.sensor.pitch_um * whole * period_um / instrument.geometry.object_pitch_um / parts
            reasons.append(
                f"there are lines between the harmonics: what was taken for a period of {1 / whole:.4g} pixels could be harmonic "
                f"{parts} of a ruling; of {period_um:g} um, the pitch would be {other_um:.4g} um; check --ruling-um and device.instrument"
            )
            break
    return reasons + _folded(spectrum, main)


def _fundamental_visibility(instrument: Instrument, period_um: float) -> tuple[float, float]:
    """Least and most of |cos(pi wavelength distance / period^2)| for what the distance may be (two standard deviations)."""
    geometry, optics = instrument.geometry, instrument.optics
    talbot = geometry.defocus_number * (geometry.object_pitch_um / period_um) ** 2
    relative = (optics.distance_uncertainty_um or _UNSTATED_DISTANCE * optics.distance_um) / optics.distance_um
    around = np.abs(np.cos(np.pi * talbot * (1 + 2 * relative * np.linspace(-1, 1, 101))))
    return float(around.min()), float(around.max())


def _fraction(spectrum: _Spectrum, main: Line, numerator: int, denominator: int) -> Line | None:
    share = numerator / denominator / main.order
    row, column = main.row_frequency * share, main.column_frequency * share
    if np.hypot(row * spectrum.height, column * spectrum.width) < 8:
        return None
    return spectrum.line(1, row, column)


def _folded(spectrum: _Spectrum, main: Line) -> list[str]:
    """Harmonics too fine for the pixels that come to lie on the line which was measured."""
    at = np.array([main.row_frequency, main.column_frequency])
    near = _FOLD_BINS * _BLOCKS / min(spectrum.height, spectrum.width)
    for order in range(2, 2 * _MOST_ORDERS):
        true = at * order / main.order
        if np.max(np.abs(true)) <= 0.5:
            continue
        folded = (true + 0.5) % 1 - 0.5
        if min(np.hypot(*(folded - at)), np.hypot(*(folded + at))) < near:
            return [
                f"harmonic {order} of this ruling folds onto the line that is measured: turn the target by a few degrees, or take a "
                "ruling whose period is farther from a whole number of pixels"
            ]
    return []


def _in_blocks(intensity: NDArray[np.floating], main: Line) -> NDArray[np.float64]:
    """Frequency of the grating in each part of the frame, float64 [blocks, blocks]."""
    height, width = (n // _BLOCKS for n in intensity.shape)
    found = np.zeros((_BLOCKS, _BLOCKS))
    for r in range(_BLOCKS):
        for c in range(_BLOCKS):
            block = _Spectrum(intensity[r * height : (r + 1) * height, c * width : (c + 1) * width])
            found[r, c] = float(np.hypot(*block.refined(main.row_frequency, main.column_frequency))) / main.order
    return found


def _strange(main: Line, instrument: Instrument, period_um: float) -> str:
    """What a line could be that is no harmonic of the ruling at the instrument's pitch."""
    seen_px = 1 / (main.order * main.fundamental)
    pitch_um = instrument.geometry.object_pitch_um
    return (
        f"the strongest line has a period of {seen_px:.4g} pixels, which at the instrument file's {pitch_um:g} um is no whole part of "
        f"{period_um:g} um: it could be a ruling of {seen_px * pitch_um:.4g} um, a pitch of {period_um / seen_px:.4g} um, or a harmonic "
        "too fine for the pixels; check --ruling-um and device.instrument"
    )
