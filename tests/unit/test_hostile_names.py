"""Labels and messages that someone chose to do harm, in the store: what exports and commands make of them."""

from __future__ import annotations

import csv
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from device.cli import main
from device.edge import at_the_edge
from device.errors import InputError
from device.messaging.payloads import Check
from device.storage.outbox import Outbox
from device.subcommands.check_lines import check_lines
from tests.stores import START, add_event, add_interval, configured

FORMULA, SEQUENCE, TURNED = '=HYPERLINK("http://x","y")', "\x1b]0;x\x07\x1b[31mbirch", "\u202ehcrib"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A box whose records hold them all."""
    path = configured(tmp_path)
    site = f'[site]\nname = "<b>&\\"{TURNED}"\noperator = "\\u001b[2Jme"\n'
    path.write_text(re.sub(r"\[site\]\n([a-z_]+ = .*\n)*", lambda _: site, path.read_text()))
    outbox = Outbox(tmp_path / "store", "box-1")
    add_interval(outbox, START, [FORMULA, SEQUENCE, TURNED, "-5", "birch"])
    add_event(outbox, START, "@SUM(1+1)\x1b[2J")
    outbox.close()
    return path


def test_no_csv_cell_is_a_formula_or_moves_a_terminal_and_numbers_stay_numbers(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["export", "--format", "csv", "--out", str(out), "--config", str(config)]) == 0
    for name in ("detections.csv", "intervals.csv", "events.csv", "columns.csv"):
        content = (out / name).read_text(encoding="utf-8")
        assert not any(mark in content for mark in ("\x1b", "\u202e", "\x07"))
        for row in csv.reader(content.splitlines()):
            for text in row:
                assert not text.startswith(("=", "@", "+")), row
                assert not text.startswith("-") or float(text) <= 0
    with (out / "detections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {"'" + FORMULA, "birch", "hcrib", "'-5"}
    assert all(float(row["x_um"]) is not None for row in rows)
    assert "apostrophe" in (out / "columns.csv").read_text()


def test_a_darwin_core_archive_stays_well_formed_and_shows_names_alone(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["export", "--format", "darwincore", "--out", str(out), "--config", str(config)]) == 0
    [path] = out.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        eml = archive.read("eml.xml").decode()
        tables = archive.read("event.txt").decode() + archive.read("occurrence.txt").decode()
    assert '<b>&"hcrib' in "".join(ET.fromstring(eml).itertext())
    assert not any(mark in eml + tables for mark in ("\x1b", "\u202e"))


def test_errors_and_checks_are_shown_without_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise InputError("no", got=SEQUENCE, remedy=TURNED)

    assert at_the_edge("holonode x", fail, debug=False) == 2
    lines = check_lines([Check(name=SEQUENCE, status="failed", message=TURNED, remedy=SEQUENCE)])
    shown = capsys.readouterr().err + "".join(lines)
    assert "birch" in shown
    assert not any(mark in shown for mark in ("\x1b", "\u202e", "\x07"))
