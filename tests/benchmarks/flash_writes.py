"""What a day of the outbox writes to the flash: `python -m tests.benchmarks.flash_writes`.

Simulated disk, real outbox: every byte that SQLite writes is counted. A detection a second, delivered as it comes or waiting
for a link that is down all day; records of the size that the simulated sampler's have. The file system's own writes come on top.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from device.records import Event
from device.storage.outbox import Outbox
from tests.faults.simulated_disk import SimulatedDisk, mounted, unavailable

BUDGET_MB = 500.0
_RECORD_BYTES = 1300
_WINDOW = 20
"""Rows that the link sends at a time."""


def records(first: int, count: int) -> list[Event]:
    """Stand-ins of a detection's size."""
    return [
        Event(
            device_id="box", spool_id="s", seq=seq, id="0" * 26, code="test", severity="info",
            message="m" * (_RECORD_BYTES - 220), since="2026-05-04T00:00:00.000000Z",
        )
        for seq in range(first, first + count)
    ]  # fmt: skip


def written_mb(folder: Path, *, interval_s: int, hours: float, delivered: bool, mount_disk: SimulatedDisk) -> float:
    """Of a day, from `hours` of it once the store is in its stride."""
    outbox = Outbox(folder, "box")
    count = round(hours * 3600 / interval_s)
    for _ in range(count):
        outbox.commit(lambda first: records(first, interval_s + 1), {"last_interval": "0" * 26})
        outbox.prune(keep=5000)
        while delivered and (rows := outbox.pending(_WINDOW)):
            outbox.delivered([row.seq for row in rows])
    outbox.close()
    return mount_disk.written_bytes / 1e6 * 24 / hours


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=6.0)
    args = parser.parse_args()
    if reason := unavailable():
        print(f"skipped: {reason}")
        return 0
    print(f"MB a day, {_RECORD_BYTES} bytes a record, one detection a second; budget {BUDGET_MB:.0f}")
    for interval_s in (5, 10, 15, 60, 300):
        figures = []
        for delivered in (True, False):
            disk = SimulatedDisk()
            with tempfile.TemporaryDirectory() as folder, mounted(disk):
                figures.append(
                    written_mb(Path(folder), interval_s=interval_s, hours=args.hours, delivered=delivered, mount_disk=disk)
                )
        verdict = "within" if max(figures) <= BUDGET_MB else "OVER"
        print(
            f"an interval every {interval_s:3d} s: delivered as it comes {figures[0]:4.0f}, link down {figures[1]:4.0f}  {verdict}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
