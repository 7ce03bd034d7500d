"""A store opened: sound, its tables up to date, and known for what it is.

What is damaged is salvaged into a new database; what was copied, put back or lost its log gets a new spool, since nobody
knows which numbers were used after the copy was made.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from device.errors import InputError, TransientError
from device.identifiers import random_ulid, record_ulid
from device.records import Event, iso_time
from device.storage.database import Connected, connect, refusal
from device.storage.highwater import reached
from device.storage.identity import (
    EPOCH,
    HARDWARE,
    NEXT_EPOCH,
    OF_THIS_FILE,
    OPEN,
    WITNESS,
    copied,
    hardware,
    read_witness,
    write_witness,
)
from device.storage.migrations import migrate
from device.storage.pages import Log
from device.storage.salvage import DATABASE, finish_interrupted, hold_log, holds_ours, is_held, release_log, salvage
from device.storage.spools import Spools
from device.storage.sums import is_damage, state_sum, waiting_sum
from device.storage.trees import bent

__all__ = ["OpenStore", "StoreEvent", "StoreOwner", "open_store", "read_state", "turn_epoch", "write_state"]

log = logging.getLogger("holonode")

_PAGE_BYTES = 4096
_VITAL = frozenset(("device_id", "spool_id", "spools", "next_seq", "waiting", "settled_to", "summed_from"))
"""State without which nothing else can be believed."""
_COMMITS_OF_A_CUT = 1
"""What a power cut can leave behind the end of the log: the transaction whose sync it cut short."""


@dataclass(frozen=True)
class StoreEvent:
    """Something that happened to the store: told in the log, in `health` and in an event."""

    code: str
    message: str
    value: float | None = None
    unit: str | None = None

    def event(self, device_id: str, spool_id: str, seq: int, now: datetime) -> Event:
        """What tells of it."""
        return Event(
            device_id=device_id, spool_id=spool_id, seq=seq, id=record_ulid(now, device_id, spool_id, seq), code=self.code,
            severity="alarm", message=self.message, value=self.value, unit=self.unit, since=iso_time(now),
        )  # fmt: skip


@dataclass
class OpenStore:
    """What the outbox works on."""

    connected: Connected
    spools: Spools
    next_position: int
    untold: list[StoreEvent] = field(default_factory=list[StoreEvent])
    """Still to be told in events."""
    said: list[StoreEvent] = field(default_factory=list[StoreEvent])
    """Told in events that are in the store already."""


@dataclass(frozen=True)
class StoreOwner:
    """Whose store it is."""

    device_id: str
    boot_id: str
    now: datetime
    machine_boot: str = ""


def open_store(folder: Path, owner: StoreOwner, damage: str | None = None) -> OpenStore:
    """Open what is in the folder; `damage`: what is known to be wrong with it.

    InputError where it is another's, no store or a newer one; TransientError where the disk won't have it.
    """
    path = folder / DATABASE
    try:
        finish_interrupted(folder)
        existed = path.exists() or _log_of(path).exists()
        reason = damage or _missing(path)
        connected = None if reason else _connected(path, owner)
        said: list[StoreEvent] = []
        if not isinstance(connected, Connected):
            said.append(_salvaged(folder, owner, reason or connected or ""))
            connected = _connected(path, owner)
            if not isinstance(connected, Connected):
                raise sqlite3.OperationalError(f"a store that was just made is damaged: {connected}")
    except OSError as error:
        raise TransientError("the store can't be salvaged", where=folder, got=str(error), remedy="Free disk space.") from error
    except sqlite3.DatabaseError as error:
        raise refusal(error, path) from error
    try:
        return _known(folder, connected, owner, existed=existed and not said, said=said)
    except BaseException:
        connected.close()
        raise


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _missing(path: Path) -> str | None:
    """What is wrong with the files before SQLite looks at them; it takes an empty one for a new store."""
    if is_held(path.parent):
        return "its log is garbled"
    if not path.exists():
        return "its database is missing" if _log_of(path).exists() else None
    empty = path.stat().st_size == 0
    return "its database is empty" if empty and (read_witness(path.parent) or _log_of(path).exists()) else None


def _connected(path: Path, owner: StoreOwner) -> Connected | str:
    """A connection to a sound store, or what is wrong with it."""
    before, highest = _log_before(path), reached(path.parent).following if path.exists() else 0
    if before is not None and not before.sound_header:
        hold_log(path.parent)
    try:
        connected = connect(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)
    try:
        if path.exists() and _is_copy(connected.database, path.parent):
            highest = 0  # of the store that was here before
        elif found := _log_trouble(path, connected, before, owner.machine_boot, highest):
            return _closed(path.parent, connected, found)
        found = _trouble(path, connected, highest)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            connected.close()
            raise
        found = str(error)
    except BaseException:
        connected.close()
        raise
    if found is None:
        release_log(path.parent)
        return connected
    return _closed(path.parent, connected, found)


def _closed(folder: Path, connected: Connected, found: str) -> str:
    if not is_held(folder):  # closing, SQLite drops it, with what it didn't take for committed
        hold_log(folder)
    connected.close()
    return found


def _is_copy(database: sqlite3.Connection, folder: Path) -> bool:
    return copied(_state(database).get, folder, hardware(folder)) is not None


def _log_before(path: Path) -> Log | None:
    """What the log holds; None where there is none, or nothing in it."""
    try:
        content = _log_of(path).read_bytes()
    except OSError:
        return None
    return Log.of(content, _PAGE_BYTES) if content else None


def _log_trouble(path: Path, connected: Connected, before: Log | None, machine_boot: str, highest: int) -> str | None:
    """Whether committed transactions are gone with the log."""
    if before is not None and before.sound_header:
        if before.commits_behind(connected.frames) <= _COMMITS_OF_A_CUT:
            return None
        return "its log is garbled"
    state = _state(connected.database) if path.exists() else {}
    if state.get(OPEN) != "1":
        return None
    # Another program may have written the log into the database; without a power cut since, the file beside it tells.
    whole = state.get("next_seq") == str(highest) and machine_boot and state.get("machine_boot") == machine_boot
    if before is None:
        return None if whole else "the log beside its database is missing"
    return "its log is garbled"


def _state(database: sqlite3.Connection) -> dict[str, str]:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return {}
    return dict(database.execute("SELECT key, CAST(value AS TEXT) FROM meta").fetchall())


def _trouble(path: Path, connected: Connected, highest: int) -> str | None:
    """What is wrong with the tables that tell what the store is and what waits; every body is looked at when it is read."""
    database = connected.database
    migrate(database, path)
    if found := _bent_pages(connected):
        return found
    rows = database.execute("SELECT key, CAST(value AS TEXT), sum FROM meta").fetchall()
    rotten = [key for key, value, known in rows if known is not None and known != state_sum(key, value)]
    if _VITAL & set(rotten):
        return f"its state can't be read: {', '.join(sorted(_VITAL & set(rotten)))}"
    state = {key: value for key, value, _ in rows if key not in rotten}
    newest = database.execute("SELECT max(seq) FROM records").fetchone()[0] or 0
    if newest and not ({"spool_id", "next_seq"} <= state.keys()):
        return "its state is gone"
    if int(state.get("next_seq", 1)) <= newest:
        return "its state is older than its records"
    if (following := int(state.get("next_seq", 1))) < highest:
        return f"{highest - following} records that were committed are missing"
    return _waiting_trouble(database, state)


def _bent_pages(connected: Connected) -> str | None:
    if connected.settled and (found := bent(connected.pages)):
        return found
    checks = (connected.database.execute(f"PRAGMA quick_check({table})") for table in ("meta", "waiting"))
    return next((found for found in (str(check.fetchone()[0]) for check in checks) if found != "ok"), None)


def _waiting_trouble(database: sqlite3.Connection, state: dict[str, str]) -> str | None:
    count, before, summed_from = 0, 0, int(state.get("summed_from", 1))
    for position, made_ns, offset_ns, known in database.execute("SELECT seq, made_ns, offset_ns, sum FROM waiting"):
        count += 1
        known_good = position < summed_from if known is None else known == waiting_sum(position, made_ns, offset_ns)
        if not known_good or position <= before:
            return "what waits to be delivered can't be read"
        before = position
    if "waiting" in state and int(state["waiting"]) != count:
        return f"{state['waiting']} records should wait to be delivered, {count} do"
    return None


def _salvaged(folder: Path, owner: StoreOwner, reason: str) -> StoreEvent:
    if read_witness(folder) is None and not holds_ours(folder):
        raise InputError(
            "the store's database can't be opened", where=folder / DATABASE, got=reason,
            remedy="It is no store of Holonode, nothing was changed. Move it away, or use another storage.folder.",
        )  # fmt: skip
    found, spools = salvage(folder, owner.device_id, owner.boot_id, owner.now, reason)
    message = f"The store was damaged ({reason}): {found.words(spools)}. Records go on under a new spool."
    return StoreEvent("store_salvaged", message, float(len(found.lost)), "records")


def _known(folder: Path, connected: Connected, owner: StoreOwner, *, existed: bool, said: list[StoreEvent]) -> OpenStore:
    """Whose it is, its spools, and whether it is a copy."""
    database = connected.database
    untold: list[StoreEvent] = []
    lost = sorted(_rotten_state(database) - OF_THIS_FILE)
    if lost:
        message = f"State that was kept in the store was damaged and is given up: {', '.join(lost)}."
        untold.append(StoreEvent("state_lost", message, float(len(lost)), "values"))
    stored = read_state(database, "device_id")
    if stored is not None and stored != owner.device_id:
        raise InputError(
            "this store belongs to another device", where=folder, expected=stored, got=owner.device_id,
            remedy="Give device.id back its name, or use another storage.folder.",
        )  # fmt: skip
    position = int(read_state(database, "next_seq") or 1)
    spools = Spools.of(read_state(database, "spools")) or Spools.begun(read_state(database, "spool_id") or "")
    why = copied(lambda key: read_state(database, key), folder, hardware(folder)) if existed else None
    if why is not None:
        before, spools = spools.current.spool_id, spools.after(position - 1)
        untold.append(
            StoreEvent(
                "store_copied", f"This store was copied or put back ({why}): after {before} it goes on under a new spool."
            )
        )
    for notice in (*said, *untold):
        log.warning("%s", notice.message)
    return OpenStore(connected, spools, position, untold, said)


def read_state(database: sqlite3.Connection, key: str) -> str | None:
    """A value kept in the store; None where there is none, or it isn't whole."""
    row = database.execute("SELECT CAST(value AS TEXT), sum FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None or (row[1] is not None and row[1] != state_sum(key, str(row[0]))):
        return None
    return str(row[0])


def write_state(database: sqlite3.Connection, state: dict[str, str]) -> None:
    """In the transaction that is open."""
    rows = ((key, value, state_sum(key, value)) for key, value in state.items())
    database.executemany("INSERT OR REPLACE INTO meta (key, value, sum) VALUES (?, ?, ?)", rows)


def _rotten_state(database: sqlite3.Connection) -> set[str]:
    rows = database.execute("SELECT key, CAST(value AS TEXT), sum FROM meta").fetchall()
    return {key for key, value, known in rows if known is not None and known != state_sum(key, value)}


def turn_epoch(database: sqlite3.Connection, folder: Path, own: dict[str, str], *, opened: bool) -> None:
    """Another epoch, in the database and in the witness beside it; `own` is kept with it. sqlite3.OperationalError where the disk refuses.

    The database first says which epoch may come, so that a crash between the two is no copy.
    """
    epoch, witness = random_ulid(), read_witness(folder)
    before = {} if witness is None else {EPOCH: witness.epoch, WITNESS: str(witness.changed_ns)}
    _write(database, {EPOCH: "", **own, **before, NEXT_EPOCH: epoch})
    witness = write_witness(folder, epoch, own.get("spools", ""))
    after = {OPEN: "1" if opened else "0", HARDWARE: msgspec.json.encode(hardware(folder)).decode()}
    if witness is not None:
        after |= {EPOCH: witness.epoch, WITNESS: str(witness.changed_ns), NEXT_EPOCH: ""}
    _write(database, after)


def _write(database: sqlite3.Connection, state: dict[str, str]) -> None:
    with database:
        database.execute("BEGIN IMMEDIATE")
        for key in _rotten_state(database):
            database.execute("DELETE FROM meta WHERE key = ?", (key,))
        write_state(database, state)
