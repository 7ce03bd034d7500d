"""`holonode replay`: recorded frames in, records and pictures out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.cli import main
from device.frames import Hologram
from device.optics.propagation import propagate
from device.records import Detection, Interval, from_json

SIDE = 320
OPTICS = ["--wavelength-um", "0.85", "--pitch-um", "1.12", "--distance-um", "500"]
LIGHT = np.linspace(300, 500, SIDE, dtype=np.float32)[None, :] * np.ones((SIDE, 1), np.float32)


def _frame(*places: tuple[float, float], seed: int = 0) -> NDArray[np.float32]:
    """Dark discs 16 px across at (column, row), under uneven light, with noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    density = sum((expit((8 - np.hypot(x - c, y - r)) / 0.6) for c, r in places), np.zeros((SIDE, SIDE)))
    at_sensor = propagate((1 - 0.9 * density).astype(np.complex64), pitch_um=1.12, wavelength_um=0.85, distance_um=500.0)
    noise = 1 + 0.01 * np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    return (np.abs(at_sensor) ** 2 * noise * LIGHT).astype(np.float32)


def _replay(*inputs: Path, out: Path, options: list[str] | None = None) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    paths = [str(path) for path in inputs]
    config = out.parent / "no-models.toml"
    config.write_text('[analysis]\nclassifier_model = ""\n')
    plain = ["--config", str(config), "--method", "backpropagate", *OPTICS]
    status = main(["replay", *paths, "--out", str(out), *plain, *(options or [])])
    lines = (out / "detections.jsonl").read_bytes().splitlines() if (out / "detections.jsonl").exists() else []
    run = json.loads((out / "run.json").read_text()) if (out / "run.json").exists() else {}
    return status, [json.loads(line) for line in lines], run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """clean.npy without particles, one.npy with one, two.npy with two."""
    frames = tmp_path / "frames"
    frames.mkdir()
    np.save(frames / "clean.npy", _frame(seed=1))
    np.save(frames / "one.npy", _frame((120, 90), seed=2))
    np.save(frames / "two.npy", _frame((60, 200), (250, 150), seed=3))
    return frames


