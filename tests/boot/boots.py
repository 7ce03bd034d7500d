"""`make test-boot`: the image that a person would write to a card, booted in an emulated machine.

READY, the first interval at a broker outside, three supply cuts at random moments; every record that was committed before a
cut is at the broker in the end, once, and the box publishes again. Waits for what is meant, never for seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.boot.disks import dump
from tests.boot.machine import Machine, end_in_order
from tests.boot.settings import DEVICE_ID, prepared
from tests.brokers import Subscriber, broker

READY = "Started holonode.service"
"""What systemd says of a service of type notify when it is ready."""

RECORDS = ("detections", "intervals", "events")


@dataclass
class Heard:
    """Every record that reached the broker, by its key."""

    records: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    altered: int = 0
    """Came again under the same key with other content."""

    def take(self, listener: Subscriber, *, until: str = "", first: int = 1, timeout_s: float = 1500) -> None:
        """What has come, and with `until`, what comes up to the next record of that kind, numbered `first` or later."""
        end = time.monotonic() + timeout_s
        while True:
            for topic, payload, _ in listener.drain() if not until else [_next(listener, end)]:
                kind = topic.rpartition("/")[2]
                if kind in RECORDS:
                    self._add(payload)
                if kind == until and payload["seq"] >= first:
                    return
            if not until:
                return

    def _add(self, payload: dict[str, Any]) -> None:
        content = {name: value for name, value in payload.items() if name != "historical"}
        key = (payload["spool_id"], payload["seq"])
        self.altered += self.records.setdefault(key, content) != content


def _next(listener: Subscriber, end: float) -> tuple[str, dict[str, Any], bool]:
    return listener.messages.get(timeout=max(end - time.monotonic(), 0.01))


@dataclass(frozen=True)
class Store:
    """A box's store as it lies on its disk."""

    following: int
    """The next record's number."""
    spool_id: str
    """That it numbers in."""
    waiting: int
    """Records not yet confirmed."""


def read_store(folder: Path) -> Store:
    """Of a folder dumped from a disk."""
    with contextlib.closing(sqlite3.connect(folder / "store" / "outbox.sqlite")) as outbox:
        meta = dict(outbox.execute("SELECT key, value FROM meta").fetchall())
        (waiting,) = outbox.execute("SELECT count(*) FROM waiting").fetchone()
    return Store(int(meta["next_seq"]), str(meta["spool_id"]), waiting)


def boots(image: Path, folder: Path, cuts: int, rng: random.Random, memory_mb: int) -> bool:
    """Whether all of it held; prints what happens."""
    heard = Heard()
    committed: set[tuple[str, int]] = set()
    reused = 0
    with broker(folder / "broker") as outside, contextlib.closing(Subscriber(outside.port)) as listener:
        disk = prepared(image, folder / "disk.img", port=outside.port)
        machine = Machine(disk, folder / "machine", memory_mb)
        with contextlib.closing(machine):
            machine.start()
            say(f"first boot: settings taken over after {machine.until_said('first boot: done'):.0f} s")
            say(f"unit READY after {machine.until_said(READY):.0f} s")
            heard.take(listener, until="intervals")
            say(f"first interval at the broker after {machine.on_s:.0f} s")
            for number in range(1, cuts + 1):
                moment_s = rng.uniform(0.0, 40.0)
                time.sleep(moment_s)
                unflushed, lost_writes = machine.cut(rng)
                heard.take(listener)
                store = read_store(dump(disk, "/var/lib/holonode", folder))
                known = {key for key in heard.records if key[0] == store.spool_id}
                # A record that went out was committed: its number must be behind the store's next.
                ahead = [seq for _, seq in known if seq >= store.following]
                reused += len(ahead)
                committed |= {(store.spool_id, seq) for seq in range(1, store.following)}
                say(
                    f"cut {number}: {unflushed} writes not flushed, {lost_writes} of them lost; {store.following - 1} records "
                    f"committed, {store.waiting} of them waiting, {len(ahead)} sent and forgotten"
                )
                machine.start()
                say(f"  resuming after {machine.until_said('resuming after record'):.0f} s")
                heard.take(listener, until="intervals", first=store.following)
                say(f"  publishing again after {machine.on_s:.0f} s")
            heard.take(listener)
            restarts = machine.said.count("holonode.service: Scheduled restart job")
    lost = committed - heard.records.keys()
    say(
        f"{len(committed)} committed before cuts, {len(lost)} lost, {heard.altered} altered, {reused} sent and forgotten, {restarts} restarts"
    )
    return bool(committed) and not (lost or heard.altered or reused or restarts)


def say(what: str) -> None:
    """One line, at once."""
    print(what, flush=True)


def main() -> int:
    """Boot, cut, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.boots", description=__doc__)
    parser.add_argument("image", type=Path, help="of `make image`")
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--work", type=Path, help="folder that keeps console and disk")
    args = parser.parse_args()
    end_in_order()
    say(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        sound = boots(args.image, folder, args.cuts, random.Random(args.seed), args.memory_mb)
    say(f"{DEVICE_ID}: " + ("passed" if sound else "FAILED"))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
