"""kill -9 of the service at random moments: `python -m tests.faults.kill_service --kills 50`.

A real broker, a subscriber whose session survives, the simulated sampler as fast as it goes. At the end every committed
record must have arrived, and none twice once (device_id, spool_id, seq) has been looked at.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.brokers import Subscriber, broker
from tests.services import Service


@dataclass(frozen=True)
class Outcome:
    """What a campaign found."""

    kills: int
    committed: int
    lost: int
    doubled: int
    duplicates_on_the_wire: int
    out_of_order: int

    def __str__(self) -> str:
        return (
            f"killed {self.kills} times: {self.committed} records committed, {self.lost} lost, {self.doubled} doubled after "
            f"deduplication ({self.duplicates_on_the_wire} duplicates on the wire), {self.out_of_order} first arrivals out of order"
        )

    @property
    def sound(self) -> bool:
        return self.committed > 0 and self.lost == 0 and self.doubled == 0


def campaign(kills: int, folder: Path, seed: int = 1) -> Outcome:
    """Kill the service `kills` times between start-up and full work, then let it end in order."""
    rng = random.Random(seed)
    with broker(folder / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(folder, running.url)
        try:
            for _ in range(kills):
                service.start()
                # Start-up takes about two seconds: some kills hit it, most hit commits and publishes.
                time.sleep(rng.uniform(1.0, 5.0))
                service.kill()
            Service.configured(folder, running.url, intervals=2)
            service.run(120)
            messages = listener.drain(3.0)
        finally:
            service.stop()
            listener.close()
    return _judge(kills, folder / "store" / "outbox.sqlite", messages)


def _judge(kills: int, database: Path, messages: list[tuple[str, dict[str, object], bool]]) -> Outcome:
    with sqlite3.connect(database) as store:
        # Every number below the next was committed once, whether its row is still there or not.
        following = int(store.execute("SELECT value FROM meta WHERE key = 'next_seq'").fetchone()[0])
        committed = set(range(1, following))
    store.close()
    keys = [
        (str(m["device_id"]), str(m["spool_id"]), int(str(m["seq"])))
        for topic, m, _ in messages
        if topic.rsplit("/", 1)[-1] in ("detections", "intervals", "events")
    ]
    arrived = list(dict.fromkeys(keys))
    seqs = [seq for _, _, seq in arrived]
    ids = Counter(str(m["id"]) for topic, m, _ in messages if "seq" in m)
    # A record that came under two keys would be doubled for the far end, whatever it deduplicates by.
    doubled = abs(len(ids) - len(arrived))
    disorder = sum(b < a for a, b in pairwise(seqs))
    return Outcome(kills, len(committed), len(committed - set(seqs)), doubled, len(keys) - len(arrived), disorder)


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(args.kills, Path(folder), args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
