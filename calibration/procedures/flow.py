"""Volume flow from two frames a known time apart: how far each particle went, and at what depth.

A particle's place in the channel says how its own velocity stands to the mean one (device.duct_flow): a few particles then tell
what a plain average would need thousands for. The frame's middle is taken for the channel's, across the flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

from calibration.procedures.beads import FoundBead
from calibration.procedures.comparison import against_instrument
from calibration.procedures.outcome import ProcedureOutcome
from device.calibration import Quantity
from device.duct_flow import Duct
from device.errors import InputError
from device.instrument import Instrument

__all__ = ["ChannelSection", "displacements_px", "measure_flow"]

_TEMPLATE_PX = 24
_FASTEST = 1.5
"""In the middle of a flat channel, over the mean."""
_LEAST_PARTICLES = 5
_ONE_WAY, _SAME_WAY = 0.75, 0.8
"""Share of the particles that go the way of most, and the cosine that counts as that way: a few strays are cut as outliers."""


@dataclass(frozen=True)
class ChannelSection:
    """The channel across the flow."""

    height_um: float
    """Along the optical axis."""
    width_um: float
    uncertainty: float = 0.005
    """Of the section's area, relative, one standard deviation."""


def displacements_px(
    first: NDArray[np.floating], second: NDArray[np.floating], places_px: Sequence[tuple[float, float]], reach_px: int
) -> list[tuple[float, float] | None]:
    """How far (rows, columns) the ring pattern at each place went, to a fraction of a pixel; None where it isn't found."""
    a, b = (np.asarray(f, np.float32) for f in (first, second))
    return [_displacement(a, b, round(row), round(column), reach_px) for row, column in places_px]


def _displacement(
    a: NDArray[np.float32], b: NDArray[np.float32], row: int, column: int, reach_px: int
) -> tuple[float, float] | None:
    size = _TEMPLATE_PX
    if not (size <= row < a.shape[0] - size and size <= column < a.shape[1] - size):
        return None
    template = a[row - size : row + size + 1, column - size : column + size + 1]
    top, left = max(row - size - reach_px, 0), max(column - size - reach_px, 0)
    area = b[top : row + size + reach_px + 1, left : column + size + reach_px + 1]
    score = np.asarray(cv2.matchTemplate(area, template, cv2.TM_CCOEFF_NORMED), np.float32)
    peak = np.unravel_index(int(np.argmax(score)), score.shape)
    inside = all(0 < int(p) < n - 1 for p, n in zip(peak, score.shape, strict=True))
    if not inside or score[peak] < 0.5:
        return None
    offsets = [_vertex(score, peak, axis) for axis in (0, 1)]
    return float(peak[0]) + offsets[0] + top - (row - size), float(peak[1]) + offsets[1] + left - (column - size)


def _vertex(score: NDArray[np.floating], peak: tuple[np.intp, ...], axis: int) -> float:
    here, other = int(peak[axis]), int(peak[1 - axis])
    line = np.take(score, other, axis=1 - axis)
    left, top, right = (float(line[here + d]) for d in (-1, 0, 1))
    return 0.5 * (left - right) / min(left - 2 * top + right, -1e-12)


def measure_flow(
    first: NDArray[np.floating], second: NDArray[np.floating], beads: Sequence[FoundBead], instrument: Instrument,
    section: ChannelSection, *, interval_s: float, reach_px: int,
) -> ProcedureOutcome:  # fmt: skip
    """Volume flow from the beads of the first of two normalised frames; the channel lies around the instrument's distance.

    `reach_px` is the farthest a particle may go between the frames. InputError for an interval that is none.
    """
    if interval_s <= 0:
        raise InputError("no time between the frames", where="flow", expected="interval_s above 0", got=interval_s)
    pitch_um = instrument.geometry.object_pitch_um
    middle = [(n - 1) / 2 for n in first.shape]
    places = [(b.y_um / pitch_um + middle[0], b.x_um / pitch_um + middle[1]) for b in beads]
    moved = displacements_px(first, second, places, reach_px)
    rows = np.array([[b.z_um, *m, b.y_um, b.x_um] for b, m in zip(beads, moved, strict=True) if m is not None]).reshape(-1, 5)
    if len(rows) < _LEAST_PARTICLES:
        reasons = [f"only {len(rows)} particles were followed ({_LEAST_PARTICLES} or more)"]
        reasons += _out_of_reach(instrument, section, interval_s, reach_px)
        return ProcedureOutcome({}, {"particles": float(len(rows))}, reasons)
    speed_um_s = np.hypot(rows[:, 1], rows[:, 2]) * pitch_um / interval_s
    mean_um_s, statistical_um_s, scatter_um_s, count = _fit_profile(rows, speed_um_s, instrument, section)
    systematic = float(np.hypot(section.uncertainty, instrument.sensor.pitch_uncertainty_um / instrument.sensor.pitch_um))
    uncertainty_um_s = float(np.hypot(statistical_um_s, systematic * mean_um_s))
    to_ml_min = section.height_um * section.width_um * 60e-12
    values = {
        "flow_ml_min": Quantity(value=mean_um_s * to_ml_min, uncertainty=uncertainty_um_s * to_ml_min, unit="mL/min"),
        "velocity_um_s": Quantity(value=mean_um_s, uncertainty=uncertainty_um_s, unit="um/s"),
    }
    reasons = list[str]()
    if scatter_um_s > 0.2 * mean_um_s:
        reasons.append(
            f"particles disagree by {scatter_um_s / mean_um_s:.0%} after the profile: the flow isn't steady, or the channel isn't flat"
        )
    reasons += _second_reading(rows, speed_um_s, mean_um_s, instrument, section)
    reasons += against_instrument(values, instrument)
    if reasons:
        reasons += _out_of_reach(instrument, section, interval_s, reach_px)
    return ProcedureOutcome(values, {"velocity_scatter_um_s": scatter_um_s, "particles": float(count)}, reasons)


