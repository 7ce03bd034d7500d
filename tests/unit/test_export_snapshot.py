"""A store can be exported while a service writes to it, and an interrupted export is none."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from device.cli import main
from device.errors import CheckError, InputError, TransientError
from device.exports.bundle import SUMS, ExportBundle
from device.exports.snapshot import snapshot
from device.storage.outbox import Outbox
from tests.stores import START, add_interval, configured, filled


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
