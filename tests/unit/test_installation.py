"""What an error advises installs by the lock of this installation, and never asks an index for the program's own name."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from device.installation import how_to_install

ROOT = Path(__file__).resolve().parents[2]
ADVISED = sorted(
    {
        name
        for folder in ("device", "models", "calibration", "deploy")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"how_to_install\([\"'](\w+)[\"']\)", path.read_text(encoding="utf-8"))
    }
)


def test_extras_are_advised_at_all() -> None:
    assert {"export", "fleet", "formats", "phase", "train"} <= set(ADVISED)


@pytest.mark.parametrize("extra", ADVISED)
def test_what_is_advised_is_locked_with_hashes_and_names_no_host(extra: str) -> None:
    lock = ROOT / "requirements" / f"{extra}.lock"
    assert how_to_install(extra) == f"Install it: {sys.executable} -m pip install --require-hashes -r {lock}"
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    pinned = re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)
    assert pinned
    assert text.count("--hash=sha256:") >= len(pinned)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = {re.split(r"[\[>=<]", name)[0].lower() for name in extras.get(extra, [])}
    assert wanted <= set(pinned) | {"keras"}


@pytest.mark.parametrize("extra", sorted(set(ADVISED) - {"train", "box"}))
def test_an_extra_keeps_the_versions_of_the_box_and_the_tests(extra: str) -> None:
    def versions(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))

    known = versions("box") | versions("dev")
    assert {name: known.get(name, version) for name, version in versions(extra).items()} == versions(extra)


_BOXS_ALONE = {"ai-edge-litert", "pyserial", "tflite-runtime", "tuf"}
"""Models' runtime, controller's line, updates: nothing of a fleet imports them."""


def test_the_fleets_lock_is_all_that_its_machines_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        re.split(r"[\[>=<;]", name)[0].lower()
        for name in (*project["dependencies"], *project["optional-dependencies"]["fleet"])
    }
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements/fleet.lock").read_text(encoding="utf-8"), re.MULTILINE))
    assert wanted - _BOXS_ALONE <= pinned
    assert not _BOXS_ALONE & pinned
    blocked = [*_BOXS_ALONE, "amqtt", "ai_edge_litert", "tflite_runtime", "serial", "securesystemslib"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import importlib, pkgutil, deploy.fleet\n"
        "for one in pkgutil.walk_packages(deploy.fleet.__path__, 'deploy.fleet.'): importlib.import_module(one.name)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_locks_the_packages_themselves_are_named(tmp_path: Path) -> None:
    said = how_to_install("formats", root=tmp_path)
    assert "h5py>=3.10" in said
    assert sys.executable in said
    assert "holonode" not in said.removeprefix(f"Install it from where this program's packages came from: {sys.executable}")


def test_no_error_names_the_program_for_an_index_to_look_up() -> None:
    for folder in ("device", "models", "calibration", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "pip install" not in path.read_text(encoding="utf-8").replace("-m pip install", "")