def _out_of_reach(instrument: Instrument, section: ChannelSection, interval_s: float, reach_px: int) -> list[str]:
    """What is probably wrong where the fastest, at the nominal flow, go farther between the frames than they are looked for."""
    mean_um_s = instrument.fluidics.flow_ml_min / 60e-12 / (section.height_um * section.width_um)
    fastest_px_s = _FASTEST * mean_um_s / instrument.geometry.object_pitch_um
    if fastest_px_s * interval_s <= reach_px:
        return []
    return [
        f"at the nominal flow the fastest go {fastest_px_s * interval_s:.0f} pixels between the frames and are looked for up to "
        f"{reach_px}: take --interval-s {reach_px / fastest_px_s:.2g} or less"
    ]


def _second_reading(
    rows: NDArray[np.float64],
    speed_um_s: NDArray[np.float64],
    mean_um_s: float,
    instrument: Instrument,
    section: ChannelSection,
) -> list[str]:
    """Why not, where particles go different ways, or halves of them tell another flow; `rows` as in measure_flow."""
    reasons: list[str] = []
    along = rows[:, 1:3] / np.maximum(np.hypot(rows[:, 1], rows[:, 2]), 1e-12)[:, None]
    common = np.median(along, axis=0)
    same = along @ common > _SAME_WAY * np.hypot(*common)
    if same.mean() < _ONE_WAY:
        reasons.append(
            "the particles go different ways: some were taken for others; take a shorter --interval-s or fewer particles"
        )
    (a, ua, *_), (b, ub, *_) = (_fit_profile(rows[k::2], speed_um_s[k::2], instrument, section) for k in (0, 1))
    if min(len(rows[::2]), len(rows[1::2])) >= 4 and abs(a - b) > 5 * np.hypot(ua, ub) + 0.05 * mean_um_s:
        reasons.append(f"two halves of the particles disagree about the mean velocity: {a:.4g} and {b:.4g} um/s")
    return reasons


def _fit_profile(
    rows: NDArray[np.float64], speed_um_s: NDArray[np.float64], instrument: Instrument, section: ChannelSection
) -> tuple[float, float, float, int]:
    """Mean velocity, its uncertainty (widened to Student's t), scatter and count of the channel's profile; `rows` as in measure_flow.

    The channel's middle along the axis is fitted too, for depths may share an offset; particles off the profile weigh little.
    """
    duct = Duct(section.width_um, section.height_um)
    along = np.median(rows[:, 1:3], axis=0)
    across_um = (rows[:, 3] * along[1] - rows[:, 4] * along[0]) / max(float(np.hypot(*along)), 1e-12)
    depth_um = rows[:, 0] - instrument.geometry.propagation_um

    def model(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[0] * duct.relative_speed(across_um, depth_um - values[1] * section.height_um)

    def misfit(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (model(values) - speed_um_s) / typical

    typical = float(np.median(speed_um_s))
    solved = scipy.optimize.least_squares(
        misfit, [typical, 0.0], x_scale=[typical, 0.1], loss="soft_l1", f_scale=0.03,
        bounds=([0.0, -0.25], [np.inf, 0.25]),
    )  # fmt: skip
    residual = model(solved.x) - speed_um_s
    scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-3 * typical)
    kept = np.abs(residual) <= 4 * scale
    degrees = max(int(kept.sum()) - 2, 1)
    scatter = float(np.sqrt(np.sum(residual[kept] ** 2) / degrees))
    jacobian = solved.jac[kept]
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * (scatter / typical) ** 2
    widening = float(scipy.stats.t.ppf(0.975, degrees) / scipy.stats.norm.ppf(0.975))
    return float(solved.x[0]), widening * float(np.sqrt(covariance[0, 0])), scatter, int(kept.sum())
