"""An open store that is kept sound: what turns out to be damaged while it is used is salvaged, and the use goes on."""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from device.errors import TransientError
from device.storage.backdate import rekeyed
from device.storage.database import settle
from device.storage.opening import StoreEvent, StoreOwner, open_store, read_state, turn_epoch, write_state
from device.storage.reading import StoreReader
from device.storage.rot import CONTENT, is_whole, put_back, set_apart
from device.storage.rows import OutboxCounters
from device.storage.salvage import hold_log, spans
from device.storage.sums import is_damage, record_sum

__all__ = ["SoundStore"]

Answer = TypeVar("Answer")

_MEND_AGAIN_S = 5.0
"""After a damaged store couldn't be salvaged, for want of room say."""

_LOOKED_FOR_S = 3600.0
"""For which the pages are taken for sound after a look at all of them, which reads the whole file."""

log = logging.getLogger("holonode")


class SoundStore:
    """One database, its spools, and what happened to them."""

    def __init__(
        self, folder: Path, owner: Callable[[], StoreOwner], counters: OutboxCounters, monotonic: Callable[[], float]
    ) -> None:
        """`owner` says whose store it is, and when it is asked."""
        self.folder = folder
        self.notices: list[StoreEvent] = []
        """What happened to the store since it was opened."""
        self.untold: list[StoreEvent] = []
        """Of these, what no event tells yet."""
        self.on_mended: Callable[[], None] = lambda: None
        self._owner, self._counters, self._monotonic = owner, counters, monotonic
        self._broken, self._mend_at, self._looked_at = "", -math.inf, -math.inf
        self._open()

    def _open(self) -> None:
        opened = open_store(self.folder, self._owner(), self._broken or None)
        self._connected = opened.connected
        self.database, self.settled = opened.connected.database, opened.connected.settled
        self.spools, self.next_position = opened.spools, opened.next_position
        self.summed_from = int(read_state(self.database, "summed_from") or 1)
        """Rows from this position on have checksums."""
        self.older_spool = not opened.said and read_state(self.database, "spool_id") == self.spool_id
        """Whether the current spool is from before this opening."""
        self.untold += opened.untold
        self.notices += [*opened.said, *opened.untold]
        self._counters.salvages += len(opened.said)
        self._counters.spools += bool(opened.said) or any(notice.code == "store_copied" for notice in opened.untold)

    @property
    def spool_id(self) -> str:
        """Where records are added."""
        return self.spools.current.spool_id

    def use(self, act: Callable[[], Answer]) -> Answer:
        """What `act` does on the database; where that turns out to be damaged it is salvaged first, and `act` called again.

        sqlite3.OperationalError where the disk refuses, TransientError where there is no sound store at the moment.
        """
        if not self._broken:
            try:
                return act()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._broken = str(error)
        self._mend()
        return act()

    def _mend(self) -> None:
        if self._monotonic() < self._mend_at:
            raise TransientError("the store is damaged and can't be salvaged yet", where=self.folder, got=self._broken)
        self._mend_at = self._monotonic() + _MEND_AGAIN_S
        with contextlib.suppress(OSError):  # closing, SQLite drops the log
            hold_log(self.folder)
        self._connected.close()
        self._open()
        self._broken, self._mend_at = "", -math.inf
        self.on_mended()

    def own_state(self, waiting: int) -> dict[str, str]:
        """What is kept with every commit; `waiting`: rows in the table of what waits."""
        return {
            "next_seq": str(self.next_position), "spool_id": self.spool_id, "spools": self.spools.to_json(),
            "waiting": str(waiting), "summed_from": str(self.summed_from),
        }  # fmt: skip

    def turn_epoch(self, waiting: int, *, opened: bool) -> None:
        """Let copies that were made before be known as such."""
        if not self.settled:
            return
        own = {"device_id": self._owner().device_id, **self.own_state(waiting)}
        with contextlib.suppress(sqlite3.OperationalError):  # of a full disk: the epoch before holds on
            turn_epoch(self.database, self.folder, own, opened=opened)
            if opened:
                settle(self.database)  # a log that is lost later is missed then

    def set_apart(self, rotten: Sequence[int]) -> bool:
        """Put rotten records back or tell of them in their places; False where the disk won't take that.

        sqlite3.DatabaseError where pages are bent: a record can be whole and out of SQLite's reach, salvage finds it.
        """
        self._need_sound_pages()
        owner = self._owner()
        try:
            lost = put_back(self.database, self.folder, rotten, self.spools)
            set_apart(self.database, lost, owner.device_id, owner.boot_id, self.spools, owner.now)
        except sqlite3.OperationalError as error:
            if is_damage(error):
                raise
            return False
        if back := sorted(set(rotten) - set(lost)):
            log.warning("Damaged in the store and put back from its log: records %s.", spans(back, self.spools))
        if lost:
            self._counters.rotten += len(lost)
            message = f"Damaged in the store before they were delivered: records {spans(lost, self.spools)}."
            self._notice(StoreEvent("record_lost", message, float(len(lost)), "records"))
        return True

    def _need_sound_pages(self) -> None:
        if self._monotonic() < self._looked_at + _LOOKED_FOR_S:
            return
        if found := StoreReader(self.database).trouble():
            raise sqlite3.DatabaseError(found)
        self._looked_at = self._monotonic()

    def begin_spool(self, base: int, why: str) -> None:
        """A spool behind this position; what was made behind it, which was never sent, gets keys in it."""
        spools = self.spools.after(base)
        with self.database:
            self.database.execute("BEGIN IMMEDIATE")
            query = f"SELECT seq, {CONTENT}, sum FROM records WHERE seq > ?"  # noqa: S608  no input
            for position, kind, body, boot, known in self.database.execute(query, (base,)).fetchall():
                if is_whole(position, kind, body, boot, known, self.summed_from):
                    keyed = rekeyed(body, *spools.key(position))
                    row = (keyed, record_sum(position, kind, keyed, boot), position)
                    self.database.execute("UPDATE records SET body = ?, sum = ? WHERE seq = ?", row)
            write_state(self.database, {"spool_id": spools.current.spool_id, "spools": spools.to_json()})
        self.spools, self.older_spool = spools, False
        self._counters.spools += 1
        notice = StoreEvent("store_overtaken", why)
        self._notice(notice)
        self.untold.append(notice)

    def _notice(self, notice: StoreEvent) -> None:
        self.notices.append(notice)
        log.warning("%s", notice.message)

    def close(self, waiting: int) -> None:
        """What is damaged is salvaged at the next opening."""
        with contextlib.suppress(sqlite3.Error):
            if not self._broken:
                self.turn_epoch(waiting, opened=False)
        self._connected.close()
