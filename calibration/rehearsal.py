"""The answer sheet of a calibration on the twin: what is true, what was measured, what was stated, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.targets import Stage, found_share
from device.analysis.dose_response import from_values
from device.calibration import Quantity

__all__ = [
    "CASES",
    "AnswerLine",
    "Rehearsed",
    "answer_sheet",
    "counts_truth",
    "hidden_dose",
    "table",
    "told_dose",
    "truth_of_pupil",
]

_HOLDS_SIGMAS = 1.96
_FAR_SIGMAS = 4.0
_FOUND_WITHIN_UM = 15.0
_DOSES_PER_UL = (0, 0, 0, 10, 20, 40, 80, 160, 320)


@dataclass(frozen=True)
class Rehearsed:
    """One calibration, and how it is rehearsed."""

    options: tuple[str, ...]
    side_px: int = 0
    """Of the sensor's part that is read out, for time's sake; 0: all of it."""


CASES: Mapping[str, Rehearsed] = {
    "dark": Rehearsed(("dark",), 512),
    "flat": Rehearsed(("flat",), 512),
    "distance": Rehearsed(("distance",), 512),
    "tilt": Rehearsed(("tilt",)),
    "pitch by a ruling": Rehearsed(("pitch",), 512),
    "pitch by beads": Rehearsed(("pitch", "--beads"), 512),
    "flow": Rehearsed(
        ("flow", "--config", "simulated-flow", "--interval-s", "0.02", "--channel-width-um", "3532.8", "--diameter-um", "20")
    ),
    "counts": Rehearsed(
        (
            "counts", "--config", "simulated-flow", "--diameter-um", "20", "--concentration-per-ml", "2000", "--count", "16",
            "--volume-ml", "0.15975",
        )
    ),
    "dose": Rehearsed(("dose", "--config", "simulated-assay", "--doses-per-ul", *map(str, _DOSES_PER_UL)), 640),
    "transfer": Rehearsed(("transfer",), 256),
}  # fmt: skip
"""Every calibration, with the options that rehearse it."""


@dataclass(frozen=True)
class AnswerLine:
    """One figure."""

    name: str
    true: float
    measured: Quantity

    @property
    def away(self) -> float:
        """Error in standard deviations as stated."""
        error = abs(self.measured.value - self.true)
        return error / self.measured.uncertainty if self.measured.uncertainty > 0 else (0.0 if error == 0 else math.inf)

    @property
    def holds(self) -> bool:
        """Whether the 95 % interval holds the truth; of twenty figures one doesn't."""
        return self.away <= _HOLDS_SIGMAS

    @property
    def wrong(self) -> bool:
        """Whether it is farther off than chance takes it."""
        return self.away > _FAR_SIGMAS


def answer_sheet(values: Mapping[str, Quantity], truth: Mapping[str, float]) -> list[AnswerLine]:
    """Every figure whose truth is known."""
    return [AnswerLine(name, truth[name], quantity) for name, quantity in values.items() if name in truth]


def table(sheet: Sequence[tuple[str, AnswerLine]]) -> str:
    """The sheet as text; each line with the calibration that it is of."""
    rows = [("", "quantity", "true", "measured", "stated (1 sd)", "off by", "95 % holds")]
    for label, line in sheet:
        measured, unit = line.measured, line.measured.unit
        said = "yes" if line.holds else "no"
        figures = (f"{line.true:.6g}", f"{measured.value:.6g}", f"{measured.uncertainty:.2g} {unit}", f"{line.away:.1f} sd")
        rows.append((label, line.name, *figures, said))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def counts_truth(stage: Stage, values: Mapping[str, Quantity], found_um: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Share of the beads that were there and were found; `found_um` as in `found_share`."""
    if stage.truth_file is None:
        return {}
    return dict.fromkeys(values, found_share(found_um, stage.truth_file, _FOUND_WITHIN_UM))


def truth_of_pupil(stage: Stage, values: Mapping[str, Quantity]) -> dict[str, float]:
    """Astigmatism over the disc that the record states: it grows with the square of the frequency."""
    pupil, radius = stage.world.pupil, values.get("pupil_radius_per_um")
    if pupil is None or radius is None:
        return {}
    grown = (radius.value / pupil.radius_per_um) ** 2
    return {
        f"{name}_rad": c * grown for name, c in zip(("astigmatism_0", "astigmatism_45"), pupil.coefficients_rad, strict=False)
    }


def hidden_dose(seed: int, doses_per_ul: Sequence[float]) -> float:
    """A dose between those that were calibrated with, for an assay of its own."""
    known = [dose for dose in doses_per_ul if dose > 0]
    return float(np.exp(np.random.default_rng([seed, 2]).uniform(np.log(1.5 * min(known)), np.log(max(known) / 2))))


def told_dose(values: Mapping[str, Quantity], response: float | None) -> dict[str, Quantity]:
    """What the calibrated response tells of an assay's dose; empty where it tells none.

    The response itself has no truth of its own: clusters that are misread are misread alike in every assay.
    """
    curve = from_values({name: (quantity.value, quantity.uncertainty) for name, quantity in values.items()})
    dose = curve.dose(response) if curve is not None and response is not None else None
    if dose is None or dose.value is None or dose.high is None:
        return {}
    uncertainty = (dose.high - dose.low) / 2 / _HOLDS_SIGMAS
    return {"dose_per_ul": Quantity(value=dose.value, uncertainty=uncertainty, unit="per uL")}
