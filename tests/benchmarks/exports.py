"""Time, size and memory of every export, at two sizes of the store: memory must not grow with it.

    python -m tests.benchmarks.exports [DETECTIONS ...]

A store is made with intervals of 40 detections; every export runs in a process of its own, whose peak memory is read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from device.storage.outbox import Outbox
from tests.stores import START, add_interval, configured

PER_INTERVAL = 40
FORMATS = ("csv", "parquet", "netcdf", "darwincore")
"""EcoTaxa takes only what the review budget holds: its size doesn't follow the store."""

_CODE = """
import json, resource, sys
from device.cli import main
status = main(sys.argv[1:])
print(json.dumps({"status": status, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def fill(folder: Path, detections: int) -> Path:
    """A store of so many detections."""
    outbox = Outbox(folder / "store", "box-1")
    outbox._database.execute("PRAGMA synchronous = OFF")
    for k in range(detections // PER_INTERVAL):
        add_interval(outbox, START + timedelta(seconds=60 * k), ["birch", "dust"] * (PER_INTERVAL // 2))
    outbox.close()
    return configured(folder)


def measure(config: Path, kind: str, out: Path) -> dict[str, float]:
    """Seconds, bytes and peak megabytes of one export."""
    command = [sys.executable, "-c", _CODE, "export", "--format", kind, "--out", str(out), "--config", str(config), "--json"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ, OMP_NUM_THREADS="1"))
    summary, process = (json.loads(line) for line in done.stdout.splitlines())
    size = sum(one["size"] for one in summary["files"])
    return {"s": time.monotonic() - began, "mb": size / 2**20, "peak_mb": process["peak_mb"]}


def main(sizes: list[int]) -> None:
    """Print a line a format and size."""
    for detections in sizes:
        with TemporaryDirectory() as folder:
            config = fill(Path(folder), detections)
            store_mb = (Path(folder) / "store/outbox.sqlite").stat().st_size / 2**20
            print(f"{detections} detections, {detections // PER_INTERVAL} intervals, store {store_mb:.0f} MB", flush=True)
            for kind in FORMATS:
                found = measure(config, kind, Path(folder) / kind)
                print(
                    f"  {kind:11} {found['s']:6.1f} s  {found['mb']:7.1f} MB  peak memory {found['peak_mb']:5.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [20_000, 200_000])
