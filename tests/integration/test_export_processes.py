"""Exports beside a process that writes, on a disk that fills, and before another program's checks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from device.cli import main
from device.exports.snapshot import snapshot
from tests.services import ROOT
from tests.stores import filled

# Commits of three records, checkpoints in between, truncated logs now and then, deliveries: all that a service does.
WRITER = """
import sys, time
from pathlib import Path
from device.storage.outbox import Outbox
from tests.stores import START, add_interval
outbox = Outbox(Path(sys.argv[1]), "box-1")
outbox._database.execute("PRAGMA wal_autocheckpoint = 200")
outbox._database.execute("PRAGMA synchronous = OFF")
print("writing", flush=True)
for k in range(10**9):
    seqs = [d.seq for d in add_interval(outbox, START, ["birch", "dust"])]
    outbox.delivered([*seqs, seqs[-1] + 1])
    time.sleep(0.001)
    if k % 50 == 49:
        outbox._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if k % 400 == 399:
        outbox.prune(keep=600)
"""


def test_a_copy_of_a_store_in_use_is_sound_whole_and_moves_on(tmp_path: Path) -> None:
    store = tmp_path / "store"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(store)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        newest: list[int] = []
        for _ in range(40):
            with snapshot(store, tmp_path) as database:
                seqs = [int(row[0]) for row in database.execute("SELECT seq FROM records ORDER BY seq")]
                next_seq = int(database.execute("SELECT value FROM meta WHERE key = 'next_seq'").fetchone()[0])
                assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            # Whole commits of three, no gap up to the last.
            assert seqs == list(range(next_seq - len(seqs), next_seq))
            assert next_seq % 3 == 1
            newest.append(next_seq)
            time.sleep(0.01)
        assert newest == sorted(newest)
        assert newest[-1] > newest[0]
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


FULL = [
    ("csv", 600),
    ("parquet", 600),
    ("ecotaxa", 600),
    ("darwincore", 600),
    ("netcdf", 600),
    ("netcdf", 30_000),
    ("netcdf", 90_000),
]


@pytest.mark.parametrize(("kind", "limit"), FULL)
def test_a_full_disk_is_said_in_a_paragraph(tmp_path: Path, kind: str, limit: int) -> None:
    config = filled(tmp_path)
    code = (
        "import resource, signal, sys\nfrom device.cli import main\nfrom device import exports\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\noriginal = exports.writer\n"
        # From here on no file grows beyond the limit: the copy of the store is made by then.
        "def limited(name):\n    write = original(name)\n    def run(source, bundle):\n"
        f"        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n        write(source, bundle)\n    return run\n"
        "exports.writer = limited\nsys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, "export", "--format", kind, "--out", str(out), "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=200)
    assert done.returncode == 2, done.stderr
    assert "the export can't be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


def test_netcdf_passes_the_cf_checks_of_ioos(tmp_path: Path) -> None:
    pytest.importorskip("compliance_checker")
    command = ["export", "--format", "netcdf", "--out", str(tmp_path / "out"), "--config", str(filled(tmp_path))]
    assert main(command) == 0
    checker = Path(sys.executable).parent / "compliance-checker"
    files = [str(tmp_path / "out" / name) for name in ("intervals.nc", "detections.nc")]
    done = subprocess.run(
        [str(checker), "-t", "cf:1.8", "-c", "strict", *files], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.count("All tests passed!") == 2, done.stdout + done.stderr
    assert done.returncode == 0
