"""Syncs and writes that fail under the outbox: `python -m tests.faults.failing_syncs --trials 2000`.

As on Linux, a sync that fails drops what it should have written: it still reads well, no later sync writes it, a power cut
shows that it is not there. Each trial: the outbox at work, a disk that fails or is full for a while, at times kill -9 and a
new start on what reads well, more work, then a power cut. What `commit` had returned must be there.
"""

from __future__ import annotations

import argparse
import copy
import random
import sqlite3
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from device.errors import TransientError
from device.records import Event, to_json
from device.storage.outbox import Outbox
from tests.faults.power_cuts import event
from tests.faults.simulated_disk import FULL, IOERR_FSYNC, IOERR_WRITE, DiskError, SimulatedDisk, mounted, unavailable

_FAULTS = (("sync", IOERR_FSYNC), ("write", IOERR_WRITE), ("write", FULL))


@dataclass
class Outcome:
    """What a campaign found."""

    trials: int = 0
    failures: int = 0
    refused: int = 0
    committed: int = 0
    lost: int = 0
    untold: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.trials} trials, {self.failures} syncs and writes failed, {self.refused} commits refused, {self.committed} records "
            f"committed: {self.lost} lost, {self.untold} refusals not told, {len(self.faults)} trials wrong in any way"
            + "".join(f"\n  {fault}" for fault in self.faults[:10])
        )

    @property
    def sound(self) -> bool:
        return self.failures > 0 and self.refused > 0 and not self.lost and not self.untold and not self.faults


class Trial:
    """One box with a bad disk."""

    def __init__(self, folder: Path, rng: random.Random, outcome: Outcome) -> None:
        self._folder, self._rng, self._outcome = folder, rng, outcome
        self._kept: dict[int, bytes] = {}
        self._settled: set[int] = set()
        self._refused = 0

    def run(self) -> None:
        """Work, trouble, more work, a power cut, and the judgement."""
        (self._folder / "gap").unlink(missing_ok=True)
        disk = SimulatedDisk()
        with mounted(disk) as mount:
            outbox = Outbox(self._folder, "box")
            self._work(outbox, 12)
            self._break(disk)
            self._work(outbox, self._rng.randint(1, 12))
            disk.on_change = lambda *_: None
            if self._rng.random() < 0.5:
                # kill -9: the new process finds what reads well, synced or not.
                survivor = copy.deepcopy(disk)
                outbox.close()
                mount.disk = disk = survivor
                outbox = Outbox(self._folder, "box")
            self._work(outbox, self._rng.randint(2, 12))
            left = disk.after_cut(None if self._rng.random() < 0.5 else self._rng)
            outbox.close()
            mount.disk = SimulatedDisk(left)
            self._judge()

    def _break(self, disk: SimulatedDisk) -> None:
        """From some change on, a while of failures."""
        kind, code = self._rng.choice(_FAULTS)
        wait, last = self._rng.randint(0, 30), self._rng.randint(1, 20)

        def fail(change: str, *_: object) -> None:
            nonlocal wait, last
            if change != kind or last == 0:
                return
            if wait:
                wait -= 1
                return
            last -= 1
            self._outcome.failures += 1
            raise DiskError(code)

        disk.on_change = fail

    def _work(self, outbox: Outbox, steps: int) -> None:
        for _ in range(steps):
            if self._rng.random() < 0.3:
                seqs = [row.seq for row in outbox.pending(self._rng.randint(1, 300))]
                self._settled.update(seqs)
                outbox.delivered(seqs)
            if self._rng.random() < 0.1:
                outbox.prune(keep=20)
            if self._rng.random() < 0.1:
                # What a full log leads to, sooner.
                with suppress(sqlite3.OperationalError):
                    outbox._database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._commit(outbox, self._rng.choice((1, 2, 5, 60)))

    def _commit(self, outbox: Outbox, count: int) -> None:
        made: dict[int, bytes] = {}

        def build(first: int) -> list[Event]:
            records = [event(first + k, self._rng) for k in range(count)]
            made.clear()
            made.update({record.seq: to_json(record) for record in records})
            return records

        try:
            outbox.commit(build)
            self._kept.update(made)
            self._outcome.committed += count
        except TransientError:
            self._refused += count
            self._outcome.refused += 1

    def _judge(self) -> None:
        outcome = self._outcome
        outcome.trials += 1
        try:
            outbox = Outbox(self._folder, "box")
            found = str(outbox._database.execute("PRAGMA integrity_check").fetchone()[0])
            waiting = {row.seq: row for row in outbox.pending(2**31)}
            lost = [
                seq for seq in self._kept.keys() - self._settled if seq not in waiting or waiting[seq].body != self._kept[seq]
            ]
            told = sum(b'"records_refused"' in row[0] for row in outbox._database.execute("SELECT body FROM records"))
            following = outbox.next_seq
            outbox.close()
        except (sqlite3.DatabaseError, TransientError) as error:
            outcome.faults.append(f"trial {outcome.trials}: {error}")
            return
        outcome.lost += len(lost)
        # Events that tell may have been delivered and pruned.
        outcome.untold += bool(self._refused and not told and not self._settled)
        if found != "ok" or lost or following <= max(self._kept, default=0):
            outcome.faults.append(f"trial {outcome.trials}: integrity {found}, {len(lost)} lost, next {following}")


def campaign(folder: Path, trials: int, seed: int = 1) -> Outcome:
    """So many boxes with bad disks."""
    rng, outcome = random.Random(seed), Outcome()
    for _ in range(trials):
        Trial(folder, rng, outcome).run()
    return outcome


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if reason := unavailable():
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(Path(folder), args.trials, args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
