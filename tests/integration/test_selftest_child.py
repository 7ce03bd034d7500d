"""The process that tests a model: begun again where it was ended from outside or hangs, given up where the model is to blame."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import msgspec
import pytest

from device.config import Config, MqttConfig, StorageConfig
from device.errors import CheckError
from device.inference import store
from device.inference.store import ModelStore, verify_golden_in_child
from device.rig.models import ARTEFACTS
from device.service import Service
from device.settings import STATE_KEY
from device.stopping import StoppedError, Stopping
from device.storage.outbox import Outbox


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the self-test."""
    monkeypatch.setattr(store, "_verified", set())
    monkeypatch.setattr(store, "_AGAIN_S", 0.0)
    script = tmp_path / "selftest"
    monkeypatch.setattr(store.sys, "executable", str(script))
    return script


def stands_for_it(script: Path, text: str) -> None:
    script.write_text(f"#!/bin/sh\necho run >> {script}.runs\n{text}\n")
    script.chmod(0o755)


def runs(script: Path) -> int:
    return len(Path(f"{script}.runs").read_text().splitlines())


def verify() -> None:
    verify_golden_in_child(ModelStore(ARTEFACTS).find("hidef"))


def test_a_self_test_that_something_ended_is_begun_again(program: Path) -> None:
    stands_for_it(program, f"[ $(wc -l < {program}.runs) -gt 1 ] || kill -KILL $$")
    verify()
    assert runs(program) == 2


def test_a_self_test_that_hangs_is_begun_again_then_given_up(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_CHILD_TIMEOUT_S", 1.0)
    stands_for_it(program, "exec sleep 1000")
    with pytest.raises(CheckError, match="doesn't finish its self-test"):
        verify()
    assert runs(program) == 2


def test_a_model_that_takes_its_process_down_is_not_tried_twice(program: Path) -> None:
    stands_for_it(program, "kill -SEGV $$")
    with pytest.raises(CheckError, match="takes its process down"):
        verify()
    assert runs(program) == 1


def test_a_stop_ends_the_self_test_at_once(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Stopping()
    asked.ask()
    monkeypatch.setattr(store, "PROGRAM", asked)
    stands_for_it(program, "echo $$ > $0.pid; exec sleep 1000")
    with pytest.raises(StoppedError):
        verify()
    said = Path(f"{program}.pid")
    # Empty, or not there: it was ended before it could say.
    if said.exists() and (pid := said.read_text().strip()):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), signal.SIGCONT)


def test_a_stop_within_the_start_gives_up_no_setting_that_was_changed_from_afar(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    config = msgspec.structs.replace(
        Config(), storage=StorageConfig(folder=str(folder)), mqtt=MqttConfig(url="mqtt://127.0.0.1:9")
    )
    outbox = Outbox(folder, config.device.id)
    outbox.keep({STATE_KEY: '{"sampling.pause_s":7.0}'})
    outbox.close()
    asked = Stopping()
    monkeypatch.setattr(store, "PROGRAM", asked)
    monkeypatch.setattr(Stopping, "catch", lambda _self: None)
    stands_for_it(program, "exec sleep 1000")
    threading.Timer(1.0, asked.ask).start()
    assert Service(config, lambda _line: None, stopping=asked).run() == 0
    outbox = Outbox(folder, config.device.id)
    assert outbox.get_state(STATE_KEY) == '{"sampling.pause_s":7.0}'
    outbox.close()
