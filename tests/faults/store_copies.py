"""Stores restored, cloned and rolled back: `python -m tests.faults.store_copies --copies 200`.

A box commits records as fast as a collector confirms them, against a real mosquitto, two collectors and PostgreSQL. At random
moments it is killed, or stopped, and its store is copied, put back from an earlier copy (all of it, or the database alone),
gone on with as a clone beside the original, or rolled back as an image of the whole card is: with every witness in the store
agreeing. At the end each content that was committed must be in the database once, under whatever key; only what waited in a
store that was written over may be gone. Each time that a copy went on from behind its original must have been told, by the box in an event or by the collector, which
keeps two contents of one key beside each other.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from deploy.fleet.database import connect
from deploy.fleet.schema import migrate
from device.identifiers import random_ulid
from device.records import Event, iso_time
from device.storage.identity import FILE, WITNESS
from device.storage.sums import state_sum
from tests.brokers import Broker
from tests.collectors import CollectorProcess
from tests.faults.kill_delivery import drain, linked
from tests.postgres import Cluster, rows

DEVICE = "copied"
TELLING = ("store_copied", "store_overtaken", "store_salvaged")
"""Codes of events that tell of it."""
_TOGETHER, _MOST_WAITING = 5, 300
_WAYS = ("restore", "restore", "restore database", "clone", "roll back", "roll back")


def produce(store: Path, url: str, truth: Path, ready: int) -> None:
    """Commit events until killed; what was committed is written beside the store, which no copy takes along."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.append(1))
    with truth.open("a") as said, linked(store, DEVICE, url) as (outbox, link):

        def build(first: int) -> list[Event]:
            since = iso_time(datetime.now(UTC))
            return [
                Event(
                    device_id=DEVICE, spool_id=outbox.spool_id, seq=seq, id=random_ulid(), code="test", severity="info", message="m",
                    since=since,
                )
                for seq in range(first, first + _TOGETHER)
            ]  # fmt: skip

        os.write(ready, b".")
        while not stop:
            if outbox.depth() < _MOST_WAITING:
                made = outbox.commit(build)
                said.write("".join(f"{record.id}\n" for record in made))
                said.flush()
                link.notify()
            time.sleep(0.02)


