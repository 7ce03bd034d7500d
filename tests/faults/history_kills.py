"""The history's writer killed, cut off and out of room: `python -m tests.faults.history_kills --kills 1000`.

A light process commits intervals to an outbox and keeps the history up with it, at a clock that jumps; it is killed with -9 at
random moments. Each time the next one must find everything that was committed, and sums that are what the intervals come to.
Then the writer works on a simulated disk (tests/faults/simulated_disk.py): for every boundary between two changes of the disk,
a state that a power cut there can leave is opened and caught up; and the disk is full at random writes.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from device.records import Event, Interval
from device.storage.history import HistoryKeeper, tables
from device.storage.history.tables import NotHistoryError, database_in, open_for_writing
from device.storage.history.writer import HistoryWriter
from device.storage.outbox import Outbox
from device.storage.rows import Record
from tests.faults.simulated_disk import FULL, DiskError, SimulatedDisk, mounted, unavailable
from tests.recounts import wrong_sums, wrong_sums_in
from tests.stores import CLASSES, START, add_event, add_interval

_INTERVALS_A_STORE = 600
"""Then another one is begun, so that a look at all of it stays short."""


@dataclass
class Outcome:
    """What a campaign found."""

    what: str
    trials: int = 0
    intervals: int = 0
    records_lost: int = 0
    rebuilt: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.trials} trials, {self.intervals} intervals looked at: {self.records_lost} committed records affected, "
            f"{len(self.faults)} trials in which the history was not what the intervals come to, {self.rebuilt} rebuilt"
            + "".join(f"\n  {fault}" for fault in self.faults[:10])
        )

    @property
    def sound(self) -> bool:
        return self.trials > 0 and not self.records_lost and not self.faults


class Moments:
    """Wall time that mostly goes on and now and then jumps."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._now = rng, START

    def next(self) -> datetime:
        step_s = 130.0 if self._rng.random() < 0.9 else self._rng.choice((0.0, 4000.0, 90_000.0, -2000.0, -300_000.0))
        self._now += timedelta(seconds=step_s)
        return self._now


def _commit(outbox: Outbox, moments: Moments, rng: random.Random) -> None:
    if rng.random() < 0.1:
        add_event(outbox, moments.next(), "something")
    else:
        add_interval(outbox, moments.next(), rng.choices(CLASSES, k=rng.randrange(8)), looked=rng.random() < 0.9)


def _work(folder: Path, seed: int, said: int) -> None:
    """In the process that is killed: commit, and say so, for ever."""
    rng = random.Random(seed)
    moments = Moments(rng)
    outbox = Outbox(folder, "box-1")
    keeper = HistoryKeeper(outbox, lambda *_told: None)
    keeper.start()
    while True:
        before = outbox.following
        _commit(outbox, moments, rng)
        os.write(said, b"%d\n" % (outbox.following - 1))
        keeper.take([record for _, record in outbox.records(range(before, outbox.following), 100) if record is not None])
        time.sleep(rng.choice((0.0, 0.002, 0.01)))


