"""Beats of a healthy service, as a service manager hears them on a real socket: `python -m tests.faults.heartbeat --intervals 1000`.

The simulated sampler reads out a small part of its sensor, so that a thousand intervals take minutes. A beat is lost where none is
heard for twice the time in which the service promises one; the manager would act after four times as long.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import calibration
from tests.brokers import free_port
from tests.managers import Manager
from tests.services import Service

WATCHDOG_S = 4.0
_FEEDS = 4
"""In the time after which the manager acts."""
_INSTRUMENT = Path(calibration.__file__).parent / "instruments" / "bioaerosol-imx219-850nm.toml"
_INTERVALS = re.compile(r"stopped after (\d+) intervals")


@dataclass
class Beats:
    """What a manager heard of one service."""

    intervals: int = 0
    beats: int = 0
    lost: int = 0
    longest_s: float = 0.0
    """Between two beats."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.intervals} intervals, {self.beats} beats: {self.lost} lost, the longest pause {self.longest_s:.2f} s of "
            f"{WATCHDOG_S:g} s; {len(self.faults)} faults {self.faults[:3]}"
        )

    @property
    def sound(self) -> bool:
        return self.beats > 0 and self.lost == 0 and not self.faults


def campaign(intervals: int, folder: Path) -> Beats:
    """A service from its start to its end, after so many intervals."""
    outcome, manager = Beats(), Manager(str(folder / "notify"))
    service = Service.configured(folder / "box", f"mqtt://127.0.0.1:{free_port()}", intervals=intervals)
    instrument = folder / "instrument.toml"
    instrument.write_text(re.sub(r"(width|height)_px = \d+", r"\1_px = 192", _INSTRUMENT.read_text()))
    text = service.config.read_text()
    service.config.write_text(text.replace("[device]\n", f'[device]\ninstrument = "{instrument}"\n'))
    service.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=str(round(WATCHDOG_S * 1e6)))
    try:
        _listen(service, manager, outcome)
        status, said = service.finish(None)
        told = _INTERVALS.search(said)
        outcome.intervals = int(told[1]) if told else 0
        if status != 0 or outcome.intervals != intervals:
            outcome.faults.append(f"exit status {status} after {outcome.intervals} intervals: {said[-400:]}")
    finally:
        service.stop()
        manager.close()
    return outcome


def _listen(service: Service, manager: Manager, outcome: Beats) -> None:
    last_s = None
    while service.is_running:
        said = manager.listen(WATCHDOG_S / _FEEDS)
        if said is None:
            continue
        if said.get("STATUS", "").startswith("hangs"):
            outcome.faults.append(said["STATUS"])
        if "STOPPING" in said:
            return
        if "WATCHDOG" in said:
            now_s = time.monotonic()
            pause_s = now_s - last_s if last_s is not None else 0.0
            last_s, outcome.beats = now_s, outcome.beats + 1
            outcome.longest_s = max(outcome.longest_s, pause_s)
            outcome.lost += max(int(pause_s / (WATCHDOG_S / _FEEDS)) - 1, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=1000)
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(parser.parse_args().intervals, Path(folder))
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
