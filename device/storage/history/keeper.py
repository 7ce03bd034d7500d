"""Keeps the history up with the outbox, in a thread of its own: whatever becomes of its file, the sampler doesn't notice.

What was committed is offered and mostly taken from there; everything that was not (after a crash, too many at once, a disk that
was full, a file that was lost) is read from the outbox. A file that is damaged is set aside and another one built.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from device.errors import HolonodeError
from device.records import Detection, Event, Interval, iso_time
from device.storage.damaged import KEPT, DamagedCopies, next_number
from device.storage.history.entries import to_us
from device.storage.history.reader import HistoryProgress, HistoryReader
from device.storage.history.tables import NotHistoryError, database_in, open_for_writing
from device.storage.history.writer import HistoryWriter
from device.storage.outbox import Outbox
from device.storage.rows import Record
from device.storage.sums import is_damage

__all__ = ["HistoryKeeper", "ReportCallback"]

log = logging.getLogger("holonode")

STATE_KEY = "history"
"""In the outbox: that there is one, so that one which is gone is missed."""
_MOST_OFFERED = 64
"""Commits; of more the outbox tells."""
_AT_ONCE = 500
"""Records read from the outbox, whose lock is held meanwhile."""
_BREATH_S = 0.02
"""Between two such readings: the sampler goes first."""
_LOOK_EVERY_S = 30.0
_AGAIN_S = 10.0
"""After trouble with the disk."""
_LOOSE_AT_START = 2000
"""Intervals that may have been dated back just before the end of the last run."""
_LOOSE = 100_000
_EVENTS_LOOKED_AT = 500


class ReportCallback(Protocol):
    """As `service.recorder.Recorder.event`."""

    def __call__(self, code: str, severity: str, message: str, value: float | None = None, unit: str | None = None) -> None:
        """Keep an event."""
        ...


class HistoryKeeper:
    """One history, beside one outbox."""

    def __init__(
        self, outbox: Outbox, report: ReportCallback, *, particles_bytes: int = 256 * 2**20, min_free_bytes: int = 0
    ) -> None:
        """`report` hears of what a person should know; `particles_bytes` of the file are for particles one by one.

        With less than `min_free_bytes` of free disk nothing is written: the outbox goes first.
        """
        self.reader = HistoryReader(outbox.folder, self.progress, self.damaged)
        """For who wants to know, in any thread."""
        self._outbox, self._report = outbox, report
        self._particles_bytes, self._min_free_bytes = particles_bytes, min_free_bytes
        self._path = database_in(outbox.folder)
        self._writer: HistoryWriter | None = None
        self._file: tuple[int, int] = (0, 0)
        self._cursor = 0  # position of the last record that is in
        self._offered: deque[Sequence[Record]] = deque(maxlen=_MOST_OFFERED)
        self._damage = self._trouble = self._rebuilding = ""
        self._look_again = _LOOSE_AT_START
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="history", daemon=True)

    # -- from any thread --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """In the background."""
        self._thread.start()

    def take(self, records: Sequence[Record]) -> None:
        """These were committed; never waits."""
        self._offered.append(records)
        self._wake.set()

    def damaged(self) -> None:
        """Somebody who read found the file damaged."""
        self._damage = self._damage or "a page of it can't be read"
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """What was offered is taken; safe to call twice, and without a start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def behind(self) -> int:
        """Records that are not in the history yet."""
        return max(self._outbox.following - 1 - self._cursor, 0)

    def progress(self) -> HistoryProgress:
        """How it gets on."""
        return HistoryProgress(self.behind, self._trouble or (f"is built anew: {self._rebuilding}" if self._rebuilding else ""))

    # -- the thread -------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            self.step()
            self._wake.wait(_AGAIN_S if self._trouble else _LOOK_EVERY_S)
            self._wake.clear()
        self.step()
        self._close()

    def step(self) -> None:
        """Everything that is to be done at the moment; nothing is raised."""
        try:
            self._do()
        except NotHistoryError as error:
            self._set_aside(str(error))
        except sqlite3.Error as error:
            if is_damage(error):
                self._set_aside(str(error))
            else:
                self._failed(str(error))
        except (HolonodeError, OSError) as error:
            self._failed(str(error))
        except Exception as error:
            # The edge of this thread: the sampler needs no history.
            log.exception("the history broke")
            self._failed(repr(error))

    def _do(self) -> None:
        if self._damage:
            self._set_aside(self._damage)
        if self._writer is not None and not self._is_there():
            self._set_aside("its file is gone")
        free = shutil.disk_usage(self._outbox.folder).free
        if free < self._min_free_bytes:
            self._failed(f"{free // 2**20} MB free, {self._min_free_bytes // 2**20} MB wanted")
            return
        writer = self._writer or self._opened()
        self._take_offered(writer)
        self._catch_up(writer)
        if self._look_again and not self.behind:
            self._dated_back(writer, self._look_again)
            self._look_again = 0
        self._went_well(writer)

    def _is_there(self) -> bool:
        try:
            found = self._path.stat()
        except OSError:
            return False
        return self._file == (found.st_dev, found.st_ino)

    def _opened(self) -> HistoryWriter:
        held = self._path.stat().st_size if self._path.exists() else None
        if not held and self._outbox.get_state(STATE_KEY) and not self._rebuilding:
            self._rebuilding = "its file is gone" if held is None else "its file is empty"
        database = open_for_writing(self._path, self._outbox.device_id)
        try:
            self._writer = writer = HistoryWriter(database, self._particles_bytes)
        except BaseException:
            database.close()
            raise
        found = self._path.stat()
        self._file, self._cursor = (found.st_dev, found.st_ino), 0
        # A mark of another outbox, or of one that was salvaged: all that it holds is looked through.
        if writer.mark and writer.mark[0] < self._outbox.following and self._outbox.key(writer.mark[0]) == writer.mark[1:]:
            self._cursor = writer.mark[0]
        if self._rebuilding:
            writer.keep(rebuilt_at=iso_time(self._outbox.clock.now()), rebuilt_why=self._rebuilding[:300])
        return writer

    def _take_offered(self, writer: HistoryWriter) -> None:
        rows: list[tuple[int, Record | None]] = []
        while self._offered:
            for record in self._offered.popleft():
                place = self._outbox.places(record.spool_id, record.seq, record.seq)
                if place and place[0] == self._cursor + len(rows) + 1:
                    rows.append((place[0], record))
        self._add(writer, rows)

    def _catch_up(self, writer: HistoryWriter) -> None:
        at_once = _AT_ONCE
        while self._cursor + 1 < (following := self._outbox.following):
            rows = self._outbox.records(range(self._cursor + 1, following), at_once)
            if not rows:  # they were dropped for want of room
                rows = [(following - 1, None)]
            if not self._add(writer, rows):
                if len(rows) < at_once:
                    break
                at_once *= 4
                continue
            if self._stopping.wait(_BREATH_S):
                break

    def _add(self, writer: HistoryWriter, rows: Sequence[tuple[int, Record | None]]) -> bool:
        if not rows or not writer.add(rows, self._outbox.key):
            return False
        self._cursor = writer.mark[0] if writer.mark else 0
        if any(isinstance(record, Event) and record.code == "clock_synchronised" for _, record in rows):
            self._look_again = _LOOSE
        return True

    def _went_well(self, writer: HistoryWriter) -> None:
        self._trouble = ""
        if self._rebuilding and not self.behind:
            why, self._rebuilding = self._rebuilding, ""
            count = writer.intervals
            message = (
                f"The history was lost or damaged ({why}): it was built anew from the {count} intervals that the store still holds. "
                "Records are not touched by it."
            )
            self._report("history_rebuilt", "warning", message, float(count), "intervals")
        if not self._outbox.get_state(STATE_KEY):
            self._outbox.keep({STATE_KEY: "1"})

    def _failed(self, why: str) -> None:
        before, self._trouble = self._trouble, why
        self._close()
        if not before and not self._stopping.is_set():
            message = f"The history can't be written ({why}). Records are kept; it catches up from them."
            self._report("history_behind", "warning", message)

    def _close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None

    def _set_aside(self, why: str) -> None:
        """Out of the way, for a person; the next step begins another one."""
        self._close()
        self._damage, self._rebuilding, self._cursor = "", why, 0
        kept = self._path.with_name(KEPT.format(next_number(self._path.parent)))
        log.warning("the history is damaged (%s): set aside as %s", why, kept)
        wal, shared = (self._path.with_name(self._path.name + end) for end in ("-wal", "-shm"))
        with contextlib.suppress(FileNotFoundError):
            shared.unlink()
        for path, to in ((self._path, kept), (wal, kept.with_suffix(".wal"))):
            with contextlib.suppress(FileNotFoundError):
                path.rename(to)
        DamagedCopies(self._path.parent).keep(1)
        self._wake.set()

    # -- stamps that were corrected ---------------------------------------------------------------------------------------

    def _dated_back(self, writer: HistoryWriter, most: int) -> None:
        """Take over the stamps of intervals and events that the outbox has corrected."""
        for keys in (writer.loose_intervals(most), writer.last_events(_EVENTS_LOOKED_AT)):
            for spool_id, seq, start_us in keys:
                if self._stopping.is_set():
                    return
                moved = self._moved(spool_id, seq, start_us)
                if moved:
                    writer.redate(moved)

    def _moved(self, spool_id: str, seq: int, start_us: int) -> list[Record]:
        """The record with the detections before it, where its stamps changed."""
        place = self._outbox.places(spool_id, seq, seq)
        if not place:
            return []
        found = self._outbox.records(place, 1)
        record = found[0][1] if found else None
        if isinstance(record, Event):
            return [record] if to_us(record.since) != start_us else []
        if not isinstance(record, Interval) or (to_us(record.started_at) == start_us and not record.clock.synchronised):
            return []
        many = sum(count.n for label, count in record.counts.items() if label != "total")
        before = self._outbox.records(range(max(place[0] - many, 1), place[0]), many) if many else []
        return [*(each for _, each in before if isinstance(each, Detection)), record]
