"""What becomes of a program whose output is closed, full, slow or gone."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from device.console import Console
from device.storage.outbox import Outbox
from tests.brokers import free_port
from tests.services import ROOT, Service

INTERVALS = 3
_F_SETPIPE_SZ = 1031
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)


def ran(folder: Path, *, redirections: str = "", **streams: Any) -> tuple[int, int]:
    """(exit status, intervals in the store) of a service that is to take three."""
    service = Service.configured(folder, f"mqtt://127.0.0.1:{free_port()}", intervals=INTERVALS)
    command = ["sh", "-c", f'exec "$0" -m device run --config "$1" {redirections}', sys.executable, str(service.config)]
    status = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, check=False, timeout=200, **streams).returncode
    outbox = Outbox(folder / "store", "test-box")
    rows = outbox.pending(1000)
    outbox.close()
    return status, sum(row.kind == "intervals" for row in rows)


@contextmanager
def unread_pipe(*, closed: bool) -> Iterator[int]:
    """The writing end of a small full pipe that nobody reads, or whose reader is gone."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, _F_SETPIPE_SZ, 4096)
    if closed:
        os.close(reading)
    else:
        os.write(writing, bytes(4096))
    yield writing
    os.close(writing)
    if not closed:
        os.close(reading)


@pytest.mark.parametrize("redirections", ["> /dev/full 2>&1", "2> /dev/full", "<&- >&- 2>&-", ">&-"])
def test_a_service_whose_output_is_full_or_closed_goes_on_measuring(tmp_path: Path, redirections: str) -> None:
    assert ran(tmp_path, redirections=redirections) == (0, INTERVALS)


@pytest.mark.parametrize("closed", [True, False])
def test_a_service_whose_reader_is_gone_or_sleeps_goes_on_measuring(tmp_path: Path, closed: bool) -> None:
    with unread_pipe(closed=closed) as pipe:
        assert ran(tmp_path, stdout=pipe, stderr=pipe) == (0, INTERVALS)


COMMANDS = {
    "--help": ["-m", "device", "--help"],
    "a schema": ["-m", "device", "schema", "config"],
    "a plan": ["-m", "device", "run", "--dry-run"],
    "of calibration": ["-m", "calibration.cli", "--help"],
    "of models": ["-m", "models.cli", "--help"],
    "of the fleet": ["-m", "deploy.fleet.cli", "--help"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_output_cannot_be_written_fails_without_a_traceback(name: str) -> None:
    for redirections in ("> /dev/full", ">&-"):
        command = ["sh", "-c", f'exec "$0" "$@" {redirections}', sys.executable, *COMMANDS[name]]
        done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 1, done.stderr
        assert re.fullmatch(r"holonode.*: the output can't be written: .*\n", done.stderr)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_reader_has_seen_enough_ends_quietly(name: str) -> None:
    with unread_pipe(closed=True) as pipe:
        command = [sys.executable, *COMMANDS[name]]
        done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=200)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_could_not_be_printed_is_counted_and_printing_goes_on_once_it_can() -> None:
    program = """
import os, sys, time
from device.console import Console
with Console() as console:
    for number in range(3000):
        console.say(f"line {number}")
    print(console.lost, file=open(sys.argv[1], "w"), flush=True)
    while console.trouble:
        time.sleep(0.01)
    console.say("more")
"""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, _F_SETPIPE_SZ, 4096)
    lost, lost_writing = os.pipe()
    running = subprocess.Popen(
        [sys.executable, "-c", program, f"/dev/fd/{lost_writing}"], stdout=writing, env=ENVIRONMENT, cwd=ROOT,
        pass_fds=(lost_writing,),
    )  # fmt: skip
    os.close(writing)
    counted = int(os.read(lost, 100))
    with os.fdopen(reading) as reader:
        said = reader.read()
    assert running.wait(60) == 0
    assert counted > 1000
    notes = re.findall(r"\((\d+) lines before this could not be printed: nobody reads it\)", said)
    assert sum(map(int, notes)) == counted
    assert said.endswith("nobody reads it)\nmore\n")


def test_a_disk_with_room_again_gets_a_line_of_its_own(tmp_path: Path) -> None:
    # A file that may hold 100 bytes stands for a full disk: the write that crosses that comes back short.
    program = """
import resource, sys, time
from device.console import Console
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
with Console() as console:
    console.say("a" * 150)
    while not console.lost:
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    console.say("b")
"""
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", program], stdout=log, env=ENVIRONMENT, cwd=ROOT, check=True, timeout=60)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["a" * 100, "(1 lines before this could not be printed: File too large)", "b"]


def test_nobody_waits_for_a_library_that_prints_where_nobody_reads() -> None:
    program = """
import os
from device.console import Console
with Console():
    for _ in range(5000):
        try:
            os.write(2, b"a library says this, past Python\\n" * 10)
        except BlockingIOError:
            pass
"""
    with unread_pipe(closed=False) as pipe:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", program], stderr=pipe, env=ENVIRONMENT, cwd=ROOT, check=True, timeout=200)
    assert time.monotonic() - began < 100


def test_a_terminal_is_given_nothing_to_obey(capfd: pytest.CaptureFixture[str]) -> None:
    with Console() as console:
        console.say("the broker says: \x1b]0;owned\x07\x1b[2Jno\u202e")
        console.warn("\x9b31mred")
    assert capfd.readouterr() == ("the broker says: no\n", "red\n")


def test_a_console_gives_stdout_back(capfd: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    with Console() as console:
        console.say("said")
        print("printed")
        os.write(1, b"from C\n")
        until = time.monotonic() + 60
        while threading.active_count() < threads + 2 and time.monotonic() < until:
            time.sleep(0.01)
    print("after")
    out, _err = capfd.readouterr()
    assert [line for line in out.splitlines() if line != "from C"] == ["said", "printed", "after"]
