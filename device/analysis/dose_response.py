"""From the response of an assay to the dose behind it, with its interval; and the smallest dose that can be told from none.

The response is a four-parameter logistic of the dose; its scatter from assay to assay is v0 + v1 * rise (bonds are counted: their
variance rises with their mean). A dose is inside the interval where the measured response isn't improbable under it, scatter and
the fit's own covariance counted (inversion of a test, as Fieller's): the interval is one-sided where it reaches no dose at all
or the plateau, and no figure is made up there.

Limits: LoB = mean of blanks + 1.645 standard deviations, LoD the dose whose responses fall below LoB one time in 20 (Currie, Anal.
Chem. 40, 586 (1968), doi:10.1021/ac60259a007; Armbruster and Pry, Clin. Biochem. Rev. 29 Suppl. 1, S49 (2008)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from device.errors import InputError

__all__ = ["CURVE_VALUES", "DetectionLimits", "Dose", "DoseResponse", "fit_dose_response", "from_values", "logistic"]

Real = NDArray[np.float64]

PARAMETERS = ("bottom", "rise", "log_ec50", "log_slope")
"""Of the curve, as they are fitted: response without dose, plateau above it, natural logarithms of the dose at half of it and of the
slope there."""
_PAIRS = tuple((a, b) for a in range(4) for b in range(a))
CURVE_VALUES = (
    *PARAMETERS, "variance_blank", "variance_rise", "highest_per_ul", "replicates",
    *(f"correlation_{PARAMETERS[b]}_{PARAMETERS[a]}" for a, b in _PAIRS),
)  # fmt: skip
"""Values of a calibration record that together are a fitted response."""

ONE_SIDED_Z = NormalDist().inv_cdf(0.95)
_GRID = 400


@dataclass(frozen=True)
class Dose:
    """A dose with its 95 % interval, per microlitre."""

    value: float | None
    """None where the response is that of no dose, or beyond what was calibrated."""
    low: float
    """0 where no dose at all would explain the response."""
    high: float | None
    """None where there is no upper limit."""
    kind: Literal["measured", "below the limit of detection", "above the range"]


@dataclass(frozen=True)
class DetectionLimits:
    """What can be told from nothing."""

    blank_response: float
    """Limit of blank: 95 % of assays without any analyte respond less."""
    detection_per_ul: float | None
    """Limit of detection; None where the calibrated range doesn't reach it."""


def logistic(parameters: Real, dose: Real | float) -> Real:
    """Response to a dose; parameters as in PARAMETERS, along the last axis."""
    bottom, rise, log_ec50, log_slope = np.moveaxis(np.asarray(parameters, float), -1, 0)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.exp(np.exp(log_slope) * (np.log(np.asarray(dose, float)) - log_ec50))
    return bottom + rise * np.where(np.isinf(ratio), 1.0, ratio / (1 + np.where(np.isinf(ratio), 0.0, ratio)))


