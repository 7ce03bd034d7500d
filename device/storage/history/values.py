"""What the history answers: frozen values, times RFC 3339 in UTC."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from device.records import Concentration, Qartod, Stamp

__all__ = [
    "HistoryGap",
    "HistorySeries",
    "HistoryStatus",
    "LoggedEvent",
    "LoggedInterval",
    "LoggedParticle",
    "ParticlePage",
    "SeriesPoint",
    "SizeDistribution",
    "Sort",
    "VolumeUnit",
]

VolumeUnit = Literal["m^3", "mL"]
Sort = Literal["score", "-score", "time", "-time"]


class SeriesPoint(Struct, frozen=True, kw_only=True, gc=False):
    """An interval, or a span of time with all intervals that began in it. A span in which none began is no point: it is a gap."""

    start: Stamp
    """Beginning of the span, or of the interval."""
    end: Stamp
    """End of the span, or of the interval."""
    intervals: int
    """That began in it."""
    looked: int
    """Of these, how many had a frame that was searched: with 0 of them nothing is known, not even that there was nothing."""
    failed: int
    """Of these, how many failed quality control (qc 4): what they counted is in no sum."""
    covered_s: float
    """Length of its intervals, summed."""
    dead_time_s: float
    """Part of that in which nothing was sampled, or nothing could be seen."""
    volume: float | None
    """That was looked at, in the series' unit; None: none, or not known."""
    frames_analysed: int
    """Searched for particles."""
    frames_dropped: int
    """Lost, or not searched."""
    qc: Qartod
    """Worst QARTOD flag of its intervals."""
    counts: dict[str, int]
    """Particles seen, by label, of the intervals that looked for it and did not fail; a label nobody looked for is left out."""
    concentration: dict[str, Concentration]
    """By label, with its 95 % interval, of the sums; left out where no volume is known."""


class HistorySeries(Struct, frozen=True, kw_only=True):
    """How counts and concentrations went over a span of time."""

    since: Stamp
    """Begin of what was asked for."""
    until: Stamp
    """End of what was asked for, which isn't part of it."""
    step_s: float
    """Length of each point's span; 0: every point is an interval."""
    unit: VolumeUnit | None
    """Of the volumes; concentrations are per this unit. None: no interval of the span has a volume."""
    other_units: tuple[VolumeUnit, ...] = ()
    """That are in the span as well, because the box sampled otherwise for a time; ask for them by name."""
    labels: tuple[str, ...] = ()
    """That were looked for at any time in the span, `total` first."""
    points: tuple[SeriesPoint, ...] = ()
    """In order of time."""


class SizeDistribution(Struct, frozen=True, kw_only=True):
    """How many particles had which size."""

    since: Stamp
    """Begin of the first day (UTC) that is counted."""
    until: Stamp
    """End of the last day."""
    edges_um: tuple[float, ...]
    """Edges of the classes of equivalent spherical diameter, one more than there are counts."""
    n: tuple[int, ...]
    """Particles in each class."""


class HistoryGap(Struct, frozen=True, kw_only=True):
    """A time of which there is no interval."""

    start: Stamp
    """End of what came before."""
    end: Stamp
    """Begin of what came after."""
    seconds: float
    """Its length."""


class LoggedParticle(Struct, frozen=True, kw_only=True, gc=False):
    """One particle, in few words; its record may be gone."""

    at: Stamp
    """Begin of its interval."""
    spool_id: str
    """With `seq` and the device id, the name of its record."""
    seq: int
    """Number of its record."""
    label: str
    """Its class."""
    score: float | None
    """Calibrated probability of the class, to a thousandth; None where no classifier spoke."""
    esd_um: float
    """Equivalent spherical diameter."""
    esd_uncertainty_um: float
    """One standard deviation of esd_um."""
    z_um: float
    """From the sensor to the particle."""


class ParticlePage(Struct, frozen=True, kw_only=True):
    """Some of the particles that were asked for."""

    particles: tuple[LoggedParticle, ...]
    """In the order that was asked for."""
    after: str | None
    """What to ask with for those that follow; None: there are no more."""
    held_since: Stamp | None
    """Particles from before this day are no longer held, for want of room; None: none are held."""


class LoggedInterval(Struct, frozen=True, kw_only=True, gc=False):
    """An interval's place in the history."""

    number: int
    """In the order in which they were stored."""
    spool_id: str
    """With `seq` and the device id, the name of its record."""
    seq: int
    """Number of its record."""
    point: SeriesPoint
    """What it came to."""


class LoggedEvent(Struct, frozen=True, kw_only=True):
    """An event, as its record had it."""

    id: str
    """The event, a ULID."""
    since: Stamp
    """When it began, UTC."""
    code: str
    """What happened, for programs."""
    severity: Literal["info", "warning", "alarm"]
    """How grave it is."""
    message: str
    """What happened and what to do, for people."""
    value: float | str | None = None
    """A figure, or words, that go with it; None: none."""
    unit: str | None = None
    """Of the figure."""


class HistoryStatus(Struct, frozen=True, kw_only=True):
    """How the history is."""

    there: bool
    """Whether there is a file that can be read."""
    first: Stamp | None
    """Begin of the first interval; None: there is none."""
    last: Stamp | None
    """Begin of the last interval."""
    intervals: int
    """Held one by one; older ones are in the sums of ten minutes, hours and days."""
    bytes: int
    """Of its files."""
    behind: int | None
    """Records in the store that are not in the history yet; None: not known here."""
    trouble: str
    """Why it can't be written at the moment; empty where it can."""
    rebuilt_at: Stamp | None
    """When it was built anew from the records that the store still held; None: never."""
    rebuilt_why: str
    """What was wrong with the one before."""
    set_aside: tuple[str, ...]
    """Names of damaged files that are kept for a person."""
