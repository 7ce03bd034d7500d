"""The optics from day to day against what they were when the box was commissioned.

Every figure of an interval is compared with a baseline: the median of the first intervals, or the `flat` record where it holds
the figure. Five intervals make a block, whose median no single frame can move. A figure drifts where

a block         is off by more than is allowed plus six standard deviations,
a running mean  of blocks by more than is allowed plus four, or
its days        creep: their Theil-Sen slope is certain at 99 %, they moved by half of what is allowed, and at this pace take all of
                it within a month.

It is told once, and once again when three blocks in a row are back within a third of what is allowed. What is kept is bounded: the days of two
months, a few values of each figure and three maps; it survives a restart in the store.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

import cv2
import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from device.analysis.optical_health import GRID, BackgroundFigures
from device.analysis.theil_sen import Slope, theil_sen
from device.messaging.payloads import Check
from device.sampling.findings import SamplingEvent

__all__ = ["DAYS_KEY", "FIGURES", "STATE_KEY", "FigureDays", "OpticsObservation", "OpticsTrend", "forgotten", "stored_checks"]

_T = TypeVar("_T")

STATE_KEY, DAYS_KEY = "optics", "optics_days"
"""In the store: what every interval changes, and the days that are over."""

_MOST_DAYS = 60
_CREEP_DAYS, _LEAST_CREEP_DAYS = 14, 6
_MONTH_DAYS = 30.0
_DAY_S = 86_400
_MENDED_BLOCKS = 3
_SAME_PLACE = 3
"""Backgrounds in a row that show a mark in a cell: what lies there is stuck."""
_BLOCK_SIGMAS, _MEAN_SIGMAS, _MEAN_WEIGHT = 6.0, 4.0, 0.1
_MEDIAN_LOSS = 1.2533
"""Standard deviation of a median over that of a mean."""
_LEAST_SCATTER = 0.05
"""Of what is allowed: a baseline of few values may look quieter than it is."""


@dataclass(frozen=True)
class _Figure:
    """One thing that is followed."""

    words: str
    allowed: float
    """Departure from the baseline that a person should know of."""
    remedy: str
    relative: bool = False
    """Whether departures are shares of the baseline."""
    worse: Literal[-1, 0, 1] = 1
    """Side that is worse: 0 for both."""
    creeps: bool = True
    """Whether its days are followed: not where days differ by what flies."""
    first: int = 20
    """Values that make the baseline."""
    block: int = 5


FIGURES: Mapping[str, _Figure] = {
    "level": _Figure("background level", 0.10, "Check the lamp's current, age and seat; clean the window", True, 0),
    "saturated": _Figure("saturated share", 0.001, "Lower camera.exposure_us or lamp.current_ma; look for stray light"),
    "sharpness": _Figure(
        "sharpness",
        0.20,
        "Check that lamp, window and sensor sit tight and that the lamp is the right one",
        True,
        -1,
        first=60,
        creeps=False,
    ),
    "dirt": _Figure("background dirt", 0.03, "Clean window, channel and cover glass", first=5, block=3),
    "fringes": _Figure(
        "fringe contrast", 0.02, "Look for a loose cover glass, a film or a coating that comes off", first=5, block=3
    ),
    "stuck": _Figure("stuck particles", 0.02, "Rinse the channel or clean the window", first=5, block=3),
}
"""By name, as `stats` has them. Level: a tenth of the light. Sharpness: the mix of particles moves it by a tenth. Dirt, fringes:
relative to the light. Stuck: share of the field's cells. The last three are seen on a clean window only."""


@dataclass(frozen=True)
class OpticsObservation:
    """What one interval tells of the optics."""

    background: BackgroundFigures
    clean: bool
    """Whether the background shows the optics alone, no sample."""
    sharpness: float | None = None


class _Series(Struct, kw_only=True):
    """One figure."""

    first: list[float] = []
    base: float | None = None
    """None until there are enough values."""
    scatter: float = 0.0
    """One standard deviation of a value's departure."""
    block: list[float] = []
    """Departures of the block that is not full."""
    last: float | None = None
    """Departure of the last block."""
    mean: float = 0.0
    """Running mean of blocks."""
    today: tuple[int, float] = (0, 0.0)
    """Blocks of the day, and their mean."""
    drifting_since: str = ""
    mended: int = 0
    """Blocks in a row that are back."""


