"""Power cuts at every write and sync of the outbox: `python -m tests.faults.power_cuts --steps 400`.

The outbox works on a simulated disk whose unsynced sectors can be lost, torn and reordered. Its run is recorded, from a new
store and from one of an older schema; for every boundary between two changes of the disk, states that a cut there can leave
are built and opened by a fresh outbox, some of whose own recoveries are cut again. What `commit` had returned must be there,
whole, in order and once.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.errors import TransientError
from device.records import Event, to_json
from device.storage.migrations import STEPS
from device.storage.outbox import Outbox
from tests.faults.simulated_disk import SimulatedDisk, mounted, unavailable

READY_WITHIN_S = 10.0
_ONE_IN = 5
"""Of the states, whose recovery is cut again."""

_ONLY_SYNCED = 0.2
"""Share of the states in which nothing but what was synced is left."""

Change = tuple[Any, ...]
"""The name of a method of SimulatedDisk, or of Promises, and its arguments."""


@dataclass
class Promises:
    """What the outbox has promised at one moment."""

    kept: dict[int, bytes] = field(default_factory=dict)
    """Records whose commit returned."""
    begun: dict[int, bytes] = field(default_factory=dict)
    """Records of the commit that is under way: all or none."""
    settled: set[int] = field(default_factory=set)
    """Delivered: may be gone, may be sent again."""
    state: str | None = None
    """The value kept beside the records by the last commit that returned."""
    next_state: str | None = None
    """The value of the one under way."""
    spool_id: str = ""

    def opened(self, spool_id: str) -> None:
        self.spool_id = spool_id

    def begin(self, records: dict[int, bytes], state: str) -> None:
        self.begun, self.next_state = records, state

    def returned(self) -> None:
        self.kept.update(self.begun)
        self.begun, self.state = {}, self.next_state

    def refused(self) -> None:
        self.begun, self.next_state = {}, self.state

    def settle(self, seqs: list[int]) -> None:
        self.settled.update(seqs)


@dataclass
class Outcome:
    """What a campaign found."""

    boundaries: int = 0
    states: int = 0
    cut_again: int = 0
    lost: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.boundaries} boundaries, {self.states} states ({self.cut_again} of them cuts of a recovery): {self.lost} committed "
            f"records lost, {len(self.faults)} states wrong in any way; slowest start {self.slowest_s * 1e3:.0f} ms"
            + "".join(f"\n  {fault}" for fault in self.faults[:10])
        )

    @property
    def sound(self) -> bool:
        return self.states > 0 and not self.lost and not self.faults and self.slowest_s <= READY_WITHIN_S


class Workload:
    """An outbox at work on a recorded disk; `log` holds the disk's changes and, between them, what was promised."""

    def __init__(self, folder: Path, rng: random.Random, log: list[Change]) -> None:
        self._folder, self._rng, self._log = folder, rng, log
        self._number = 0

    def run(self, steps: int) -> None:
        """Commits, deliveries, prunings, restarts, a short disk."""
        outbox = self._open()
        for _ in range(steps):
            step = self._rng.choices(("commit", "keep", "deliver", "prune", "restart", "short"), (60, 6, 25, 4, 2, 3))[0]
            if step == "commit":
                self._commit(outbox, self._rng.choice((1, 2, 3, 5, 30)))
            elif step == "keep":
                self._commit(outbox, 0)
            elif step == "deliver":
                seqs = [row.seq for row in outbox.pending(self._rng.randint(1, 60))]
                self._log.append(("settle", seqs))
                outbox.delivered(seqs)
            elif step == "prune":
                outbox.prune(keep=100)
            elif step == "short":
                outbox._room.min_free_bytes = 2**62
                self._commit(outbox, 0)
                outbox._room.min_free_bytes = 0
            else:
                outbox.close()
                outbox = self._open()
        outbox.close()

    def _open(self) -> Outbox:
        outbox = Outbox(self._folder, "box")
        self._log.append(("opened", outbox.spool_id))
        return outbox

    def _commit(self, outbox: Outbox, count: int) -> None:
        self._number += 1
        state = str(self._number)

        def build(first: int) -> list[Event]:
            made = [event(seq, self._rng) for seq in range(first, first + count)]
            self._log.append(("begin", {e.seq: to_json(e) for e in made}, state))
            return made

        try:
            outbox.commit(build, {"number": state})
            self._log.append(("returned",))
        except TransientError:
            self._log.append(("refused",))


def event(seq: int, rng: random.Random) -> Event:
    """A record of its own, some longer than a page."""
    return Event(
        device_id="box", spool_id="s", seq=seq, id=f"{rng.getrandbits(128):032x}", code="test", severity="info",
        message="m" * rng.choice((10, 400, 900, 900, 6000)), since="2026-05-04T00:00:00.000000Z",
    )  # fmt: skip


def _recorded(files: dict[str, bytes], log: list[Change]) -> SimulatedDisk:
    disk = SimulatedDisk(files)
    disk.on_change = lambda *change: log.append(change)
    return disk


