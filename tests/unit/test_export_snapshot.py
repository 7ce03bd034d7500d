"""A store can be exported while a service writes to it, and an interrupted export is none."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device.cli import main
from device.errors import CheckError, InputError, TransientError
from device.exports.bundle import SUMS, ExportBundle
from device.exports.snapshot import snapshot
from device.storage.outbox import Outbox
from tests.services import ROOT
from tests.stores import START, add_interval, configured, filled

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


def test_a_log_begun_anew_during_the_copy_means_another_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path / "store", "box-1")
    add_interval(outbox, START, ["birch"] * 50)
    real, copies = shutil.copyfile, list[str]()

    def copyfile(source: Path, target: Path) -> None:
        real(source, target)
        copies.append(source.name)
        if len(copies) == 1:
            outbox._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            add_interval(outbox, START, ["dust"] * 50)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with snapshot(tmp_path / "store", tmp_path) as database:
        assert [r[0] for r in database.execute("SELECT seq FROM records ORDER BY seq")] == list(range(1, 103))
    assert copies == ["outbox.sqlite", "outbox.sqlite-wal"] * 2
    outbox.close()


def test_a_store_that_never_rests_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path / "store", "box-1")
    real = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        real(source, target)
        outbox._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        add_interval(outbox, START, ["dust"])

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(TransientError, match="faster"), snapshot(tmp_path / "store", tmp_path):
        pass
    outbox.close()


def test_the_command_exports_a_store_that_a_service_holds(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "store", "box-1")
    add_interval(outbox, START, ["birch"])
    assert main(["export", "--format", "csv", "--out", str(tmp_path / "out"), "--config", str(configured(tmp_path))]) == 0
    add_interval(outbox, START, ["birch"])
    assert outbox.next_seq == 5
    outbox.close()


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    file = tmp_path / "store/outbox.sqlite"
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    file.write_bytes(content)
    with pytest.raises(CheckError, match="damaged"), snapshot(tmp_path / "store", tmp_path):
        pass


def test_a_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with sqlite3.connect(tmp_path / "store/outbox.sqlite") as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    database.close()
    with pytest.raises(InputError, match="newer"), snapshot(tmp_path / "store", tmp_path):
        pass


def test_an_interrupted_export_leaves_nothing_and_the_next_one_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interrupted() -> None:
        with ExportBundle(out) as bundle:
            bundle.begin("a.csv").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(out.iterdir()) == []
    (out / "a.csv.partial").write_text("left by a power cut")
    with ExportBundle(out) as bundle:
        bundle.begin("a.csv").write_text("whole")
        bundle.end("a.csv", 1, lambda _: 1)
    assert sorted(p.name for p in out.iterdir()) == [SUMS, "a.csv"]


def test_what_reads_back_otherwise_is_not_kept(tmp_path: Path) -> None:
    bundle = ExportBundle(tmp_path / "out")
    bundle.begin("a.csv").write_text("one\n")
    bundle.end("a.csv", 2, lambda path: len(path.read_text().splitlines()))
    with pytest.raises(CheckError, match="expected 2 rows; got 1"), bundle:
        pass
    assert list((tmp_path / "out").iterdir()) == []


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
