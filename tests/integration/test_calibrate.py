"""`holonode-calibrate` on the simulated instrument, and what the box makes of the records."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from calibration.cli import main
from device.config import load_config
from device.health.optics import compare_optics, measure_baseline
from device.instrument import load_instrument
from device.rig.build import build_rig
from device.rig.records import calibrations
from device.rig.simulated import twin_world


def _run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    status = main([*arguments, "--yes", "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_measured_figures_reach_the_geometry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for procedure in ("dark", "flat", "pitch"):
        status, record = _run([procedure, "--out", str(tmp_path), "--operator", "me"], capsys)
        assert (status, record["verdict"]) == (0, "pass")
        assert len(record["sources"]) >= 2
    config = load_config(None)
    config = msgspec.structs.replace(config, calibration=msgspec.structs.replace(config.calibration, folder=str(tmp_path)))
    nominal = load_instrument(config.device.instrument)
    found = calibrations(config, nominal)
    assert {r.procedure for r in found.used} == {"dark", "flat", "pitch"}
    assert found.instrument.sensor.pitch_um == pytest.approx(1.12, rel=0.002)
    assert found.instrument.sensor.pitch_um != 1.12


def test_doctor_names_a_lamp_that_lost_its_light(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["flat", "--out", str(tmp_path)], capsys)[0] == 0
    config = load_config(None)
    config = msgspec.structs.replace(config, calibration=msgspec.structs.replace(config.calibration, folder=str(tmp_path)))
    instrument = load_instrument(config.device.instrument)
    record = calibrations(config, instrument).newest("flat")
    assert record is not None
    statuses = []
    for ageing in (1.0, 0.7):
        world = twin_world(config, instrument=instrument)
        world.lamp_ageing = ageing
        drivers = build_rig(config, instrument, world)
        checks = compare_optics(measure_baseline(config, instrument, drivers.camera, drivers.lamp), record)
        drivers.close()
        statuses.append({check.name: (check.status, check.message) for check in checks})
    assert statuses[0]["background level"][0] == "ok"
    assert statuses[1]["background level"][0] == "warning"
    assert "-30%" in statuses[1]["background level"][1]


def test_a_failed_procedure_says_so_and_leaves_a_record_that_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "frames"
    assert main(["dark", "--out", str(tmp_path / "first"), "--yes"]) == 0
    capsys.readouterr()
    from device.cli import main as holonode

    assert holonode(["twin", "--out", str(frames), "--truth", str(frames / "truth.jsonl"), "--frames", "4"]) == 0
    capsys.readouterr()
    status, record = _run(["dark", str(frames), "--out", str(tmp_path / "second")], capsys)
    assert (status, record["verdict"]) == (4, "fail")
    found = calibrations(
        msgspec.structs.replace(
            load_config(None),
            calibration=msgspec.structs.replace(load_config(None).calibration, folder=str(tmp_path / "second")),
        ),
        load_instrument("bioaerosol-imx219-850nm"),
    )
    assert not found.used
    assert "not dark" in found.refused[0]


def test_no_beads_is_one_clear_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flow", "--interval-s", "0.1", "--channel-width-um", "5000", "--out", str(tmp_path), "--yes"]) == 2
    assert "recorded frames" in capsys.readouterr().err
