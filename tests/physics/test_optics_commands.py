"""`holonode focus` and `holonode reconstruct` on files, as a user runs them."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import InputError
from tests.physics.test_optics_autofocus import hologram

GEOMETRY = ["--wavelength-um", "0.85", "--pitch-um", "1.12"]


def _run(command: str, *arguments: str) -> int:
    module = importlib.import_module(f"device.subcommands.{command}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    parser.add_argument("--config")
    return int(module.execute(parser.parse_args(arguments)))


@pytest.fixture
def frame(tmp_path: Path) -> str:
    path = tmp_path / "frame.npy"
    np.save(path, 900 * hologram("absorbing", 500.0))
    return str(path)


def test_focus_prints_a_distance_with_its_uncertainty(frame: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("focus", frame, "--range-um", "400", "600", *GEOMETRY) == 0
    name, rest = capsys.readouterr().out.strip().split(": ")
    distance, uncertainty = rest.split(" um +- ")
    assert name == "frame.npy"
    assert abs(float(distance) - 500) < 6
    assert 0 < float(uncertainty.removesuffix(" um")) < 30


def test_focus_gives_curve_and_tiles_as_json(frame: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("focus", frame, "--range-um", "400", "600", "--tiles", "--tile-px", "96", "--json", *GEOMETRY) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["curve"]["distance_um"]) == len(answer["curve"]["explained"]) >= 20
    assert [t["box_px"] for t in answer["tiles"]] == [[0, 0, 96, 96], [96, 0, 96, 96], [0, 96, 96, 96], [96, 96, 96, 96]]


def test_focus_says_why_there_is_no_distance(frame: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("focus", frame, "--range-um", "700", "800", "--json", *GEOMETRY) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "not found"
    assert answer["distance_um"] is None
    assert answer["reason"]
    assert {m["criterion"] for m in answer["maxima"]} == {"misfit", "edges", "few edges", "compactness"}
    assert _run("focus", frame, "--range-um", "700", "800", *GEOMETRY) == 0
    assert "not found: " in capsys.readouterr().out


def test_focus_without_a_range_searches_all_that_can_be_told(frame: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("focus", frame, "--json", *GEOMETRY) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["interval_um"][0] < answer["distance_um"] < answer["interval_um"][1]
    assert abs(answer["distance_um"] - 500) < 6


def test_a_distance_that_is_not_found_is_asked_for(frame: str, tmp_path: Path) -> None:
    arguments = ["--method", "backpropagate", "--distance-um", "auto", "--range-um", "700", "800", *GEOMETRY]
    with pytest.raises(InputError, match="Give --distance-um"):
        _run("reconstruct", frame, "--out", str(tmp_path / "field.npz"), *arguments)


def test_reconstruct_writes_the_promised_fields_and_a_picture(frame: str, tmp_path: Path) -> None:
    out = tmp_path / "field.npz"
    arguments = ["--method", "iterative", "--distance-um", "500", "--png", *GEOMETRY]
    assert _run("reconstruct", frame, "--out", str(out), *arguments) == 0
    with np.load(out) as saved:
        assert saved["field"].dtype == np.complex64
        assert saved["field"].shape == (192, 192)
        assert float(saved["distance_um"]) == 500
        assert float(saved["pitch_um"]) == 1.12
        assert float(saved["wavelength_um"]) == 0.85
        assert str(saved["method"]) == "iterative"
        assert 0.8 < float(saved["consistency"]) <= 1
    picture = cv2.imread(str(out.with_suffix(".png")))
    assert picture is not None
    assert picture.shape[1] > 2 * 640


def test_reconstruct_finds_the_distance_when_asked(frame: str, tmp_path: Path) -> None:
    out = tmp_path / "field.npz"
    arguments = ["--method", "backpropagate", "--distance-um", "auto", "--range-um", "400", "600", *GEOMETRY]
    assert _run("reconstruct", frame, "--out", str(out), *arguments) == 0
    with np.load(out) as saved:
        assert abs(float(saved["distance_um"]) - 500) < 6


def test_several_frames_go_to_files_of_their_own(frame: str, tmp_path: Path) -> None:
    second = tmp_path / "second.npy"
    np.save(second, np.load(frame)[::-1])
    out = tmp_path / "out" / "field.npz"
    arguments = ["--method", "backpropagate", "--distance-um", "500", *GEOMETRY]
    assert _run("reconstruct", frame, str(second), "--out", str(out), *arguments) == 0
    assert sorted(p.name for p in out.parent.iterdir()) == ["field-frame.npy.npz", "field-second.npy.npz"]


def test_a_background_removes_what_is_not_the_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fixed dust at 250 um outshines the particles at 500 um until the background is divided out."""
    dust, frame = hologram("absorbing", 250.0, seed=5, noise=0.0), hologram("absorbing", 500.0, particles=3)
    np.save(tmp_path / "frame.npy", 900 * frame * dust)
    np.save(tmp_path / "background.npy", 900 * dust)
    background = ["--background", str(tmp_path / "background.npy")]
    assert _run("focus", str(tmp_path / "frame.npy"), "--range-um", "200", "600", "--json", *background, *GEOMETRY) == 0
    assert abs(json.loads(capsys.readouterr().out)["distance_um"] - 500) < 8


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("focus", ["--range-um", "600", "400", *GEOMETRY], "range"),
        ("focus", ["--range-um", "400", "600", "--wavelength-um", "0.85"], "--pitch-um"),
        ("focus", ["--range-um", "400", "600", "--wavelength-um", "850", "--pitch-um", "1.12"], "wavelength_um"),
        ("reconstruct", ["--out", "x.npz", "--method", "backpropagate", *GEOMETRY], "--distance-um"),
        ("reconstruct", ["--out", "x.npz", "--iterations", "0", "--distance-um", "500", *GEOMETRY], "iterate"),
    ],
)
def test_wrong_options_are_named(frame: str, command: str, arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _run(command, frame, *arguments)
