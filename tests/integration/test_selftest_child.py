"""The process that tests a model: begun again where it was ended from outside or hangs, given up where the model is to blame.

What it may take is the processor's time, so a slow machine passes; and what passed is tested once.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import msgspec
import pytest

from device.config import Config, MqttConfig, StorageConfig
from device.errors import CheckError
from device.inference import selftest_runs
from device.inference.store import ModelStore, verify_golden_in_child
from device.rig.models import ARTEFACTS
from device.service import Service
from device.settings import STATE_KEY
from device.stopping import StoppedError, Stopping
from device.storage.outbox import Outbox


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the self-test."""
    monkeypatch.setattr(selftest_runs, "_passed", set())
    monkeypatch.setattr(selftest_runs, "_AGAIN_S", 0.0)
    script = tmp_path / "selftest"
    monkeypatch.setattr(selftest_runs.sys, "executable", str(script))
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
    monkeypatch.setattr(selftest_runs, "_STILL_LIMIT_S", 1.0)
    stands_for_it(program, "exec sleep 1000")
    with pytest.raises(CheckError, match="doesn't finish its self-test"):
        verify()
    assert runs(program) == 2


def test_a_self_test_that_computes_for_ever_is_given_up_by_the_processors_time(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest_runs, "_PROCESSOR_LIMIT_S", 0.5)
    stands_for_it(program, "while :; do :; done")
    with pytest.raises(CheckError, match="of processor time and no answer"):
        verify()
    assert runs(program) == 1


def test_a_self_test_on_a_machine_that_hardly_gives_it_time_is_waited_for(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten looks' worth of wall time go by for every bit of work; the wall's limit is for standing still.
    monkeypatch.setattr(selftest_runs, "_STILL_LIMIT_S", 4.0)
    burst = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    stands_for_it(program, f"for n in 1 2 3 4 5 6; do {burst}; sleep 1; done")
    verify()
    assert runs(program) == 1


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_runs, "_passed", set())


def test_what_passed_is_not_tested_again_after_a_restart_until_anything_it_depends_on_changes(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands_for_it(program, "exit 0")
    bundle = ModelStore(ARTEFACTS).find("hidef")

    def start() -> int:
        another_process(monkeypatch)
        verify_golden_in_child(bundle, tmp_path)
        return runs(program)

    assert [start(), start()] == [1, 1]
    with monkeypatch.context() as other:
        other.setattr(selftest_runs, "runtime_name", lambda: "another runtime 9.9")
        assert [start(), start()] == [2, 2]
    assert start() == 3, "this runtime's word was replaced by the other's"
    with monkeypatch.context() as other:
        other.setattr(selftest_runs, "machine", lambda: "another board")
        assert start() == 4
    (tmp_path / selftest_runs.PASSED_FILE).write_bytes(b'{"runtime":')
    assert [start(), start()] == [5, 5]
    verify_golden_in_child(ModelStore(ARTEFACTS).find("bioaerosol"), tmp_path)
    assert runs(program) == 6


def test_a_digest_is_compared_however_often_the_model_passed(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands_for_it(program, "exit 0")
    shipped = tmp_path / "shipped"
    shutil.copytree(ARTEFACTS, shipped)
    store = ModelStore(shipped, installed=tmp_path)
    store.open("bioaerosol")
    another_process(monkeypatch)
    model = store.find("bioaerosol").model
    content = bytearray(model.read_bytes())
    content[5000] ^= 1
    model.write_bytes(content)
    with pytest.raises(CheckError, match="not the one its manifest names"):
        store.open("bioaerosol")
    assert runs(program) == 1


def test_this_machine_is_the_same_from_look_to_look() -> None:
    assert selftest_runs.machine() == selftest_runs.machine()


def test_a_model_that_takes_its_process_down_is_not_tried_twice(program: Path) -> None:
    stands_for_it(program, "kill -SEGV $$")
    with pytest.raises(CheckError, match="takes its process down"):
        verify()
    assert runs(program) == 1


def test_a_stop_ends_the_self_test_at_once(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Stopping()
    asked.ask()
    monkeypatch.setattr(selftest_runs, "PROGRAM", asked)
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
    monkeypatch.setattr(selftest_runs, "PROGRAM", asked)
    monkeypatch.setattr(Stopping, "catch", lambda _self: None)
    stands_for_it(program, "exec sleep 1000")
    threading.Timer(1.0, asked.ask).start()
    assert Service(config, lambda _line: None, stopping=asked).run() == 0
    outbox = Outbox(folder, config.device.id)
    assert outbox.get_state(STATE_KEY) == '{"sampling.pause_s":7.0}'
    outbox.close()