def _old_store(folder: Path, rng: random.Random) -> list[Change]:
    """Make a store of schema 1 on the mounted disk; returns what it promised."""
    records = {seq: to_json(event(seq, rng)) for seq in range(1, 301)}
    with closing(sqlite3.connect(folder / "outbox.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        for statement in STEPS[0]:
            database.execute(statement)
        meta = {"schema": "1", "device_id": "box", "spool_id": "old", "next_seq": "301"}
        database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        rows = [(seq, "events", body, "boot", int(seq % 3 == 0)) for seq, body in records.items()]
        database.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
    return [("opened", "old"), ("begin", records, None), ("returned",), ("settle", list(range(3, 301, 3)))]


class Campaign:
    """Builds states and judges what a fresh outbox makes of them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.outcome = Outcome()
        self._folder, self._rng = folder, random.Random(seed)

    def run(self, steps: int, each: float) -> None:
        """Record a run on a new store and one on an old one; cut both, every boundary `each` times on average."""
        with mounted(SimulatedDisk()) as self._mount:
            for old in (False, True):
                self._mount.disk = SimulatedDisk()
                log = _old_store(self._folder, self._rng) if old else []
                files = {path: bytes(file.seen) for path, file in self._mount.disk.files.items()}
                self._mount.disk = _recorded(files, log)
                Workload(self._folder, self._rng, log).run(steps // 4 if old else steps)
                self._cut_all(files, log, each)

    def _cut_all(self, files: dict[str, bytes], log: list[Change], each: float) -> None:
        disk, promises = SimulatedDisk(files), Promises()
        for name, *arguments in log:
            if not hasattr(disk, name):
                getattr(promises, name)(*arguments)
                continue
            self.outcome.boundaries += 1
            for _ in range(int(each) + (self._rng.random() < each % 1)):
                self._cut(disk, promises, None if self._rng.random() < _ONLY_SYNCED else self._rng)
            getattr(disk, name)(*arguments)

    def _cut(self, disk: SimulatedDisk, promises: Promises, rng: random.Random | None) -> None:
        left = disk.after_cut(rng)
        log: list[Change] = []
        self._judge(_recorded(left, log), promises)
        if log and self._rng.randrange(_ONE_IN) == 0:
            # The recovery's own writes, up to where it was ready, are a run like any other.
            again = SimulatedDisk(left)
            for name, *arguments in log[: self._rng.randrange(len(log))]:
                getattr(again, name)(*arguments)
            self.outcome.cut_again += 1
            self._judge(SimulatedDisk(again.after_cut(self._rng)), promises)

    def _judge(self, disk: SimulatedDisk, promises: Promises) -> None:
        outcome = self.outcome
        outcome.states += 1
        self._mount.disk = disk
        began = time.monotonic()
        try:
            outbox = Outbox(self._folder, "box")
        except Exception as error:  # noqa: BLE001  whatever it is, the box would not start
            outcome.faults.append(f"state {outcome.states}: {error}")
            outcome.lost += len(promises.kept.keys() - promises.settled)
            return
        outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - began)
        disk.on_change = lambda *_: None
        with closing(outbox):
            try:
                found = next(iter(self._faults(outbox, promises)), None)
            except sqlite3.DatabaseError as error:
                found = str(error)
        if found:
            outcome.faults.append(f"state {outcome.states}: {found}")

    def _faults(self, outbox: Outbox, promises: Promises) -> Iterable[str]:
        database = outbox._database
        found = str(database.execute("PRAGMA integrity_check").fetchone()[0])
        if found != "ok":
            yield f"integrity: {found}"
        stored: dict[int, bytes] = dict(database.execute("SELECT seq, body FROM records").fetchall())
        waiting = [row.seq for row in outbox.pending(2**31)]
        lost = {seq for seq in promises.kept.keys() - promises.settled if stored.get(seq) != promises.kept[seq]}
        lost |= promises.kept.keys() - promises.settled - set(waiting)
        self.outcome.lost += len(lost)
        if lost:
            yield f"{len(lost)} records lost, the first {min(lost)}"
        allowed = promises.kept | promises.begun
        if any(allowed.get(seq) != body for seq, body in stored.items()):
            yield "records that nobody committed"
        if waiting != sorted(set(waiting)) or outbox.depth() != len(waiting):
            yield "what waits is out of order, doubled or miscounted"
        through = len(promises.begun.keys() & stored.keys())
        if through not in (0, len(promises.begun)):
            yield f"{through} of {len(promises.begun)} records of one commit"
        states = {promises.next_state} if through else {promises.state, promises.next_state if not promises.begun else None}
        if outbox.get_state("number") not in states:
            yield "state of another moment than the records beside it"
        if promises.spool_id not in ("", outbox.spool_id):
            yield "another spool"
        following = outbox.commit(lambda first: [event(first, self._rng)])[0].seq
        if following <= max(promises.kept, default=0) or following in stored:
            yield f"number {following} again"


def campaign(folder: Path, *, steps: int, each: float, seed: int = 1) -> Outcome:
    """Cut a run of so many steps; every boundary `each` times on average."""
    running = Campaign(folder, seed)
    running.run(steps, each)
    return running.outcome


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--each", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if reason := unavailable():
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(Path(folder), steps=args.steps, each=args.each, seed=args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
