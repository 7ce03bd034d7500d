"""The model store under processes: killed at every step, and two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from device.inference.active import activate, install
from device.inference.store import ModelStore
from device.rig.models import ARTEFACTS
from tests.faults.models_corruption import released
from tests.services import ROOT

NAME = "bioaerosol"


def in_use(store: ModelStore) -> str:
    return store.find(NAME).manifest.version


_KILLED = """
import os, signal, sys
from pathlib import Path
from device.inference import active
from device.inference.store import ModelStore

left = int(sys.argv[4])
def deadly(call):
    def wrapped(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return wrapped

# The self-test has no part in what a kill leaves behind.
active.verify_golden_in_child = lambda bundle: None
os.fsync, os.open, Path.replace = deadly(os.fsync), deadly(os.open), deadly(Path.replace)
store = ModelStore(Path(sys.argv[1]), installed=Path(sys.argv[2]))
active.install(store, Path(sys.argv[3]), None)
active.activate(store, "bioaerosol", "9.0.0", None)
"""


def test_a_kill_at_any_step_leaves_a_usable_store(tmp_path: Path) -> None:
    usb = tmp_path / "usb"
    model = released(usb, "9.0.0")
    seen: set[str] = set()
    for step in range(40):
        store = ModelStore(ARTEFACTS, installed=tmp_path / f"store-{step}")
        install(store, released(usb, "8.0.0"), None)
        activate(store, NAME, "8.0.0", None)
        assert store.installed is not None
        command = [sys.executable, "-c", _KILLED, str(ARTEFACTS), str(store.installed), str(model), str(step)]
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=200)
        seen.add(in_use(store))
        assert store.fault(NAME) is None
        assert all(store.find(str(path)) for path in store.models())
        install(store, model, None)
        activate(store, NAME, "9.0.0", None)
        assert in_use(store) == "9.0.0"
        assert not list(store.installed.glob("*.partial"))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    else:
        pytest.fail("never came to its end")
    assert seen == {"8.0.0", "9.0.0"}


def test_two_at_once(tmp_path: Path) -> None:
    store, box, usb = ModelStore(ARTEFACTS, installed=tmp_path / "store" / "models"), tmp_path / "box.toml", tmp_path / "usb"
    box.write_text(f'[storage]\nfolder = "{tmp_path / "store"}"\n')
    models = [released(usb, version) for version in ("8.0.0", "9.0.0")]
    environment = dict(os.environ, OMP_NUM_THREADS="1")

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "device", "models", *arguments, "--config", str(box)]
        return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    def results(*started: subprocess.Popen[str]) -> list[str]:
        told = [process.communicate(timeout=120) for process in started]
        assert [process.returncode for process in started] == [0] * len(started), told
        return [out for out, _ in told]

    told = results(*(start("install", "--allow-older", str(model)) for model in (*models, models[0])))
    assert sorted("already there" in out for out in told) == [False, False, True]
    results(*(start("activate", "--allow-older", NAME, version) for version in ("8.0.0", "9.0.0")))
    assert len(store.activations()[NAME]) == 2
