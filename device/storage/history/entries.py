"""Records as rows of the history."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from statistics import NormalDist

from device.errors import InputError
from device.records import Detection, Interval

__all__ = ["CountEntry", "IntervalEntry", "bin_of", "edge_um", "from_us", "particle_row", "to_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)
_MOST_US = 253_370_764_800_000_000
"""The year 9999."""
_SPAN = 2 * NormalDist().inv_cdf(0.975)
"""Of a 95 % interval, in standard deviations."""
_SIZES_PER_OCTAVE = 4
_PER_UNIT = {"m^-3": 1.0, "L^-1": 1000.0, "mL^-1": 1.0}
"""Concentrations per the unit of the record's volume."""


def to_us(stamp: str) -> int:
    """Microseconds since 1970 of a record's time; what is before that is a clock that was never set, and counts as then."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError as error:
        raise InputError("not a time", expected="RFC 3339, UTC", got=stamp) from error
    if moment.tzinfo is None:
        raise InputError("not a time in UTC", expected="RFC 3339 with Z", got=stamp)
    return min(max((moment - _EPOCH) // _MICROSECOND, 0), _MOST_US)


def from_us(microseconds: int) -> str:
    """RFC 3339 in UTC."""
    # As `records.iso_time`, five times as fast: a page asks for thousands.
    return (_NAIVE_EPOCH + timedelta(microseconds=min(max(microseconds, 0), _MOST_US))).isoformat(timespec="microseconds") + "Z"


def bin_of(esd_um: float) -> int:
    """The class of an equivalent spherical diameter: four to an octave, class 0 begins at 1 um."""
    return math.floor(math.log2(max(esd_um, 1e-3)) * _SIZES_PER_OCTAVE)


def edge_um(number: int) -> float:
    """Where a class begins."""
    return 2.0 ** (number / _SIZES_PER_OCTAVE)


@dataclass(frozen=True)
class CountEntry:
    """A label's row."""

    label: str
    n: int
    weight: float
    """Particles that each counted one stands for, after efficiency and overlap."""
    uncertainty: int
    """One standard deviation of the concentration's scale, relative, in 1/10,000."""


@dataclass(frozen=True)
class IntervalEntry:
    """An interval's row, and those of its counts."""

    start_us: int
    end_us: int
    unit: int
    """Of the volume, as in `tables.UNITS`."""
    volume: float | None
    """None where no concentration can be told of it."""
    counts: tuple[CountEntry, ...]
    """None where nobody looked."""
    loose: bool
    """Whether nobody vouched for the clock: it may be dated back."""

    @classmethod
    def of(cls, record: Interval) -> IntervalEntry:
        """What the record says."""
        start_us = to_us(record.started_at)
        unit = 1 if record.volume_m3 is not None else 2 if record.volume_ml is not None else 0
        volume = record.volume_m3 if unit == 1 else record.volume_ml
        looked = record.frames.analysed > 0
        told = looked and bool(record.concentration) and volume is not None and volume > 0
        return cls(
            start_us,
            max(to_us(record.ended_at), start_us),
            unit,
            volume if told else None,
            tuple(_counts(record, volume if told else None)) if looked else (),
            loose=not record.clock.synchronised,
        )


def _counts(record: Interval, volume: float | None) -> list[CountEntry]:
    of_volume = (record.volume_uncertainty or 0.0) / volume if volume else 0.0
    found: list[CountEntry] = []
    for label, count in record.counts.items():
        efficiency = record.detection_efficiency.get(label)
        weight, uncertainty = 1.0, of_volume
        if efficiency is not None and efficiency.value > 0:
            weight = 1 / efficiency.value
            uncertainty = math.hypot(of_volume, efficiency.uncertainty / efficiency.value)
        told = record.concentration.get(label)
        if told is not None and volume and count.n > 0:
            weight = told.value * _PER_UNIT[told.unit] * volume / count.n
            uncertainty = max(of_volume, _beyond_counting(told.low, told.high, count.low, count.high))
        found.append(CountEntry(label, count.n, weight, min(math.ceil(1e4 * uncertainty - 1e-6), 30_000)))
    return found


@lru_cache(maxsize=1024)
def _spread(low: float, high: float) -> float:
    return math.log(high / low) if 0 < low < high else 0.0


def _beyond_counting(low: float, high: float, count_low: float, count_high: float) -> float:
    """Relative uncertainty of what a count is scaled by, from the intervals of the concentration and of the count alone.

    Spreads of a log-normal scale and of a count add in quadrature, exactly for many particles; for one or two the result is
    up to a tenth too large.
    """
    with_scale, counting = _spread(low, high), _spread(count_low, count_high)
    return math.sqrt(max(with_scale**2 - counting**2, 0.0)) / _SPAN


def particle_row(record: Detection, behind: int) -> tuple[int, int, int, int, int]:
    """score, behind, esd, esd_uncertainty, z as the table has them."""
    score = -1 if record.score is None else round(1000 * record.score)
    return (
        score, behind, round(100 * min(record.esd_um, 1e9)), round(100 * min(record.esd_uncertainty_um, 1e9)),
        round(10 * min(max(record.z_um, -1e9), 1e9)),
    )  # fmt: skip
