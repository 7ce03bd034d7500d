"""The command line answers at once and fails politely."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from device.cli import main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "scipy", "cv2", "msgspec", "paho", "serial", "ai_edge_litert")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from device.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["config", "detection", "event/1", "instrument", "manifest", "calibration"])
def test_schemas_are_json_schemas(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org")


BAD = {
    "missing file": (["replay", "nothing.png", "--out", "x", "--wavelength-um", "0.5", "--pitch-um", "1", "--distance-um", "500"], 2),
    "distance in millimetres below": (
        ["replay", "tests", "--out", "x", "--wavelength-um", "532", "--pitch-um", "1", "--distance-um", "500"], 2,
    ),
    "no geometry": (["focus", "nothing.png", "--range-um", "1", "2"], 2),
    "unknown key": (["run", "--config", "pyproject.toml"], 2),
    "no such model": (["models", "verify", "nobody"], 2),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_paragraph_and_exit_2(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, status = BAD[case]
    monkeypatch.chdir(ROOT)
    ended = main([str(tmp_path / a) if a == "x" else a for a in arguments])
    told = capfd.readouterr().err
    assert ended == status, told
    assert told.startswith("holonode ")
    assert len(told.strip().splitlines()) == 1


def test_doctor_names_every_check_and_what_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "box.toml"
    config.write_text(
        f'[controller]\nport = "/dev/no-such"\n[pump]\ndriver = "serial"\n[lamp]\ndriver = "twin"\n[environment]\ndriver = "none"\n[storage]\nfolder = "{tmp_path}"\n'
    )
    assert main(["doctor", "--json", "--config", str(config)]) == 4
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["controller"]["status"] == "failed"
    assert "serial/by-id" in checks["controller"]["remedy"]
    assert checks["model hidef"]["status"] == "ok"


def test_twin_writes_frames_with_their_truth(tmp_path: Path) -> None:
    wanted = ["--out", str(tmp_path / "f"), "--truth", str(tmp_path / "t.jsonl"), "--frames", "2", "--seed", "3"]
    assert main(["twin", *wanted]) == 0
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["background.png", "frame-0000.png", "frame-0001.png"]
    truth = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert {"label", "x_um", "y_um", "z_um", "esd_um", "name"} <= set(truth[0])