@dataclass(frozen=True)
class DoseResponse:
    """A fitted response."""

    parameters: tuple[float, float, float, float]
    covariance: Real
    """float64 [4, 4]."""
    variance_blank: float
    """Scatter of a single assay without dose, squared."""
    variance_rise: float
    """What it grows by for every unit of rise."""
    highest_per_ul: float
    """Largest dose that was calibrated with."""
    replicates: int
    """Assays that the scatter was told from, parameters taken off."""

    def response(self, dose_per_ul: Real | float) -> Real:
        """Mean response."""
        return logistic(np.array(self.parameters), dose_per_ul)

    def scatter(self, dose_per_ul: Real | float) -> Real:
        """Standard deviation of one assay's response, the fit taken as true."""
        return np.sqrt(self.variance_blank + self.variance_rise * (self.response(dose_per_ul) - self.parameters[0]))

    def fit_uncertainty(self, dose_per_ul: Real) -> Real:
        """Of the mean response, by the covariance of the parameters."""
        slopes = _jacobian(np.array(self.parameters), dose_per_ul)
        return np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", slopes, self.covariance, slopes), 0))

    def inverse(self, response: float) -> float | None:
        """Dose of a mean response; None below the curve or above its plateau."""
        bottom, rise, log_ec50, log_slope = self.parameters
        share = (response - bottom) / rise
        return math.exp(log_ec50 + math.log(share / (1 - share)) / math.exp(log_slope)) if 0 < share < 1 else None

    def limits(self) -> DetectionLimits:
        """Limit of blank and limit of detection of a single assay."""
        blank = self.parameters[0] + ONE_SIDED_Z * math.sqrt(self.variance_blank)

        def beyond(log_dose: float) -> float:
            dose = math.exp(log_dose)
            return float(self.response(dose) - ONE_SIDED_Z * self.scatter(dose)) - blank

        low, high = math.log(self.highest_per_ul * 1e-6), math.log(self.highest_per_ul)
        if beyond(high) <= 0 or beyond(low) >= 0:
            return DetectionLimits(blank, None)
        return DetectionLimits(blank, math.exp(float(scipy.optimize.root_scalar(beyond, bracket=(low, high)).root)))

    def dose(self, response: float, uncertainty: float = 0.0) -> Dose:
        """The dose behind a response, whose own uncertainty counts where it is more than the scatter of such assays."""
        doses = np.concatenate([[0.0], np.geomspace(1e-4 * self.highest_per_ul, self.highest_per_ul, _GRID)])
        spread = np.hypot(np.maximum(self.scatter(doses), uncertainty), self.fit_uncertainty(doses))
        away = (response - self.response(doses)) / spread
        # The scatter is an estimate from so many assays: Student's t.
        z = float(scipy.special.stdtrit(max(self.replicates, 1), 0.975))
        inside = np.flatnonzero(np.abs(away) <= z)
        best = self.inverse(response)
        if len(inside) == 0:
            # Beyond what was calibrated on one side: the sign says on which.
            above = bool(away[-1] > 0)
            return Dose(None, self.highest_per_ul, None, "above the range") if above else Dose(None, 0.0, 0.0, _BELOW)
        low, high = float(doses[inside[0]]), float(doses[inside[-1]])
        high_known = high if inside[-1] < len(doses) - 1 else None
        if response <= self.limits().blank_response:
            return Dose(None, 0.0, high_known, _BELOW)
        if best is None or best > self.highest_per_ul:
            return Dose(None, low, None, "above the range")
        return Dose(best, min(low, best), None if high_known is None else max(high_known, best), "measured")

    def values(self) -> dict[str, tuple[float, float]]:
        """Figures and uncertainties for a calibration record; `from_values` is the way back."""
        spreads = np.sqrt(np.diag(self.covariance))
        found = {name: (p, float(s)) for name, p, s in zip(PARAMETERS, self.parameters, spreads, strict=True)}
        correlations = self.covariance / np.maximum(np.outer(spreads, spreads), 1e-300)
        plain = (self.variance_blank, self.variance_rise, self.highest_per_ul, float(self.replicates))
        plain += tuple(float(correlations[a, b]) for a, b in _PAIRS)
        return found | {name: (value, 0.0) for name, value in zip(CURVE_VALUES[4:], plain, strict=True)}


_BELOW: Literal["below the limit of detection"] = "below the limit of detection"


def from_values(values: Mapping[str, tuple[float, float]]) -> DoseResponse | None:
    """The fitted response of a calibration record; None where the record holds none."""
    if not all(name in values for name in CURVE_VALUES):
        return None
    figures = {name: values[name][0] for name in CURVE_VALUES}
    spreads = np.array([values[name][1] for name in PARAMETERS])
    correlations = np.eye(4)
    for a, b in _PAIRS:
        correlations[a, b] = correlations[b, a] = figures[f"correlation_{PARAMETERS[b]}_{PARAMETERS[a]}"]
    bottom, rise, log_ec50, log_slope = (figures[name] for name in PARAMETERS)
    return DoseResponse(
        (bottom, rise, log_ec50, log_slope),
        correlations * np.outer(spreads, spreads),
        figures["variance_blank"],
        figures["variance_rise"],
        figures["highest_per_ul"],
        round(figures["replicates"]),
    )