class _TrendState(Struct, kw_only=True):
    """What every interval changes."""

    key: str
    day: int = 0
    """Since the Unix epoch."""
    series: dict[str, _Series] = {}
    maps: list[str] = []
    """The last backgrounds' marks, packed, hexadecimal."""
    first_map: str | None = None
    """What was stuck when the baseline was taken."""
    stuck_map: str | None = None
    """What is stuck."""


class _Day(Struct, kw_only=True):
    """A day that is over: departures of every figure."""

    day: int
    values: dict[str, float]


class FigureDays(Struct, frozen=True, kw_only=True):
    """One figure from day to day."""

    name: str
    """As `stats` has it."""
    words: str
    """What it is."""
    allowed: float
    """Departure from the baseline that a person should know of."""
    worse: Literal[-1, 0, 1]
    """Side that is worse; 0: both."""
    remedy: str
    """What to do about it."""
    base: float | None
    """What it was when the box was commissioned; None: not known yet."""
    relative: bool
    """Whether departures are shares of `base`."""
    drifting_since: str
    """RFC 3339; empty: it doesn't drift."""
    days: list[tuple[str, float]]
    """Date in UTC and the day's mean departure, the oldest first, today's as far as it has come."""


class OpticsTrend:
    """Takes every interval's look, says what drifted.

    `get` reads the store's state; `key` names instrument and exposure: with others the baseline is taken anew. `commissioned`
    holds figures of the `flat` record.
    """

    def __init__(self, get: Callable[[str], str | None], key: str, commissioned: Mapping[str, float] | None = None) -> None:
        self._commissioned = dict(commissioned or {})
        state, days = _read(get(STATE_KEY), _TrendState), _read(get(DAYS_KEY), list[_Day])
        same = state is not None and state.key == key
        self._state = state if state is not None and same else _TrendState(key=key)
        self._days: list[_Day] = days if same and days is not None else []
        self._days_changed = not same

    def add(self, observation: OpticsObservation, at: datetime) -> list[SamplingEvent]:
        """Take an interval's figures in; what a person should know of."""
        self._turn_to(int(at.timestamp() // _DAY_S))
        figures = observation.background
        values: dict[str, float | None] = {
            "level": figures.level,
            "saturated": figures.saturated,
            "sharpness": observation.sharpness,
        }
        if observation.clean:
            values |= {"dirt": figures.dirt, "fringes": figures.fringes, "stuck": self._stuck(figures.marks)}
        notices = [self._take(name, value, at) for name, value in values.items() if value is not None]
        return [notice for notice in notices if notice is not None]

    def to_state(self) -> dict[str, str]:
        """What has changed since the last call, for the store."""
        changed = {STATE_KEY: msgspec.json.encode(self._state).decode()}
        if self._days_changed:
            changed[DAYS_KEY] = msgspec.json.encode(self._days).decode()
            self._days_changed = False
        return changed

    def values(self) -> dict[str, float | None]:
        """Departure of each figure from its baseline, as of the last block; None where there is none yet."""
        return {name: _rounded(self._series(name).last) for name in FIGURES}

    def days(self) -> list[FigureDays]:
        """All figures over the last two months. For any thread: nothing that is looked at here is changed in place."""
        state, past = self._state, self._days
        found: list[FigureDays] = []
        for name, figure in FIGURES.items():
            series = state.series.get(name) or _Series()
            days = [(_date(day.day), day.values[name]) for day in past if name in day.values]
            blocks, mean = series.today
            days += [(_date(state.day), _rounded(mean) or 0.0)] if blocks else []
            found.append(FigureDays(
                name=name, words=figure.words, allowed=figure.allowed, worse=figure.worse, remedy=figure.remedy, base=series.base,
                relative=figure.relative, drifting_since=series.drifting_since, days=days,
            ))  # fmt: skip
        return found

    def drifting(self) -> dict[str, str]:
        """Since when each figure drifts; empty text where it doesn't."""
        return {name: self._series(name).drifting_since for name in FIGURES}

    def new_spots(self) -> int:
        """Places where something stuck since the baseline was taken."""
        return cv2.connectedComponents(self.new_map().astype(np.uint8), connectivity=8)[0] - 1

    def new_map(self) -> NDArray[np.bool_]:
        """bool [GRID, GRID]: where something sticks that did not when the baseline was taken."""
        if self._state.stuck_map is None or self._state.first_map is None:
            return np.zeros((GRID, GRID), np.bool_)
        return _unpacked(self._state.stuck_map) & ~_unpacked(self._state.first_map)

    def checks(self) -> list[Check]:
        """One for each figure."""
        return [self._check(name) for name in FIGURES]

    def slope(self, name: str) -> Slope | None:
        """Change of a figure's departure per day over the last fortnight, with its 99 % interval; None before six days."""
        days = self._fortnight(name)
        return theil_sen([day for day, _ in days], [value for _, value in days]) if len(days) >= _LEAST_CREEP_DAYS else None

    def _fortnight(self, name: str) -> list[tuple[int, float]]:
        """Days and their mean departures, today's as far as it has come."""
        days = [(day.day, day.values[name]) for day in self._days if name in day.values]
        blocks, mean = self._series(name).today
        if blocks:
            days.append((self._state.day, mean))
        return days[-_CREEP_DAYS:]

    def _series(self, name: str) -> _Series:
        return self._state.series.setdefault(name, _Series())

    def _turn_to(self, day: int) -> None:
        """Close the day before."""
        state = self._state
        if day == state.day:
            return
        values = {name: _rounded(s.today[1]) or 0.0 for name, s in state.series.items() if s.today[0]}
        # Days of a clock that was ahead would never be reached again.
        days = [kept for kept in self._days if kept.day < min(day, state.day)]
        if values and state.day < day:
            days.append(_Day(day=state.day, values=values))
        self._days, self._days_changed, state.day = days[-_MOST_DAYS:], True, day
        for series in state.series.values():
            series.today = (0, 0.0)

    def _stuck(self, marks: NDArray[np.bool_]) -> float | None:
        """Share of the cells marked in every one of the last backgrounds; None where there are too few."""
        state = self._state
        state.maps = [*state.maps, _packed(marks)][-_SAME_PLACE:]
        if len(state.maps) < _SAME_PLACE:
            return None
        stays = np.logical_and.reduce([_unpacked(text) for text in state.maps])
        state.stuck_map = _packed(stays)
        if self._series("stuck").base is None:
            state.first_map = state.stuck_map
        return float(stays.mean())

    def _take(self, name: str, value: float, at: datetime) -> SamplingEvent | None:
        figure, series = FIGURES[name], self._series(name)
        if series.base is None:
            series.first.append(value)
            if len(series.first) == figure.first:
                self._settle(name, series)
            return None
        series.block.append(_departure(figure, value, series.base))
        if len(series.block) < figure.block:
            return None
        series.last, series.block = statistics.median(series.block), []
        series.mean += _MEAN_WEIGHT * (series.last - series.mean)
        blocks, mean = series.today
        series.today = (blocks + 1, mean + (series.last - mean) / (blocks + 1))
        return self._judged(name, series, at)

    def _settle(self, name: str, series: _Series) -> None:
        """The baseline stands."""
        figure = FIGURES[name]
        base = self._commissioned.get(name, statistics.median(series.first))
        off = [_departure(figure, value, base) for value in series.first]
        middle = statistics.median(off)
        scatter = 1.4826 * statistics.median(abs(value - middle) for value in off)
        series.base, series.scatter, series.first = base, max(scatter, _LEAST_SCATTER * figure.allowed), []

    def _judged(self, name: str, series: _Series, at: datetime) -> SamplingEvent | None:
        """Whether the figure drifts, and what is told of it."""
        figure = FIGURES[name]
        if series.drifting_since:
            off_at_all = _badness(figure, series.last or 0.0) > figure.allowed / 3
            series.mended = 0 if off_at_all else series.mended + 1
            if series.mended < _MENDED_BLOCKS:
                return None
            series.drifting_since, series.mean, series.mended = "", series.last or 0.0, 0
            return SamplingEvent(
                "optics_restored", "info", f"{figure.words} is back: {self._words(name)}", _rounded(series.last), _unit(figure)
            )
        if not self._off(name, series):
            return None
        series.drifting_since = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return SamplingEvent(
            "optics_drift", "warning", f"the optics drift: {self._words(name)}. {figure.remedy}", _rounded(series.last), _unit(figure)
        )  # fmt: skip

    def _off(self, name: str, series: _Series) -> bool:
        figure = FIGURES[name]
        block = _MEDIAN_LOSS * series.scatter / figure.block**0.5
        mean = block * (_MEAN_WEIGHT / (2 - _MEAN_WEIGHT)) ** 0.5
        at_once = _badness(figure, series.last or 0.0) > figure.allowed + _BLOCK_SIGMAS * block
        on_average = _badness(figure, series.mean) > figure.allowed + _MEAN_SIGMAS * mean
        return at_once or on_average or self._creeps(name)

    def _creeps(self, name: str) -> bool:
        figure, slope = FIGURES[name], self.slope(name)
        if not figure.creeps or slope is None or not slope.certain:
            return False
        moved = statistics.median(value for _, value in self._fortnight(name)[-3:])
        far, onwards = _badness(figure, moved) > figure.allowed / 2, slope.value * moved > 0
        return far and onwards and _badness(figure, slope.value) * _MONTH_DAYS > figure.allowed

    def _words(self, name: str) -> str:
        """Where a figure stands, and how fast it goes."""
        figure, series, slope = FIGURES[name], self._series(name), self.slope(name)
        change = series.last or 0.0
        base = series.base or 0.0
        now = base * (1 + change) if figure.relative else base + change
        text = (
            f"{figure.words} {change:+.0%} ({base:.3g} to {now:.3g})"
            if figure.relative
            else f"{figure.words} {base:.2%} to {now:.2%}"
        )
        if name == "stuck" and (spots := self.new_spots()):
            text += f", {spots} new {'places' if spots > 1 else 'place'}"
        if slope is not None and slope.certain:
            text += f", {slope.value:+.2%} a day ({slope.low:+.2%} to {slope.high:+.2%})"
        return text

    def _check(self, name: str) -> Check:
        figure, series = FIGURES[name], self._series(name)
        if series.base is None or series.last is None:
            seen = len(series.first) if series.base is None else figure.first
            return Check(
                name=figure.words, status="not evaluated", message=f"baseline from {seen} of {figure.first} looks",
            )  # fmt: skip
        drifts = bool(series.drifting_since)
        since = f" since {series.drifting_since}" if drifts else ""
        return Check(
            name=figure.words, status="warning" if drifts else "ok", value=_rounded(series.last), unit=_unit(figure),
            message=self._words(name) + since, remedy=figure.remedy if drifts else "",
        )  # fmt: skip


def stored_checks(get: Callable[[str], str | None]) -> list[Check]:
    """Checks of what a store holds; none where it holds no trend."""
    state = _read(get(STATE_KEY), _TrendState)
    return [] if state is None else OpticsTrend(get, state.key).checks()


def forgotten() -> dict[str, str]:
    """The store's state after which the baseline is taken anew."""
    return {STATE_KEY: "", DAYS_KEY: ""}


def _departure(figure: _Figure, value: float, base: float) -> float:
    return value / base - 1 if figure.relative and base else value - base


def _badness(figure: _Figure, departure: float) -> float:
    return abs(departure) if figure.worse == 0 else figure.worse * departure


def _unit(figure: _Figure) -> str:
    return "of its baseline" if figure.relative else "beyond its baseline"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY_S, UTC).date().isoformat()


def _packed(cells: NDArray[np.bool_]) -> str:
    return np.packbits(cells).tobytes().hex()


def _unpacked(text: str) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(np.bool_).reshape(GRID, GRID)


def _read(text: str | None, kind: type[_T]) -> _T | None:
    """What the store holds; None where it is another version's."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None
