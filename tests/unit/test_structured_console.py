"""What the system's journal reads: one JSON object a line, after its priority."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.services import ROOT

_PROGRAM = """
import logging, os, sys
from device.console import Console, into_the_journal
print("the journal:", into_the_journal(), file=sys.stderr)
with Console(structured=sys.argv[1] == "json") as console:
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", handlers=[console.handler()])
    console.say("2 particles")
    console.warn('a "quoted"\\nand second line')
    logging.getLogger("holonode.models").error("a model failed: \u00b5")
    print("printed")
"""


def said(mode: str, journal: str = "") -> tuple[list[str], list[str]]:
    """Lines on stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JOURNAL_STREAM": journal}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode], capture_output=True, text=True, check=True, env=environment, timeout=200
    )
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_every_line_is_a_json_object_after_its_priority() -> None:
    out, err = said("json")
    told = [re.fullmatch(r"<(\d)>(\{.*\})", line) for line in (*out, *err[1:])]
    assert all(told)
    by_message = {json.loads(one[2])["message"]: (int(one[1]), json.loads(one[2])) for one in told if one}
    assert by_message["2 particles"][0] == 6
    assert by_message["printed"][0] == 6
    assert by_message['a "quoted"\nand second line'][0] == 4
    priority, failed = by_message["a model failed: \u00b5"]
    assert (priority, failed["level"], failed["logger"]) == (3, "error", "holonode.models")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", failed["time"])


def test_a_person_reads_plain_lines() -> None:
    out, err = said("text")
    assert out == ["2 particles", "printed"]
    assert "holonode.models: a model failed: \u00b5" in err


def test_only_a_stream_that_is_the_journals_own_is_taken_for_it(tmp_path: Path) -> None:
    _, err = said("text", "1:2")
    assert err[0] == "the journal: False"
    with (tmp_path / "journal").open("wb") as stands_for_it:
        there = os.fstat(stands_for_it.fileno())
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
        subprocess.run([sys.executable, "-c", _PROGRAM, "text"], stderr=stands_for_it, check=True, env=environment, timeout=200)
    assert "the journal: True" in (tmp_path / "journal").read_text()
