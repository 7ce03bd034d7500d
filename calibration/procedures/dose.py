"""The response of the biosensor to known doses."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from calibration.procedures.outcome import ProcedureOutcome
from device.analysis.dose_response import PARAMETERS, fit_dose_response
from device.calibration import Quantity
from device.errors import InputError

__all__ = ["measure_dose_response", "read_table", "responses_of"]

_UNITS = {
    "bottom": "bonds per bead", "rise": "bonds per bead", "log_ec50": "ln(per uL)", "log_slope": "ln",
    "highest_per_ul": "per uL", "limit_of_detection_per_ul": "per uL", "duration_s": "s", "blank_response": "bonds per bead",
}  # fmt: skip
_FALL = 0.25
"""Of the whole rise, that a larger dose may respond less than a smaller one."""
_LEAST_RISE = 5.0
"""Standard deviations of a blank that the largest dose must respond with."""


def measure_dose_response(doses_per_ul: Sequence[float], responses: Sequence[float], *, duration_s: float) -> ProcedureOutcome:
    """Fit assays of known doses, blanks among them; InputError where they can't tell a curve.

    The curve holds for assays of the same duration. It fails where the doses hardly respond, or never show what can be detected.
    """
    curve = fit_dose_response(doses_per_ul, responses)
    limits = curve.limits()
    values = {name: Quantity(value=v, uncertainty=u, unit=_UNITS.get(name, "1")) for name, (v, u) in curve.values().items()}
    values["duration_s"] = Quantity(value=duration_s, uncertainty=0.0, unit=_UNITS["duration_s"])
    values["blank_response"] = Quantity(value=limits.blank_response, uncertainty=0.0, unit=_UNITS["blank_response"])
    reasons: list[str] = []
    top = float(curve.response(curve.highest_per_ul)) - curve.parameters[0]
    if top < _LEAST_RISE * curve.variance_blank**0.5:
        reasons.append(f"the largest dose responds with {top:.3g} only: check beads and doses")
    if limits.detection_per_ul is None:
        reasons.append("no dose of the range can be told from none: take higher doses or more beads")
    else:
        found = Quantity(value=limits.detection_per_ul, uncertainty=0.0, unit=_UNITS["limit_of_detection_per_ul"])
        values["limit_of_detection_per_ul"] = found
    reasons += _backwards(doses_per_ul, responses, curve.variance_blank**0.5)
    seen, doses = np.asarray(responses, float), np.asarray(doses_per_ul, float)
    away = (seen - curve.response(doses)) / curve.scatter(doses)
    residuals = {
        "chi_square_per_assay": float(np.mean(away**2)),
        "assays": float(len(seen)),
        "parameters": float(len(PARAMETERS)),
    }
    return ProcedureOutcome(values, residuals, reasons)


def _backwards(doses_per_ul: Sequence[float], responses: Sequence[float], blank_deviation: float) -> list[str]:
    """Why not, where a larger dose responds clearly less than a smaller one: labels mixed up, or beads that saturate."""
    doses = sorted(set(doses_per_ul))
    means = [float(np.mean([r for d, r in zip(doses_per_ul, responses, strict=True) if d == dose])) for dose in doses]
    rise = max(means) - min(means)
    for k, (dose, mean) in enumerate(zip(doses, means, strict=True)):
        best = max(means[:k], default=mean)
        if best - mean > max(_LEAST_RISE * blank_deviation, _FALL * rise):
            return [
                f"{dose:g} per uL responds with {mean:.3g}, a smaller dose with {best:.3g}: samples were mixed up, or the beads are "
                "saturated; leave doses beyond the rise out"
            ]
    return []


def read_table(path: Path) -> tuple[list[float], list[float]]:
    """Doses and responses of a CSV file with the columns dose_per_ul and bonds_per_bead; InputError where it holds none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("the table can't be read", where=path, got=str(error)) from error
    doses: list[float] = []
    responses: list[float] = []
    for number, row in enumerate(rows, start=2):
        try:
            doses.append(float(row["dose_per_ul"]))
            responses.append(float(row["bonds_per_bead"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "the table doesn't hold known doses", where=f"{path}, line {number}",
                expected="columns dose_per_ul and bonds_per_bead (of the last interval of each assay), figures", got=dict(row),
            ) from error  # fmt: skip
    return doses, responses


def responses_of(doses_per_ul: Sequence[float], run: Callable[[float], float | None]) -> tuple[list[float], list[float]]:
    """Doses and responses of assays that `run` carries out; InputError where one showed nothing."""
    responses: list[float] = []
    for dose in doses_per_ul:
        response = run(dose)
        if response is None:
            raise InputError("the assay showed too few beads", where=f"dose {dose:g} per uL", remedy="Take it again.")
        responses.append(response)
    return list(doses_per_ul), responses
