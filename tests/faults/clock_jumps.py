"""A wall clock that jumps under the service: `python -m tests.faults.clock_jumps --jumps 40`.

The real service and a real broker; libfaketime moves the service's wall clock: by 30 years either way, over both ends of daylight
saving time, to 1970 at the start. No jump may end the service, its connection or its order, nor cost a record. Then a start
without a clock and without a broker, and time that comes later: what waited must go out back-dated and in order.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.brokers import Broker, Subscriber, broker
from tests.services import Service

_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")

_MOMENTS = (
    "+0", "+10950d", "-10950d", "+1h", "-1h", "+45", "-45",
    "@2026-03-29 01:59:55", "@2026-10-25 02:59:55", "@2026-10-25 01:59:55", "@1970-01-01 00:00:01",
)  # fmt: skip
"""In libfaketime's words: 30 years, an hour, seconds either way; the nights in which Berlin changes its time; no clock."""


@dataclass
class Outcome:
    """What a campaign found."""

    jumps: int = 0
    committed: int = 0
    lost: int = 0
    out_of_order: int = 0
    restarts: int = 0
    back_dated: int = 0
    wrong_stamps: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.jumps} jumps of the clock: {self.committed} records committed, {self.lost} lost, {self.out_of_order} out of order, "
            f"{self.restarts} false restarts or reconnections; {self.back_dated} records back-dated after a start without a clock, "
            f"{self.wrong_stamps} of them wrong" + "".join(f"\n  {fault}" for fault in self.faults)
        )

    @property
    def sound(self) -> bool:
        wrong = self.lost or self.out_of_order or self.restarts or self.wrong_stamps or self.faults
        return self.jumps > 0 and self.committed > 0 and self.back_dated > 0 and not wrong


def library() -> str | None:
    """libfaketime for programs with threads; None where it isn't installed."""
    for pattern in _LIBRARIES:
        for found in Path("/").glob(pattern[1:]):
            return str(found)
    return None


class Clocked:
    """A service whose wall clock can be set."""

    def __init__(self, folder: Path, url: str) -> None:
        self._setting, self._synchronised = folder / "faketime", folder / "synchronised"
        self._service = Service.configured(folder, url)
        self.set("+0")

    def set(self, moment: str) -> None:
        partial = self._setting.with_suffix(".partial")
        partial.write_text(moment + "\n")
        partial.replace(self._setting)

    def synchronise(self) -> None:
        self.set("+0")
        self._synchronised.touch()

    def start(self) -> None:
        self._synchronised.unlink(missing_ok=True)
        self._service.start(
            ("-m", "tests.faults.clocked_service", str(self._synchronised)),
            LD_PRELOAD=library() or "",
            FAKETIME_TIMESTAMP_FILE=str(self._setting),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            TZ="Europe/Berlin",
        )

    @property
    def is_running(self) -> bool:
        return self._service.is_running

    def stop(self) -> tuple[int, str]:
        return self._service.finish()

    def until_sampled(self) -> None:
        """Return once there is an interval."""
        self._service.until_said(" particles (")

    def kill(self) -> None:
        self._service.stop()


_PATIENCE_S = 200.0

Message = tuple[str, dict[str, Any], bool]


class Campaign:
    """One box and its broker."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.outcome = Outcome()
        self._folder, self._rng = folder, random.Random(seed)

    def jump(self, jumps: int) -> None:
        """Set the clock while the service works, which must go on as if nothing were."""
        with broker(self._folder / "broker") as running, closing(Subscriber(running.port)) as listener:
            box = Clocked(self._folder / "jumping", running.url)
            box.set(self._rng.choice(_MOMENTS))
            box.start()
            messages: list[Message] = []
            try:
                self._wait(lambda: _records(messages), box, listener, messages)
                for _ in range(jumps):
                    box.set(self._rng.choice(_MOMENTS))
                    self.outcome.jumps += 1
                    before = len(_records(messages))
                    self._wait(lambda before=before: len(_records(messages)) > before, box, listener, messages)
                status, said = box.stop() if box.is_running else (1, "it ended by itself")
                messages += listener.drain(2.0)
            finally:
                box.kill()
        if status:
            self.outcome.faults.append(f"the service ended with {status}: {said[-300:]}")
        self._judge_order(messages)
        states = [body["status"] for topic, body, _ in messages if topic.endswith("/status")]
        self.outcome.restarts += max(states.count("online") - 1, 0) + states.count("offline")

    def start_without_clock(self) -> None:
        """No clock, no broker; both come later."""
        network = Broker(self._folder / "late-broker")
        box = Clocked(self._folder / "clockless", network.url)
        box.set("@1970-01-01 00:00:01")
        began = datetime.now(UTC)
        box.start()
        try:
            box.until_sampled()
            box.synchronise()
            time.sleep(8.0)  # the timekeeper looks every five seconds
            network.start()
            with closing(Subscriber(network.port)) as listener:
                messages: list[Message] = []
                self._wait(lambda: _sourced(messages, "ntp"), box, listener, messages)
                box.stop()
                messages += listener.drain(2.0)
        finally:
            box.kill()
            network.stop()
        self._judge_order(messages)
        self._judge_stamps(messages, began, datetime.now(UTC))

    def _wait(self, done: Callable[[], object], box: Clocked, listener: Subscriber, messages: list[Message]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while box.is_running and time.monotonic() < until:
            messages += listener.drain(0.2)
            if done():
                return
        self.outcome.faults.append(
            "the service ended by itself" if not box.is_running else f"nothing was published for {_PATIENCE_S:g} s"
        )

    def _judge_order(self, messages: list[Message]) -> None:
        late: dict[int, bool] = {}
        for body in _records(messages):
            late.setdefault(int(body["seq"]), bool(body["historical"]))
        last = max(late, default=0)
        self.outcome.committed += last
        self.outcome.lost += len(set(range(1, last + 1)) - set(late))
        # Live records overtake history; each of the two comes in its order.
        for historical in (False, True):
            seqs = [seq for seq, was in late.items() if was is historical]
            self.outcome.out_of_order += sum(b < a for a, b in pairwise(seqs))

    def _judge_stamps(self, messages: list[Message], began: datetime, ended: datetime) -> None:
        detections = _sourced(messages, "backdated")
        self.outcome.back_dated += len(detections)
        times = [datetime.fromisoformat(body.get("captured_at") or body["ended_at"]) for body in detections]
        slack = timedelta(seconds=1)
        self.outcome.wrong_stamps += sum(not began - slack <= moment <= ended + slack for moment in times)
        self.outcome.wrong_stamps += sum(later < earlier - slack for earlier, later in pairwise(times))
        left = len(_sourced(messages, "none"))
        if left:
            self.outcome.faults.append(f"{left} records went out with a clock that was never set")


def _records(messages: list[Message]) -> list[dict[str, Any]]:
    return [body for _, body, _ in messages if "seq" in body and "spool_id" in body]


def _sourced(messages: list[Message], source: str) -> list[dict[str, Any]]:
    return [body for body in _records(messages) if body.get("clock", {}).get("source") == source]


def campaign(folder: Path, jumps: int, seed: int = 1) -> Outcome:
    """Both parts."""
    running = Campaign(folder, seed)
    running.jump(jumps)
    running.start_without_clock()
    return running.outcome


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jumps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if library() is None:
        print("skipped: libfaketime is not installed (sh deploy/install-faketime.sh)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(Path(folder), args.jumps, args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