def kills(times: int, folder: Path, seed: int = 1) -> Outcome:
    """Kill the process so often."""
    outcome, rng = Outcome("kill -9"), random.Random(seed)
    store, number = folder / "0", 0
    for trial in range(times):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                _work(store, rng.randrange(2**32), write)
            finally:
                os._exit(1)
        os.close(write)
        # Opening takes some 20 ms: some kills hit it, most hit commits, sums and checkpoints.
        time.sleep(rng.uniform(0.0, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(read, "rb") as told:
            lines = [line for line in told.read().splitlines(keepends=True) if line.endswith(b"\n")]
        rng.randrange(2**32)  # the child's own course differs from trial to trial
        held = _judge(outcome, store, int(lines[-1]) if lines else 0, f"kill {trial + 1}")
        if held > _INTERVALS_A_STORE:
            number += 1
            store = folder / str(number)
    return outcome


def _judge(outcome: Outcome, store: Path, promised: int, what: str) -> int:
    """Open what is left; returns how many intervals it holds."""
    outcome.trials += 1
    outbox = Outbox(store, "box-1")
    keeper = HistoryKeeper(outbox, lambda *_told: None)
    try:
        records = dict(outbox.records(range(1, outbox.following), 10**6))
        outcome.records_lost += sum(records.get(position) is None for position in range(1, promised + 1))
        keeper.step()
        keeper.step()
        status = keeper.reader.status()
        outcome.rebuilt += bool(status.set_aside)
        committed = {record.seq for record in records.values() if isinstance(record, Interval)}
        seen = {row.seq for row in keeper.reader.intervals("2000-01-01T00:00:00Z", "2040-01-01T00:00:00Z", 10_000)}
        outcome.intervals += len(seen)
        found = [f"behind by {keeper.behind}"] * bool(keeper.behind) + [f"intervals {sorted(seen ^ committed)[:5]}"] * (
            seen != committed
        )
        if faults := [*found, *wrong_sums(store)]:
            outcome.faults.append(f"{what}: {faults[0]}")
        return len(committed)
    finally:
        keeper._close()
        outbox.close()


# -- a disk that loses power, or is full ----------------------------------------------------------------------------------


def _course(folder: Path, commits: int, seed: int) -> list[list[tuple[int, Record | None]]]:
    """Records by position, commit by commit."""
    rng = random.Random(seed)
    moments, outbox = Moments(rng), Outbox(folder, "box-1")
    course: list[list[tuple[int, Record | None]]] = []
    for _ in range(commits):
        before = outbox.following
        _commit(outbox, moments, rng)
        course.append(outbox.records(range(before, outbox.following), 1000))
    outbox.close()
    return course


@contextmanager
def _alone():
    """The simulated disk has no shared memory: each connection is alone on its file, and writes as it does otherwise."""

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        database = sqlite3.connect(*arguments, **named)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        return database

    class Alone:
        def __getattr__(self, name: str) -> Any:
            return connect if name == "connect" else getattr(sqlite3, name)

    tables.sqlite3 = Alone()  # type: ignore[assignment]
    try:
        yield
    finally:
        tables.sqlite3 = sqlite3  # type: ignore[assignment]


def _key(position: int) -> tuple[str, int]:
    return "spool", position


def _caught_up(path: Path, course: Sequence[Sequence[tuple[int, Record | None]]], outcome: Outcome, what: str) -> None:
    """Open what a cut left, take in what was committed, and look."""
    outcome.trials += 1
    try:
        database = open_for_writing(path, "box-1")
    except NotHistoryError as error:
        outcome.faults.append(f"{what}: {error}")
        return
    writer = HistoryWriter(database, 2**20)
    reached = writer.mark[0] if writer.mark else 0
    for rows in course:
        if rows[-1][0] > reached:
            writer.add(rows, _key)
    committed = sum(isinstance(record, Interval) for rows in course for _, record in rows)
    events = sum(isinstance(record, Event) for rows in course for _, record in rows)
    held = database.execute("SELECT (SELECT count(*) FROM intervals), (SELECT count(*) FROM events)").fetchone()
    faults = [f"{held} held of {(committed, events)}"] * (held != (committed, events)) + wrong_sums_in(database)
    if faults:
        outcome.faults.append(f"{what}: {faults[0]}")
    outcome.intervals += committed
    database.close()


def power_cuts(commits: int, folder: Path, seed: int = 1) -> Outcome:
    """Cut the power between any two changes of the disk."""
    outcome, rng = Outcome("power cuts at every write"), random.Random(seed)
    course, path = _course(folder / "outbox", commits, seed), database_in(folder)
    path.parent.mkdir(parents=True)
    log: list[tuple[Any, ...]] = []
    with mounted(SimulatedDisk()) as mount, _alone():
        mount.disk.on_change = lambda *change: log.append(change)
        database = open_for_writing(path, "box-1")
        database.execute("PRAGMA wal_autocheckpoint = 60")
        writer = HistoryWriter(database, 2**20)
        for number, rows in enumerate(course, start=1):
            log.append(("committed", number))
            writer.add(rows, _key)
        database.close()
        disk, committed = SimulatedDisk(), 0
        for name, *arguments in log:
            if name == "committed":
                committed = arguments[0]
                continue
            mount.disk = SimulatedDisk(disk.after_cut(None if rng.random() < 0.2 else rng))
            _caught_up(path, course[:committed], outcome, f"state {outcome.trials + 1}")
            getattr(disk, name)(*arguments)
    return outcome


def full_disks(trials: int, commits: int, folder: Path, seed: int = 1) -> Outcome:
    """The disk is full for a while, from any write on."""
    outcome, rng = Outcome("full disk"), random.Random(seed)
    course, path = _course(folder / "outbox", commits, seed), database_in(folder)
    path.parent.mkdir(parents=True)
    with mounted(SimulatedDisk()) as mount, _alone():
        for _ in range(trials):
            mount.disk = disk = SimulatedDisk()
            database = open_for_writing(path, "box-1")
            first, count = rng.randrange(3000), [0]

            def refuse(
                kind: str,
                *_change: Any,
                first: int = first,
                last: int = first + rng.randrange(1, 200),
                count: list[int] = count,
            ) -> None:
                count[0] += 1
                if kind in ("write", "create") and first <= count[0] < last:
                    raise DiskError(FULL)

            disk.on_change = refuse
            writer = HistoryWriter(database, 2**20)
            for k in range(len(course)):
                try:
                    waiting = [rows for rows in course[: k + 1] if rows[-1][0] > (writer.mark[0] if writer.mark else 0)]
                    for rows in waiting:
                        writer.add(rows, _key)
                except sqlite3.OperationalError:
                    continue  # the next commit tries again
            database.close()
            disk.on_change = lambda *_change: None
            _caught_up(path, course, outcome, f"full from write {first}")
    return outcome


def main() -> int:
    """Run the campaigns and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--commits", type=int, default=150, help="of the run whose power is cut")
    parser.add_argument("--full", type=int, default=50, help="trials with a full disk")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = [kills(args.kills, folder / "kills", args.seed)]
        print(outcomes[-1], flush=True)
        if reason := unavailable():
            print(f"no simulated disk: {reason}")
        else:
            for outcome in (
                power_cuts(args.commits, folder / "cuts", args.seed), full_disks(args.full, args.commits, folder / "full", args.seed)
            ):  # fmt: skip
                outcomes.append(outcome)
                print(outcome, flush=True)
    return 0 if all(outcome.sound for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
