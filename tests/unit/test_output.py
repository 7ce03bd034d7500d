"""A place that can't be written to is one paragraph and exit status 2, whichever command writes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import calibration.cli
import device.cli
import models.cli
from device.edge import at_the_edge
from device.output import output_file, output_folder, unwritable
from tests.stores import configured

OPTICS = ["--wavelength-um", "0.532", "--pitch-um", "6.5", "--distance-um", "9000"]


def _holonode(*words: str) -> Callable[[Path, Path], int]:
    return lambda frames, out: device.cli.main([w.format(frames=frames, out=out) for w in words])


def _calibrate(frames: Path, out: Path) -> int:
    return calibration.cli.main(["dark", str(frames), "--out", str(out), "--yes"])


def _finetune(frames: Path, out: Path) -> int:
    labels = ["finetune", "bioaerosol", "--version", "9.9.9", "--labels", str(frames), "--out", str(out)]
    return models.cli.main([*labels, "--work", str(frames.parent / "runs")])


def _train(frames: Path, out: Path) -> int:
    return models.cli.main(["train", "hidef", "--work", str(out), "--steps", "1"])


def _export(frames: Path, out: Path) -> int:
    config = configured(frames.parent)
    return device.cli.main(["export", "--format", "csv", "--out", str(out), "--config", str(config)])


WRITERS: dict[str, Callable[[Path, Path], int]] = {
    "replay": _holonode("replay", "{frames}", "--out", "{out}", *OPTICS),
    "reconstruct": _holonode("reconstruct", "{frames}", "--out", "{out}/field.npz", "--method", "backpropagate", *OPTICS),
    "twin --out": _holonode("twin", "--out", "{out}", "--truth", "{frames}.jsonl", "--frames", "1"),
    "twin --truth": _holonode("twin", "--out", "{frames}-twin", "--truth", "{out}/truth.jsonl", "--frames", "1"),
    "export": _export,
    "calibrate": _calibrate,
    "finetune": _finetune,
    "train": _train,
}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    path = tmp_path / "frames.npy"
    np.save(path, np.random.default_rng(1).integers(900, 1100, (160, 160)).astype(np.uint16))
    return path


@pytest.mark.parametrize("place", ["a file", "under a file", "no folders there"])
@pytest.mark.parametrize("writer", WRITERS)
def test_where_nothing_can_be_written_is_told_before_the_work(
    frames: Path, tmp_path: Path, writer: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    out = {"a file": taken, "under a file": taken / "deep" / "er", "no folders there": Path("/proc/holonode/out")}[place]
    assert WRITERS[writer](frames, out) == 2
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if "the results can't be written" in line]
    assert len(lines) == 1
    assert str(out) in lines[0]
    assert "expected" in lines[0]
    assert "hoose" in lines[0]
    assert "Traceback" not in said
    assert "unexpected" not in said
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("command", ["replay", "reconstruct", "twin"])
def test_a_disk_that_fills_ends_the_command_with_one_paragraph(frames: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    words = {
        "replay": ["replay", str(frames), "--out", str(out), "--method", "backpropagate", "--panels", *OPTICS],
        "reconstruct": ["reconstruct", str(frames), "--out", str(out / "f.npz"), "--method", "backpropagate", *OPTICS],
        "twin": ["twin", "--out", str(out), "--truth", str(out / "t.jsonl"), "--frames", "1"],
    }[command]
    # The kernel's own refusal, for any user: no file larger than this.
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); from device.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-B", "-c", limited, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "the results can't be written" in done.stderr
    assert str(out) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.EDQUOT])
def test_every_refusal_of_a_place_says_what_to_do(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise OSError(code, os.strerror(code), "/somewhere")

    assert at_the_edge("holonode", fails, debug=False) == 2
    said = capsys.readouterr().err
    assert "/somewhere" in said
    assert os.strerror(code) in said
    assert str(unwritable("/somewhere", OSError(code, os.strerror(code)), what="a file or folder can't be used")) in said


def test_what_no_place_mends_is_still_unforeseen(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise OSError(errno.EIO, "I/O error")

    assert at_the_edge("holonode", fails, debug=False) == 1
    assert "unexpected OSError" in capsys.readouterr().err


def test_a_good_place_is_made_and_left_as_it_was(tmp_path: Path) -> None:
    assert list(output_folder(tmp_path / "a" / "b").iterdir()) == []
    kept = tmp_path / "kept.npz"
    kept.write_text("before")
    assert output_file(kept).read_text() == "before"
    assert not output_file(tmp_path / "c" / "new.npz").exists()