def fit_dose_response(doses_per_ul: Sequence[float], responses: Sequence[float]) -> DoseResponse:
    """Fit assays of known doses; InputError where they can't tell a curve."""
    doses, seen = np.asarray(doses_per_ul, float), np.asarray(responses, float)
    _check(doses, seen)
    weights = np.ones_like(seen)
    parameters, v0, v1 = _start(doses, seen), 0.0, 0.0
    for _ in range(6):
        parameters = _weighted_fit(doses, seen, weights, parameters)
        v0, v1 = _scatter_of(doses, seen, parameters)
        weights = 1 / np.sqrt(v0 + v1 * np.maximum(logistic(parameters, doses) - parameters[0], 0))
    slopes = _jacobian(parameters, doses) * weights[:, None]
    covariance = np.asarray(np.linalg.pinv(slopes.T @ slopes), float)
    bottom, rise, log_ec50, log_slope = (float(p) for p in parameters)
    return DoseResponse((bottom, rise, log_ec50, log_slope), covariance, v0, v1, float(doses.max()), max(len(doses) - 4, 1))


def _check(doses: Real, seen: Real) -> None:
    levels = len(set(doses[doses > 0].tolist()))
    if not (np.isfinite(doses).all() and np.isfinite(seen).all() and (doses >= 0).all()) or len(doses) != len(seen):
        raise InputError("doses and responses must be figures, doses not below 0", where="dose response")
    if levels < 3 or int((doses == 0).sum()) < 2 or len(doses) < 8:
        raise InputError(
            "too few assays to fit a response", where="dose response",
            expected="8 or more, at 3 or more doses and 2 or more without any",
            got=f"{len(doses)}, at {levels} doses and {int((doses == 0).sum())} without any",
        )  # fmt: skip


def _start(doses: Real, seen: Real) -> Real:
    blank, top = float(seen[doses == 0].mean()), float(seen[doses == doses.max()].mean())
    rise = max(top - blank, 1e-6)
    levels = np.unique(doses[doses > 0])
    means = np.array([seen[doses == level].mean() for level in levels])
    half = float(levels[int(np.argmin(np.abs(means - blank - rise / 2)))])
    return np.array([blank, 1.2 * rise, math.log(half), 0.0])


def _weighted_fit(doses: Real, seen: Real, weights: Real, start: Real) -> Real:
    reach = math.log(doses.max())
    least = math.log(doses[doses > 0].min())
    span = max(float(np.ptp(seen)), 1e-9)
    low = [float(seen.min()) - span, 1e-3 * span, least - 3, math.log(0.3)]
    high = [float(seen.max()), 30 * span, reach + 4, math.log(4.0)]
    inner = np.clip(start, np.array(low) + 1e-9, np.array(high) - 1e-9)

    def misfit(p: Real) -> Real:
        return (logistic(p, doses) - seen) * weights

    fitted = scipy.optimize.least_squares(misfit, inner, bounds=(low, high), x_scale=[span, span, 1.0, 1.0])
    return np.asarray(fitted.x, float)


def _scatter_of(doses: Real, seen: Real, parameters: Real) -> tuple[float, float]:
    """v0 and v1 by maximum likelihood of the residuals, widened for the parameters that were fitted."""
    mean = logistic(parameters, doses)
    squares, rise = (seen - mean) ** 2, np.maximum(mean - parameters[0], 0)
    blank = float(squares[doses == 0].sum() / max(int((doses == 0).sum()) - 1, 1))
    # Responses without any scatter have no likelihood: a millionth of their range is the least there is.
    floor = (1e-6 * max(float(np.ptp(seen)), 1e-6)) ** 2
    typical = max(float(squares.mean()), floor)
    slope = typical / max(float(rise.mean()), 1e-12)

    def unlikely(logs: Real) -> float:
        variance = floor + np.exp(logs[0]) + np.exp(logs[1]) * rise
        return float(np.sum(np.log(variance) + squares / variance))

    found = scipy.optimize.minimize(
        unlikely, [math.log(max(blank, 1e-3 * typical)), math.log(slope)], method="Nelder-Mead", options={"xatol": 1e-3}
    )
    widening = len(seen) / max(len(seen) - 4, 1)
    return widening * (floor + float(np.exp(found.x[0]))), widening * float(np.exp(found.x[1]))


def _jacobian(parameters: Real, doses: Real) -> Real:
    """Change of the response with each parameter, float64 [n, 4]."""
    steps = np.array([1e-6, 1e-6, 1e-5, 1e-5])
    ahead = [logistic(parameters + step, doses) - logistic(parameters - step, doses) for step in np.diag(steps)]
    return np.stack(ahead, axis=1) / (2 * steps)
