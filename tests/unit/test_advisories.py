"""Known weaknesses of locked packages: what pip-audit did not look up is never called sound."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.advisories import main

LOCK = "one==1.0 \\\n    --hash=sha256:00\ntwo==2.0 \\\n    --hash=sha256:11\n"
SOUND = [{"name": "one", "version": "1.0", "vulns": []}, {"name": "two", "version": "2.0", "vulns": []}]
WEAK = {
    "name": "two",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}],
}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text(LOCK)
    return path


def answers(monkeypatch: pytest.MonkeyPatch, folder: Path, said: str, status: int = 0) -> None:
    """A pip-audit that says this, as the real one does: what it found on stdout, its judgement in its exit status."""
    program = folder / "pip-audit"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint({said!r})\nsys.exit({status})\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PIP_AUDIT", str(program))


def found(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


def test_what_was_looked_up_and_is_sound_is_called_so(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, tmp_path, found(*SOUND))
    assert main([lock]) == 0
    assert capsys.readouterr().out == "some.lock: 2 of 2 packages checked, 0 known weaknesses\n"


def test_a_weak_package_is_named_with_what_mends_it(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, tmp_path, found(SOUND[0], WEAK), status=1)
    assert main([lock]) == 1
    assert "two 2.0: PYSEC-1, mended in 2.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "said",
    [
        found(*({"name": name, "skip_reason": "could not be audited"} for name in ("one", "two"))),
        found(SOUND[0], {"name": "two", "skip_reason": "could not be audited"}),
        found(SOUND[0]),
        found(),
        "",
        "Traceback",
    ],
    ids=["all skipped", "one skipped", "one left out", "all left out", "nothing", "no answer"],
)
def test_what_was_not_looked_up_is_never_called_sound(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    answers(monkeypatch, tmp_path, said)
    assert main([lock]) == 4
    assert "not checked" in capsys.readouterr().out


def test_a_weakness_outweighs_what_was_not_looked_up(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, tmp_path, found({"name": "one", "skip_reason": "could not be audited"}, WEAK), status=1)
    assert main([lock, lock]) == 1


def test_without_pip_audit_nothing_is_checked(
    lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_AUDIT", "/nowhere/pip-audit")
    assert main([lock]) == 4
    assert "pip install pip-audit" in capsys.readouterr().out
