from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from device.calibration import load_calibrations
from device.cli import main as holonode
from device.instrument import load_instrument


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f'[calibration]\nfolder = "{tmp_path / "records"}"\n[storage]\nfolder = "{tmp_path / "store"}"\n')
    return path


def test_dark_and_flat_of_the_twin_pass_and_apply(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for procedure in ("dark", "flat"):
        assert main([procedure, "--config", str(config), "--yes", "--operator", "test", "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert (record["procedure"], record["verdict"], record["operator"]) == (procedure, "pass", "test")
        assert len(record["sources"]) == 8
    nominal = load_instrument("bioaerosol-imx219-850nm")
    calibrated = load_calibrations(tmp_path / "records", nominal)
    assert {r.procedure for r in calibrated.used} == {"dark", "flat"}
    assert calibrated.instrument.sensor.full_well_e == pytest.approx(nominal.sensor.full_well_e, rel=0.02)


def test_a_rehearsal_ends_in_its_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse", "dark", "flat", "distance", "--hidden", "5", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    answers = {cells[1]: cells for line in said.splitlines() if len(cells := line.split()) > 6}
    # The truth is drawn anew: it isn't what the instrument file says.
    assert 470 < float(answers["distance_um"][2]) < 530
    assert answers["distance_um"][2] not in ("500", "500.0")
    assert {answers[name][-1] for name in ("dark_level_counts", "read_noise_e", "electrons_per_count", "distance_um")} <= {
        "yes",
        "no",
    }
    assert "3 calibrations" in said
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"dark", "flat", "distance"}


def test_one_by_hand_ends_in_its_answers_too_and_a_recording_has_none(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dark", "--config", str(config), "--yes", "--hidden", "2"]) == 0
    assert "95 % holds" in capsys.readouterr().out
    np.save(tmp_path / "dark.npy", np.full((64, 64), 64, np.uint16))
    assert main(["dark", str(tmp_path / "dark.npy"), "--config", str(config), "--hidden", "2"]) == 2
    assert "--hidden" in capsys.readouterr().err


def test_a_calibration_that_nobody_knows_is_not_rehearsed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse", "taste"]) == 2
    assert "no such calibration" in capsys.readouterr().err


def test_distance_of_beads_in_the_twin_holds_the_truth(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distance", "--config", str(config), "--yes", "--json", "--count", "1"]) == 0
    measured = json.loads(capsys.readouterr().out)["values"]["distance_um"]
    assert abs(measured["value"] - 500.0) <= 2.5 * measured["uncertainty"]


def test_recorded_light_offered_as_dark_ends_in_status_4(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for k in range(4):
        np.save(tmp_path / f"frame{k}.npy", rng.poisson(600, (64, 64)).astype(np.uint16))
    frames = [str(tmp_path / f"frame{k}.npy") for k in range(4)]
    assert main(["dark", *frames, "--config", str(config)]) == 4
    assert "not dark" in capsys.readouterr().out


def test_frames_without_beads_are_bad_input(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "empty.npy", rng.poisson(600, (256, 256)).astype(np.uint16))
    assert main(["distance", str(tmp_path / "empty.npy"), "--config", str(config)]) == 2
    assert "beads" in capsys.readouterr().err


def test_the_doctor_looks_through_the_optics_once_they_were_commissioned(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flat", "--config", str(config), "--yes"]) == 0
    capsys.readouterr()
    holonode(["doctor", "--config", str(config), "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["calibration"]["status"] == "ok"
    assert checks["background level"]["status"] == "ok"
