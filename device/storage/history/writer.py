"""Records into the history, and sums over ten minutes, hours and days.

The sums of a level hold all intervals up to a number, `rolled`; a span's sums are written once, when an interval begins in
another one. Until then whoever asks sums the intervals behind that number. So a crash leaves nothing to mend, and clocks that
jump do no harm.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from device.records import Detection, Event, Interval
from device.storage.history.entries import IntervalEntry, bin_of, particle_row, to_us
from device.storage.history.tables import DAY_US, LEVELS, Level, count_sums, interval_sums
from device.storage.rows import Record

__all__ = ["HistoryWriter", "Mark"]

_KEEP_INTERVALS = 300_000
"""One by one: some 160 MB with nine classes; more than a year of one in two minutes. Their sums stay."""
_KEEP_TEN_MINUTES = 160_000
"""Three years of them, without a pause."""
_KEEP_EVENTS = 20_000
_PARTICLE_BYTES = 36
"""Of the file for each, at most: 28 to 34 as measured."""
_LONGEST_MESSAGE = 2000
_COLUMNS = "label, day, score, interval, behind, esd, esd_uncertainty, z"
_MOST_FRESH = 100_000
"""Particles that lie in the order of storing: whoever asks looks through all of them."""

Mark = tuple[int, str, int]
"""Position in the outbox, spool and number of the last record that was taken in."""

_ADD_SUMS = """ ON CONFLICT (level, start) DO UPDATE SET intervals = intervals + excluded.intervals, looked = looked + excluded.looked,
    failed = failed + excluded.failed, covered_s = covered_s + excluded.covered_s, dead_time_s = dead_time_s + excluded.dead_time_s,
    volume_m3 = volume_m3 + excluded.volume_m3, volume_ml = volume_ml + excluded.volume_ml,
    analysed = analysed + excluded.analysed, dropped = dropped + excluded.dropped, qc = max(qc, excluded.qc)"""
_ADD_LABEL_SUMS = """ ON CONFLICT (level, unit, label, start) DO UPDATE SET n = n + excluded.n, volume = volume + excluded.volume,
    particles = particles + excluded.particles, squares = squares + excluded.squares, exposure = exposure + excluded.exposure,
    spread = spread + excluded.spread"""


class HistoryWriter:
    """One connection, one thread; sqlite3.Error where the disk or the file fails, and then nothing of a call was kept."""

    def __init__(self, database: sqlite3.Connection, particles_bytes: int) -> None:
        """`particles_bytes`: of the file, for the particles' few columns; 0: none are kept."""
        self._database, self._most_particles = database, particles_bytes // _PARTICLE_BYTES
        self._load()

    def _load(self) -> None:
        rows = self._database.execute
        self._labels: dict[str, int] = dict(rows("SELECT name, number FROM labels").fetchall())
        self._spools: dict[str, int] = dict(rows("SELECT name, number FROM spools").fetchall())
        self._rolled = [int(self.state(f"rolled_{level.number}") or 0) for level in LEVELS]
        self._open = [self._span_behind(level) for level in LEVELS]
        self._particles = int(self.state("particles") or 0)
        self._fresh = int(rows("SELECT count(*) FROM fresh_particles").fetchone()[0])
        mark = self.state("mark")
        self.mark: Mark | None = None if mark is None else msgspec.json.decode(str(mark), type=Mark)
        """How far it has got."""

    def state(self, key: str) -> str | int | None:
        """A value kept beside the rows."""
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def keep(self, **state: str | int) -> None:
        """Values beside the rows."""
        self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(state.items()))

    def close(self) -> None:
        """Safe to call twice."""
        self._database.close()

    @property
    def intervals(self) -> int:
        """Held one by one."""
        return int(self._database.execute("SELECT count(*) FROM intervals").fetchone()[0])

    def loose_intervals(self, most: int) -> list[tuple[str, int, int]]:
        """(spool, seq, start in us) of the newest for whose clock nobody vouched."""
        query = """SELECT name, seq, start_us FROM intervals JOIN spools ON spools.number = spool WHERE loose
            ORDER BY intervals.number DESC LIMIT ?"""
        return self._database.execute(query, (most,)).fetchall()

    def last_events(self, most: int) -> list[tuple[str, int, int]]:
        """(spool, seq, since in us) of the newest."""
        query = """SELECT name, seq, since_us FROM events JOIN spools ON spools.number = spool ORDER BY events.number DESC LIMIT ?"""
        return self._database.execute(query, (most,)).fetchall()

    # -- in ---------------------------------------------------------------------------------------------------------------

    def add(self, rows: Sequence[tuple[int, Record | None]], key: Callable[[int], tuple[str, int]]) -> bool:
        """Take in records by their positions (None: one that can't be read), in order; what is there already is passed over.

        Detections whose interval is not among them are left for the next call: False where that is all there was.
        """
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                taken = self._take(rows)
                if taken is not None:
                    mark = (taken, *key(taken))
                    self.keep(mark=msgspec.json.encode(mark).decode(), particles=self._particles)
                    self.mark = mark
        except BaseException:
            self._load_again()
            raise
        return taken is not None

    def _load_again(self) -> None:
        try:
            self._load()
        except sqlite3.Error:
            return  # the next use says so again

    def _take(self, rows: Iterable[tuple[int, Record | None]]) -> int | None:
        """The position up to which they were taken in."""
        taken: int | None = None
        waiting: list[Detection] = []
        for position, record in rows:
            if isinstance(record, Detection):
                waiting.append(record)
                continue
            if isinstance(record, Interval):
                self._add_interval(record, [found for found in waiting if found.interval_id == record.id])
            elif isinstance(record, Event):
                self._add_event(record)
            waiting.clear()
            taken = position
        return taken

    def _add_interval(self, record: Interval, detections: list[Detection]) -> None:
        entry, frames = IntervalEntry.of(record), record.frames
        row = (
            self._spool(record.spool_id), record.seq, entry.start_us, entry.end_us, entry.unit, entry.volume, record.dead_time_s,
            record.qc, frames.captured, frames.analysed, frames.dropped, frames.unchecked, entry.loose,
        )  # fmt: skip
        names = "spool, seq, start_us, end_us, unit, volume, dead_time_s, qc, captured, analysed, dropped, unchecked, loose"
        statement = f"INSERT OR IGNORE INTO intervals ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  no input
        added = self._database.execute(statement, row)
        if added.rowcount < 1:
            return
        number = int(added.lastrowid or 0)
        counts = [(number, self._label(c.label), c.n, c.weight, c.uncertainty) for c in entry.counts]
        self._database.executemany("INSERT INTO counts VALUES (?, ?, ?, ?, ?)", counts)
        self._add_particles(number, record.seq, entry.start_us // DAY_US, detections)
        self._close_spans(number, entry.start_us)

    def _add_particles(self, number: int, seq: int, day: int, detections: list[Detection]) -> None:
        labels = [self._label(found.label) for found in detections]
        self._count_sizes(labels, detections, day, 1)
        if not self._most_particles:
            return
        rows = [
            (label, day, score, number, *rest)
            for label, (score, *rest) in zip(
                labels, (particle_row(found, seq - found.seq) for found in detections), strict=True
            )
        ]
        statement = f"INSERT INTO fresh_particles ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  no input
        self._database.executemany(statement, rows)
        self._particles += len(rows)
        self._fresh += len(rows)
        if self._fresh > _MOST_FRESH:
            self._sort_particles()
        if self._particles > self._most_particles:
            self._drop_particles()

    def _count_sizes(self, labels: list[int], detections: list[Detection], day: int, by: int) -> None:
        found = Counter((label, day, bin_of(d.esd_um)) for label, d in zip(labels, detections, strict=True))
        rows = [(*key, by * n) for key, n in found.items()]
        statement = "INSERT INTO sizes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
        self._database.executemany(statement, rows)

    def _add_event(self, record: Event) -> None:
        row = (
            self._spool(record.spool_id), record.seq, to_us(record.since), record.id, record.code, record.severity,
            record.message[:_LONGEST_MESSAGE], record.value, record.unit,
        )  # fmt: skip
        statement = """INSERT OR IGNORE INTO events (spool, seq, since_us, id, code, severity, message, value, unit)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
        self._database.execute(statement, row)

    def _label(self, name: str) -> int:
        return _numbered(self._database, "labels", self._labels, name)

    def _spool(self, name: str) -> int:
        return _numbered(self._database, "spools", self._spools, name)

    # -- sums -------------------------------------------------------------------------------------------------------------

    def _span_behind(self, level: Level) -> int | None:
        """Where the first interval begins that is not in the level's sums."""
        query = "SELECT start_us FROM intervals WHERE number > ? ORDER BY number LIMIT 1"
        row = self._database.execute(query, (self._rolled[level.number],)).fetchone()
        return None if row is None else int(row[0]) // level.length_us

    def _close_spans(self, number: int, start_us: int) -> None:
        """An interval was added: spans of time that it is not in are over."""
        for level in LEVELS:
            span, before = start_us // level.length_us, self._open[level.number]
            if before is not None and before != span:
                self._roll(level, number - 1)
                if level is LEVELS[-1]:
                    self._sort_particles()
                    self._let_go()
            self._open[level.number] = span

    def _roll(self, level: Level, last: int) -> None:
        """Add the intervals up to this one to the sums."""
        asked = {"level": level.number, "length": level.length_us, "after": self._rolled[level.number], "last": last}
        self._add_sums("number > :after AND number <= :last", asked)
        self._rolled[level.number] = last
        self.keep(**{f"rolled_{level.number}": last})

    def _add_sums(self, where: str, asked: dict[str, int]) -> None:
        self._database.execute(f"INSERT INTO sums {interval_sums(where)}{_ADD_SUMS}", asked)
        self._database.execute(f"INSERT INTO label_sums {count_sums(where)}{_ADD_LABEL_SUMS}", asked)

    # -- stamps that were corrected ---------------------------------------------------------------------------------------

    def redate(self, records: Iterable[Record | None]) -> int:
        """Records as they are after their stamps were corrected; returns how many intervals and events moved."""
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                return self._redate(records)
        except BaseException:
            self._load_again()
            raise

    def _redate(self, records: Iterable[Record | None]) -> int:
        moved = 0
        touched: set[tuple[int, int]] = set()
        waiting: list[Detection] = []
        for record in records:
            if isinstance(record, Detection):
                waiting.append(record)
                continue
            if isinstance(record, Interval):
                spans = self._move(record, [found for found in waiting if found.interval_id == record.id])
                touched |= spans
                moved += bool(spans)
            elif isinstance(record, Event):
                key = (to_us(record.since), self._spool(record.spool_id), record.seq, to_us(record.since))
                statement = "UPDATE events SET since_us = ? WHERE spool = ? AND seq = ? AND since_us <> ?"
                moved += self._database.execute(statement, key).rowcount
            waiting.clear()
        for number, span in touched:
            self._sum_again(LEVELS[number], span)
        if moved:
            self._open = [self._span_behind(level) for level in LEVELS]
        return moved

    def _move(self, record: Interval, detections: list[Detection]) -> set[tuple[int, int]]:
        """Spans (level, start) that it left or came into."""
        key = (self._spool(record.spool_id), record.seq)
        row = self._database.execute(
            "SELECT number, start_us, loose FROM intervals WHERE spool = ? AND seq = ?", key
        ).fetchone()
        entry = IntervalEntry.of(record)
        if row is None or (row[1], bool(row[2])) == (entry.start_us, entry.loose):
            return set()
        number, before_us = int(row[0]), int(row[1])
        values = (entry.start_us, entry.end_us, entry.loose, number)
        self._database.execute("UPDATE intervals SET start_us = ?, end_us = ?, loose = ? WHERE number = ?", values)
        days = before_us // DAY_US, entry.start_us // DAY_US
        if days[0] != days[1]:
            labels = [self._label(found.label) for found in detections]
            self._count_sizes(labels, detections, days[0], -1)
            self._count_sizes(labels, detections, days[1], 1)
            self._database.execute("DELETE FROM sizes WHERE n <= 0")
            self._sort_particles()
            statement = "UPDATE particles SET day = ? WHERE label = ? AND day = ? AND interval = ?"
            self._database.executemany(statement, [(days[1], label, days[0], number) for label in set(labels)])
        return {(level.number, us // level.length_us) for level in LEVELS for us in (before_us, entry.start_us)}

    def _sum_again(self, level: Level, span: int) -> None:
        """The sums of one span, from its intervals."""
        asked = {
            "level": level.number, "length": level.length_us, "span": span, "last": self._rolled[level.number],
            "since": span * level.length_us, "until": (span + 1) * level.length_us,
        }  # fmt: skip
        for table in ("sums", "label_sums"):
            self._database.execute(f"DELETE FROM {table} WHERE level = :level AND start = :span", asked)  # noqa: S608  no input
        self._add_sums("start_us >= :since AND start_us < :until AND number <= :last", asked)

    # -- room -------------------------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        """What there is too much of, the oldest first; once a day."""
        newest = self._database.execute("SELECT max(number) FROM intervals").fetchone()[0] or 0
        last = min(newest - _KEEP_INTERVALS, *self._rolled)
        if last > 0:
            self._database.execute("DELETE FROM counts WHERE interval <= ?", (last,))
            self._database.execute("DELETE FROM intervals WHERE number <= ?", (last,))
        self._database.execute("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (_KEEP_EVENTS,))
        query = "SELECT start FROM sums WHERE level = 0 ORDER BY start DESC LIMIT 1 OFFSET ?"
        if (row := self._database.execute(query, (_KEEP_TEN_MINUTES,)).fetchone()) is not None:
            self._database.execute("DELETE FROM sums WHERE level = 0 AND start <= ?", row)
            self._database.execute("DELETE FROM label_sums WHERE level = 0 AND start <= ?", row)

    def _sort_particles(self) -> None:
        """Those of the day that is over, in the order of their scores."""
        if self._fresh:
            order = "label, day, score, interval, behind"
            query = f"INSERT INTO particles SELECT {_COLUMNS} FROM fresh_particles ORDER BY {order}"  # noqa: S608  no input
            self._database.execute(query)
            self._database.execute("DELETE FROM fresh_particles")
            self._fresh = 0

    def _drop_particles(self) -> None:
        """The oldest day's; what is left of this one where it is the only one."""
        self._sort_particles()
        labels = list(self._labels.values())
        query = "SELECT min(day) FROM particles WHERE label = ?"
        oldest = [day for label in labels if (day := self._database.execute(query, (label,)).fetchone()[0]) is not None]
        for label in labels:
            statement = "DELETE FROM particles WHERE label = ? AND day = ?"
            self._particles -= self._database.execute(statement, (label, min(oldest))).rowcount


def _numbered(database: sqlite3.Connection, table: str, known: dict[str, int], name: str) -> int:
    number = known.get(name)
    if number is None:
        number = int(database.execute(f"INSERT INTO {table} (name) VALUES (?)", (name,)).lastrowid or 0)  # noqa: S608  no input
        known[name] = number
    return number