def work(store: Path, url: str, truth: Path, seconds: float, *, kill: bool) -> None:
    """The box as a process, for a while; it is forked, which costs less than another start of Python."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            produce(store, url, truth, writer)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read(1), "the box did not start"
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL if kill else signal.SIGTERM)
    os.waitpid(child, 0)


@dataclass
class Outcome:
    """What a campaign found."""

    copies: Counter[str] = field(default_factory=Counter[str])
    committed: int = 0
    overwritten: int = 0
    """Records that waited in a store that was written over."""
    lost: int = 0
    doubled: int = 0
    beside: int = 0
    """In `conflicts`, under a key that another record has."""
    untold: int = 0
    unconfirmed: int = 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.copies.items()))
        return (
            f"{self.copies.total()} copies ({kinds}): {self.committed} records committed, {self.overwritten} of them waited in stores "
            f"that were written over; {self.lost} lost, {self.doubled} doubled, {self.untold} copies untold, "
            f"{self.unconfirmed} unconfirmed; {self.beside} kept beside another of their key"
        )

    @property
    def sound(self) -> bool:
        return (
            self.copies.total() > 0
            and self.committed > 0
            and not (self.lost or self.doubled or self.untold or self.unconfirmed)
        )


@dataclass
class World:
    """Everything that runs."""

    folder: Path
    cluster: Cluster
    rng: random.Random
    outcome: Outcome = field(default_factory=Outcome)
    gone: set[str] = field(default_factory=set[str])
    """Ids that went with a store."""
    clones: list[Path] = field(default_factory=list[Path])

    def __post_init__(self) -> None:
        self.database = self.cluster.new_database()
        with connect(self.database) as connection:
            migrate(connection)
        self.broker = Broker(self.folder / "broker")
        self.broker.start()
        self.truth = self.folder / "truth"
        self.store = self.folder / "store"
        self.collectors = [CollectorProcess(self.database, self.broker.url, name) for name in ("one", "two")]
        for collector in self.collectors:
            collector.start()

    def work(self, store: Path) -> None:
        work(store, self.broker.url, self.truth, self.rng.uniform(0.1, 1.0), kill=self.rng.random() < 0.6)

    def copy(self, number: int, way: str) -> None:
        """Work, copy, work on, and go on with the copy."""
        self.work(self.store)
        backup = self.folder / f"backup-{number}"
        shutil.copytree(self.store, backup)
        self.work(self.store)
        told = self._told()
        store = self.store
        if way == "clone":
            store = self.folder / f"clone-{number}"
            shutil.copytree(backup, store)
            self.clones.append(store)
        else:
            self._write_over(backup, way)
        # Of an image nothing tells but what the far end has of its numbers.
        must_tell = way != "roll back" or self._far_end_is_ahead(backup)
        self.work(store)
        if way == "clone":
            self.work(self.store)  # the original goes on beside it
        self.outcome.copies[way] += 1
        shutil.rmtree(backup)
        drain(store, DEVICE, self.broker.url, timeout_s=60)
        if must_tell and not self._is_told(told):
            self.outcome.untold += 1
            print(f"copy {number}, {way}: not told", file=sys.stderr, flush=True)

    def _far_end_is_ahead(self, backup: Path) -> bool:
        """Whether the database has records of the copy's spool that the copy doesn't know."""
        state = read(backup, "SELECT key, value FROM meta WHERE key IN ('spool_id', 'spools', 'next_seq')")
        found = {str(key): str(value) for key, value in state}
        _, base = msgspec.json.decode(found["spools"])[-1]
        query = "SELECT coalesce(max(seq), 0) FROM received WHERE device_id = %s AND spool_id = %s"
        return int(str(rows(self.database, query, DEVICE, found["spool_id"])[0][0])) >= int(found["next_seq"]) - base

    def _write_over(self, backup: Path, way: str) -> None:
        kept = set(waiting_ids(backup))
        gone = set(waiting_ids(self.store)) - kept
        self.gone |= gone
        if way == "restore database":
            for name in ("outbox.sqlite", "outbox.sqlite-wal"):
                (self.store / name).unlink(missing_ok=True)
                if (backup / name).exists():
                    shutil.copyfile(backup / name, self.store / name)
            return
        shutil.rmtree(self.store)
        shutil.copytree(backup, self.store)
        if way == "roll back":
            as_an_image(self.store)

    def _told(self) -> int:
        """Times that a box told of it in an event, or the collector of two contents under one key."""
        query = "SELECT count(*) FROM records WHERE kind = 'events' AND record ->> 'code' = ANY(%s)"
        return int(str(rows(self.database, query, list(TELLING))[0][0])) + len(self._beside())

    def _beside(self) -> list[str]:
        """Ids of what the collector keeps under a key that another record has."""
        if rows(self.database, "SELECT to_regclass('conflicts')")[0][0] is None:
            return []
        query = "SELECT record ->> 'id' FROM conflicts WHERE record ->> 'code' = 'test'"
        return [str(row[0]) for row in rows(self.database, query)]

    def _is_told(self, before: int) -> bool:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self._told() > before:
                return True
            time.sleep(0.1)
        return False

    def judge(self) -> Outcome:
        """Let everything out and look at what is in PostgreSQL."""
        for store in (self.store, *self.clones):
            self.outcome.unconfirmed += drain(store, DEVICE, self.broker.url)
        records = [
            str(row[0]) for row in rows(self.database, "SELECT record ->> 'id' FROM records WHERE record ->> 'code' = 'test'")
        ]
        beside = self._beside()
        there, committed = Counter(records + beside), set(self.truth.read_text().split())
        self.outcome.committed = len(committed)
        self.outcome.overwritten = len(self.gone - there.keys())
        self.outcome.lost = len(committed - self.gone - there.keys())
        self.outcome.doubled = sum(count - 1 for count in there.values())
        self.outcome.beside = len(beside)
        return self.outcome

    def close(self) -> None:
        for collector in self.collectors:
            collector.kill()
        self.broker.stop()


def read(store: Path, query: str) -> list[tuple[object, ...]]:
    """Of a store that nobody has; in a copy, which leaves the store as it is."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("outbox.sqlite", "outbox.sqlite-wal"):
            if (store / name).exists():
                shutil.copyfile(store / name, Path(place) / name)
        with contextlib.closing(sqlite3.connect(Path(place) / "outbox.sqlite")) as database:
            return database.execute(query).fetchall()


def waiting_ids(store: Path) -> list[str]:
    """Ids of the records that wait in it."""
    bodies = read(store, "SELECT body FROM waiting JOIN records USING (seq)")
    return [str(msgspec.json.decode(bytes(body))["id"]) for (body,) in bodies if isinstance(body, bytes)]


def as_an_image(store: Path) -> None:
    """Let the witness in a store that was copied agree, as it does where the file system was put back below it."""
    changed = str((store / FILE).stat().st_ctime_ns)
    with contextlib.closing(sqlite3.connect(store / "outbox.sqlite", isolation_level=None)) as database:
        if database.execute("SELECT value FROM meta WHERE key = ?", (WITNESS,)).fetchone():
            row = (WITNESS, changed, state_sum(WITNESS, changed))
            database.execute("INSERT OR REPLACE INTO meta (key, value, sum) VALUES (?, ?, ?)", row)


def campaign(folder: Path, cluster: Cluster, *, copies: int, seed: int = 1) -> Outcome:
    """Copy so many times, each way at random."""
    rng = random.Random(seed)
    with contextlib.closing(World(folder, cluster, rng)) as world:
        for number in range(copies):
            world.copy(number, rng.choice(_WAYS))
            if (number + 1) % 20 == 0:
                print(f"{number + 1} copies", file=sys.stderr, flush=True)
        return world.judge()


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    cluster = Cluster.made()
    try:
        cluster.start()
        with tempfile.TemporaryDirectory() as folder:
            outcome = campaign(Path(folder), cluster, copies=args.copies, seed=args.seed)
    finally:
        cluster.remove()
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
