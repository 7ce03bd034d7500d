"""A disk that is full at random moments: `python -m tests.faults.disk_full --points 100` (as root).

The real service, its store on a small file system of its own, a real broker. At each point something else takes the disk, down to
the last byte or nearly, for a while; at some points the broker is away meanwhile, at some the service is killed and must start on
the full disk. It must live, lose no record that it committed, tell of those it refused, and work again once there is room.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device.records import iso_time
from tests.brokers import Broker, Subscriber
from tests.services import Service

BACK_WITHIN_S = 60.0
_SIZE_MB = 16
_MIN_FREE_MB = 1.0


@dataclass
class Outcome:
    """What a campaign found."""

    points: int = 0
    committed: int = 0
    lost: int = 0
    refused: int = 0
    crashes: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.points} times a full disk: {self.crashes} crashes, {self.committed} records committed, {self.lost} lost, "
            f"{self.refused} refused and told; back within {self.slowest_s:.1f} s of room"
            + "".join(f"\n  {f}" for f in self.faults)
        )

    @property
    def sound(self) -> bool:
        met = self.committed > 0 and self.refused > 0 and self.slowest_s <= BACK_WITHIN_S
        return met and not (self.lost or self.crashes or self.faults)


def unavailable() -> str:
    """Why no file system can be mounted; empty: one can, or it is a fault that it can't."""
    if os.geteuid() != 0:
        return "only root can mount a small file system"
    if os.environ.get("CI") == "true":
        return ""
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False).returncode:
            return "mounting a small file system is not allowed here"
        subprocess.run(["umount", place], check=True)
    return ""


@contextmanager
def small_disk(folder: Path, kind: str) -> Iterator[Path]:
    """An ext4 in a file or a tmpfs, of 16 MB."""
    place = folder / "disk"
    place.mkdir()
    if kind == "ext4":
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(_SIZE_MB * 2**20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        command = ["mount", "-o", "loop", image, place]
    else:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "none", place]
    subprocess.run(command, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def take_all_but(place: Path, left_bytes: int) -> Path:
    """Something else fills the disk; returns the file that does."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        while (free := shutil.disk_usage(place).free - left_bytes) > 0:
            try:
                file.write(bytes(min(free, 2**16)))
            except OSError:
                break
        os.fsync(file.fileno())
    return filler


Message = tuple[str, dict[str, Any], bool]


class Campaign:
    """One box on a small disk."""

    def __init__(self, folder: Path, kind: str, seed: int) -> None:
        self.outcome = Outcome()
        self._folder, self._kind, self._rng = folder, kind, random.Random(seed)
        self._messages: list[Message] = []

    def run(self, points: int) -> None:
        """Fill the disk so many times, then judge what arrived."""
        with small_disk(self._folder, self._kind) as place:
            broker = Broker(self._folder / "broker")
            broker.start()
            store = place / "store"
            service = Service.configured(self._folder / "box", broker.url, store=store, min_free_mb=_MIN_FREE_MB)
            try:
                with closing(Subscriber(broker.port)) as self._listener:
                    service.start()
                    self._wait_for_more(service)
                    for _ in range(points):
                        self._point(place, broker, service)
                    status, said = service.finish() if service.is_running else (1, "")
                    self._listen(3.0)
            finally:
                service.stop()
                broker.stop()
            if status:
                self.outcome.faults.append(f"ended with {status}: {said[-400:]}")
            self._judge(store / "outbox.sqlite")

    def _point(self, place: Path, broker: Broker, service: Service) -> None:
        """One full disk."""
        rng = self._rng
        away, killed = rng.random() < 0.3, rng.random() < 0.15
        time.sleep(rng.uniform(0.0, 1.0))
        if away:
            broker.stop()
        filler = take_all_but(place, rng.choice((0, 0, 4096, 100_000, 800_000)))
        if killed:
            service.kill()
            service.start()
        self._listen(rng.uniform(0.5, 4.0))
        # A start takes its seconds; it has to be through while the disk is full.
        self._listen(6.0 if killed else 0.0)
        filler.unlink()
        if away:
            broker.start()
        self.outcome.points += 1
        self.outcome.slowest_s = max(self.outcome.slowest_s, self._wait_for_more(service))

    def _listen(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._messages += self._listener.heard(min(left, 0.1))

    def _wait_for_more(self, service: Service) -> float:
        """Seconds until an interval arrives that began after this call; a service that ended is started again and counted."""
        began, wall = time.monotonic(), iso_time(datetime.now(UTC))
        while time.monotonic() - began < 2 * BACK_WITHIN_S:
            self._listen(0.2)
            if not service.is_running:
                self.outcome.crashes += 1
                self.outcome.faults.append(service.finish(None)[1][-400:])
                service.start()
            if any(str(body.get("started_at", "")) > wall for _, body, _ in self._messages[-500:]):
                return time.monotonic() - began
        self.outcome.faults.append("nothing came after there was room")
        return time.monotonic() - began

    def _judge(self, database: Path) -> None:
        with closing(sqlite3.connect(database)) as store:
            following = int(store.execute("SELECT value FROM meta WHERE key = 'next_seq'").fetchone()[0])
            found = str(store.execute("PRAGMA integrity_check").fetchone()[0])
        arrived = {int(body["seq"]) for _, body, _ in self._messages if "seq" in body}
        self.outcome.committed = following - 1
        self.outcome.lost = len(set(range(1, following)) - arrived)
        told = {body["seq"]: body["value"] for _, body, _ in self._messages if body.get("code") == "records_refused"}
        self.outcome.refused = round(sum(told.values()))
        if found != "ok":
            self.outcome.faults.append(f"integrity: {found}")


def campaign(folder: Path, points: int, kind: str = "ext4", seed: int = 1) -> Outcome:
    """Fill the disk so many times."""
    running = Campaign(folder, kind, seed)
    running.run(points)
    return running.outcome


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--filesystem", choices=("ext4", "tmpfs"), default="ext4")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if reason := unavailable():
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(Path(folder), args.points, args.filesystem, args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