def test_particles_come_out_with_their_places_and_provenance(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, found, run = _replay(folder, out=out, options=["--background", str(folder / "clean.npy"), "--min-esd-um", "8"])
    assert status == 0
    assert [(round(r["x_um"] / 1.12), round(r["y_um"] / 1.12)) for r in found if r["frame"] == 0] == [(120, 90)]
    assert len(found) == 3
    assert [r["seq"] for r in found] == [1, 2, 3]
    assert {(r["spool_id"], r["pipeline_id"]) for r in found} == {("replay", run["pipeline_id"])}
    assert run["frames_analysed"] == 2
    assert all(len(frame["sha256"]) == 64 for frame in run["frames"])


def test_the_files_hold_valid_records(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _replay(folder, out=out, options=["--background", "first"])
    detections = [from_json(line, Detection) for line in (out / "detections.jsonl").read_bytes().splitlines()]
    (interval,) = [from_json(line, Interval) for line in (out / "intervals.jsonl").read_bytes().splitlines()]
    assert interval.counts["total"].n == len(detections) > 0
    assert interval.seq == len(detections) + 1
    assert {d.interval_id for d in detections} == {interval.id}
    assert (interval.frames.captured, interval.frames.analysed, interval.frames.dropped) == (2, 2, 0)


@pytest.mark.parametrize("background", ["first", "median", "none"])
def test_every_kind_of_background_finds_the_particles(folder: Path, tmp_path: Path, background: str) -> None:
    # Particles move between frames, so that the median of the others is clean.
    status, found, _ = _replay(folder, out=tmp_path / "out", options=["--background", background, "--min-esd-um", "8"])
    assert status == 0
    places = {(round(r["x_um"] / 11.2), round(r["y_um"] / 11.2)) for r in found}
    assert {(12, 9), (6, 20), (25, 15)} <= places


def test_the_frame_without_particles_gives_none(folder: Path, tmp_path: Path) -> None:
    _, found, run = _replay(folder / "clean.npy", out=tmp_path / "out")
    assert found == []
    assert run["counts"] == {}


def test_a_bad_file_is_said_and_counted_and_stops_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty.npy").write_bytes(b"")
    (folder / "torn.npy").write_bytes((folder / "one.npy").read_bytes()[:5000])
    np.save(folder / "constant.npy", np.full((SIDE, SIDE), 7.0, np.float32))
    np.save(folder / "nan.npy", np.full((SIDE, SIDE), np.nan, np.float32))
    status, found, run = _replay(folder, out=tmp_path / "out")
    said = capsys.readouterr().out
    assert status == 0
    assert (run["frames_analysed"], run["files_failed"]) == (3, 4)
    assert found
    assert {error["name"] for error in run["errors"]} == {"empty.npy", "torn.npy", "constant.npy", "nan.npy"}
    assert all(f"{name}: left out: " in said for name in ("empty.npy", "torn.npy", "constant.npy", "nan.npy"))


def test_nothing_readable_at_all_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.npy").write_bytes(b"")
    status, _, _ = _replay(tmp_path / "empty.npy", out=tmp_path / "out")
    assert status == 2
    assert "the file is empty" in capsys.readouterr().err


def test_a_frame_of_another_shape_than_the_background_is_left_out(folder: Path, tmp_path: Path) -> None:
    np.save(folder / "small.npy", _frame((120, 90))[:200, :200])
    _, _, run = _replay(folder, out=tmp_path / "out", options=["--background", str(folder / "clean.npy")])
    assert [error["name"] for error in run["errors"]] == ["small.npy"]
    assert "another shape" in run["errors"][0]["error"]


def test_a_frame_of_another_shape_has_no_median_and_stops_nothing(folder: Path, tmp_path: Path) -> None:
    np.save(folder / "aside.npy", _frame((120, 90))[:200, :200])
    status, _, run = _replay(folder, out=tmp_path / "out", options=["--background", "median"])
    assert status == 0
    assert [error["name"] for error in run["errors"]] == ["aside.npy"]
    assert run["frames_analysed"] == 3


def test_a_blocked_frame_is_counted_apart(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = _frame((250, 60))
    blocked[100:, :200] *= 0.02
    np.save(folder / "blocked.npy", blocked)
    options = ["--background", str(folder / "clean.npy"), "--max-esd-um", "100"]
    status, found, run = _replay(folder, out=tmp_path / "out", options=options)
    assert status == 0
    assert run["frames_obstructed"] == 1
    assert len({r["frame"] for r in found}) == 2
    assert "blocked.npy: not analysed" in capsys.readouterr().out


def test_a_panel_is_written_for_every_frame(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _replay(folder, out=out, options=["--panels"])
    pictures = sorted((out / "panels").glob("*.png"))
    assert [p.stem for p in pictures] == ["frames_clean", "frames_one", "frames_two"]
    sizes = [cv2.imread(str(p)).shape for p in pictures]
    assert all(height > 500 and width > 1200 for height, width, _ in sizes)


def test_json_goes_to_standard_output_alone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _replay(folder, out=tmp_path / "out", options=["--json"])
    summary = json.loads(capsys.readouterr().out)
    assert summary["frames_analysed"] == 3


def test_limits_of_size_that_let_nothing_through_are_refused(folder: Path, tmp_path: Path) -> None:
    status, _, _ = _replay(folder, out=tmp_path / "out", options=["--min-esd-um", "50", "--max-esd-um", "20"])
    assert status == 2


def test_a_frame_that_takes_too_much_memory_to_analyse_stops_no_other(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Pipeline.analyse

    def analyse(pipeline: Pipeline, hologram: Hologram) -> FrameAnalysis:
        if hologram.name == "one.npy":
            raise MemoryError
        return whole(pipeline, hologram)

    monkeypatch.setattr(Pipeline, "analyse", analyse)
    status, _, run = _replay(folder, out=tmp_path / "out")
    assert status == 0
    assert (run["frames_analysed"], run["files_failed"]) == (2, 1)
    assert "more memory" in run["errors"][0]["error"]
    assert "one.npy: left out" in capsys.readouterr().out


def test_the_array_that_was_taken_is_in_run_json(folder: Path, tmp_path: Path) -> None:
    np.savez(folder / "both.npz", bg=_frame(seed=4), H=_frame((120, 90), seed=5))
    _, _, run = _replay(folder / "both.npz", out=tmp_path / "out")
    assert run["frames"][0]["array"] == "H"
    assert run["frames"][0]["particles"] >= 1


@pytest.mark.parametrize("options", [[], ["--instrument", "flow-imx477-530nm"]])
def test_a_raw_mosaic_under_a_green_lamp_is_no_silent_zero(
    folder: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    filters = np.tile([[0.12, 1.0], [1.0, 0.25]], (SIDE // 2, SIDE // 2))
    np.save(folder / "raw.npy", (_frame((60, 200), (250, 150), seed=3) * 20 * filters).astype(np.uint16))
    status, found, run = _replay(folder / "raw.npy", out=tmp_path / "out", options=["--min-esd-um", "8", *options])
    assert status == 0
    assert {(round(r["x_um"] / 11.2), round(r["y_um"] / 11.2)) for r in found} == {(6, 20), (25, 15)}
    assert "raw mosaic" in run["frames"][0]["notes"][0]
    assert ("(bayer RGGB)" in capsys.readouterr().out) == bool(options)
