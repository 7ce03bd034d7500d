"""SIGINT and SIGTERM at random moments from exec on: `python -m tests.faults.stop_anytime --stops 100`.

Each time the service must end as one that was stopped: exit status 0, no traceback, no process left, the store whole, the lamp
off. Before the program's first line runs, the signal still means what the system makes of it: nothing was begun then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.brokers import free_port
from tests.services import Service

_FROM = ("", "", "watch    mosquitto_sub", " particles (")
"""What it has said when the time begins to run."""
_END_S = 200.0
_EARLY_S = 10.0


@dataclass
class Outcome:
    """What a campaign found."""

    stops: int = 0
    before_first_line: int = 0
    """The signal came while the interpreter was starting."""
    unheard: int = 0
    """Of those: lost by the interpreter, sent again."""
    stages: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        stages = ", ".join(f"{n} {stage}" for stage, n in self.stages.most_common())
        return (
            f"{self.stops} stops ({stages}): {len(self.faults)} ended in another way than stopped, "
            f"{self.before_first_line} came before the program's first line, {self.unheard} of them sent again; the slowest took {self.slowest_s:.1f} s"
        )

    @property
    def sound(self) -> bool:
        return self.stops > self.before_first_line and not self.faults


def campaign(stops: int, folder: Path, seed: int = 1, longest_s: float = 3.0) -> Outcome:
    """Stop the service `stops` times, a third of them twice in a row, some with a broker and models of its own."""
    rng, outcome = random.Random(seed), Outcome()
    port = free_port()
    for number in range(stops):
        own = number % 2 == 0
        service = Service.configured(
            folder, "" if own else f"mqtt://127.0.0.1:{free_port()}", reconstruction="hidef" if own else "backpropagate",
            mqtt=f"own_broker_port = {port}" if own else "",
        )  # fmt: skip
        before = len(outcome.faults)
        try:
            _stop_once(service, rng, outcome, longest_s)
            _look(folder, outcome)
        finally:
            service.stop()
        for fault in outcome.faults[before:]:
            print(f"stop {number + 1}: {fault}", file=sys.stderr, flush=True)
    return outcome


def _stop_once(service: Service, rng: random.Random, outcome: Outcome, longest_s: float) -> None:
    # Start-up has the most stages, and on a busy machine takes the longest.
    stage, after_s = rng.choice(_FROM), rng.uniform(0.0, longest_s)
    first = rng.choice([signal.SIGINT, signal.SIGTERM])
    again = rng.choice([signal.SIGINT, signal.SIGTERM]) if rng.random() < 1 / 3 else None
    service.start()
    if stage:
        service.until_said(stage, _END_S)
    time.sleep(after_s)
    caught, at_s = _catches(service.pid, signal.SIGTERM), time.monotonic()
    service.send(first)
    if again is not None:
        time.sleep(rng.uniform(0.0, 0.3))
        service.send(again)
    if not caught and not _ends(service):
        # An interpreter that is starting may lose a SIGINT; whoever sent it sends it again.
        outcome.unheard += 1
        service.send(first)
    try:
        status, said = service.finish(None, timeout_s=_END_S)
    except subprocess.TimeoutExpired:
        # It says what it hangs at.
        status, said = service.finish(signal.SIGABRT)
    outcome.stops += 1
    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - at_s)
    outcome.stages[_stage(said)] += 1
    told = f"{signal.Signals(first).name} {after_s:.3f} s after {stage.strip() or 'exec'}: status {status}\n{said}"
    if not caught:
        outcome.before_first_line += 1
    elif status != 0 or "Traceback" in said or "stopped" not in said:
        outcome.faults.append(told)


def _ends(service: Service) -> bool:
    until_s = time.monotonic() + _EARLY_S
    while service.is_running and time.monotonic() < until_s:
        time.sleep(0.05)
    return not service.is_running


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process hears the signal itself."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(mask >> (number - 1) & 1)


def _stage(said: str) -> str:
    if "L of air" in said:
        return "sampling"
    return "greeted" if "watch    mosquitto_sub" in said else "starting"


def _look(folder: Path, outcome: Outcome) -> None:
    """What is left of it."""
    mine = str(folder).encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid() and mine in (entry / "cmdline").read_bytes():
                outcome.faults.append(f"left: {(entry / 'cmdline').read_bytes()!r}")
    database = folder / "store" / "outbox.sqlite"
    if database.exists():
        with contextlib.closing(sqlite3.connect(database)) as store:
            whole = store.execute("PRAGMA integrity_check").fetchone()[0]
        if whole != "ok":
            outcome.faults.append(f"the store: {whole}")


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(args.stops, Path(folder), args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
