"""The service's own broker: known by more than its number, watched, started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from device.messaging.broker import USUAL_PORT, OwnBroker
from device.messaging.broker_keeper import BrokerKeeper
from device.processes import Process, process
from tests.brokers import Broker, Subscriber, broker, free_port
from tests.services import ROOT, Service


@pytest.fixture
def unrelated(tmp_path: Path) -> Iterator[Broker]:
    """Somebody else's mosquitto."""
    with broker(tmp_path / "else") as started:
        yield started


def number_of(running: Broker) -> int:
    assert running._process is not None
    return running._process.pid


def records(running: Broker) -> dict[str, dict[str, object]]:
    """What a file beside the store may say of a process that has got the number of a broker that is gone."""
    pid = number_of(running)
    there = process(pid)
    assert there is not None
    known = {"pid": pid, "started_ticks": there.started_ticks, "boot_id": there.boot_id, "executable": there.executable}
    before, other_boot = {"started_ticks": there.started_ticks - 1}, {"boot_id": "0" * 36}
    return {
        "by its number alone": {"kind": "mosquitto", "port": running.port, "pid": pid},
        "started earlier": {"kind": "mosquitto", "port": running.port, "process": known | before},
        "before a reboot": {"kind": "mosquitto", "port": running.port, "process": known | other_boot},
    }


@pytest.mark.parametrize("name", ["by its number alone", "started earlier", "before a reboot"])
def test_an_unrelated_process_with_the_number_of_a_broker_that_is_gone_is_left_alone(
    tmp_path: Path, unrelated: Broker, name: str
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "broker.json").write_text(json.dumps(records(unrelated)[name]))
    own = OwnBroker.start(store)
    try:
        assert own.process.pid != number_of(unrelated)
        assert own.port != unrelated.port
    finally:
        own.stop()
    assert process(number_of(unrelated)) is not None
    assert not own.process.is_alive


def test_a_broker_of_a_service_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    port = free_port()
    first = OwnBroker.start(tmp_path, port)
    second = OwnBroker.start(tmp_path, port)
    assert second.process == first.process
    second.stop()
    assert not first.process.is_alive


def test_a_broker_that_no_file_names_is_ended_and_its_port_is_free_for_another(tmp_path: Path) -> None:
    port = free_port()
    orphan = OwnBroker.start(tmp_path, port)
    (tmp_path / "broker.json").unlink()
    own = OwnBroker.start(tmp_path, port)
    try:
        assert own.process != orphan.process
        assert not orphan.process.is_alive
    finally:
        own.stop()


def test_a_process_that_ended_is_not_the_one_that_gets_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = process(child.pid)
    assert known is not None
    assert known.is_alive
    other = Process(pid=known.pid, started_ticks=known.started_ticks + 1, boot_id=known.boot_id, executable=known.executable)
    other.end(0.1)
    assert known.is_alive
    known.end()
    assert not known.is_alive
    child.communicate()


def test_a_broker_that_never_answers_is_ended_though_it_ignores_sigterm(tmp_path: Path) -> None:
    own = OwnBroker.start(tmp_path, free_port())
    os.kill(own.process.pid, signal.SIGSTOP)
    assert not own.answers()
    own.process.end(0.5)
    assert not own.process.is_alive


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_broker_that_ends_or_hangs_is_started_again_and_told(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    service = Service.configured(tmp_path, "", mqtt=f"own_broker_port = {port}")
    with service.started():
        service.until_said(" particles (", 200)
        first = json.loads((tmp_path / "store" / "broker.json").read_text())["process"]["pid"]
        os.kill(first, number)
        service.until_said("it was started again", 200)
        again = json.loads((tmp_path / "store" / "broker.json").read_text())["process"]["pid"]
        assert again != first
        assert process(first) is None
        listener = Subscriber(port)
        listener.until("events", code="broker_restarted", timeout_s=100)
        listener.until("health", timeout_s=100)
        listener.close()
        status, said = service.finish(timeout_s=200)
    assert status == 0, said
    assert process(again) is None


def test_a_broker_that_does_not_start_again_is_told_once_and_tried_ever_later(tmp_path: Path) -> None:
    own, now_s, told = OwnBroker.start(tmp_path, free_port()), [0.0], list[str]()
    keeper = BrokerKeeper(own, lambda code, _severity, _message: told.append(code), monotonic=lambda: now_s[0])
    own.process.end()
    with socket.socket() as taken:
        # What its clients left behind holds the port for a minute; somebody who listens there holds it all the same.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", own.port))
        taken.listen()
        tries: list[float] = []
        for _ in range(40):
            failures = keeper.counts.failures
            keeper.poll()
            tries += [now_s[0]] * (keeper.counts.failures - failures)
            now_s[0] += 1.0
        assert told == ["broker_down"]
        assert [round(b - a) for a, b in pairwise(tries)] == [1, 2, 4, 8, 16]
        assert keeper.check().status == "warning"
    now_s[0] += 60
    keeper.poll()
    assert told == ["broker_down", "broker_restarted"]
    assert keeper.broker.answers()
    keeper.stop()
    assert not keeper.broker.process.is_alive


def test_a_usual_port_that_belongs_to_another_program_is_told(tmp_path: Path) -> None:
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", USUAL_PORT))
            other.listen()
        except OSError:
            pass  # somebody else has it: as well
        service = Service.configured(tmp_path, "", intervals=1)
        status, said = service.run(200)
    assert status == 0
    assert f"Port {USUAL_PORT} belongs to another program" in said


def test_the_pure_python_broker_is_known_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("amqtt")
    monkeypatch.setattr("device.messaging.broker._MOSQUITTO_PLACES", ())
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    own = OwnBroker.start(tmp_path, free_port())
    assert own.kind == "amqtt"
    assert OwnBroker.start(tmp_path, own.port).process == own.process
    own.stop()
    assert not own.process.is_alive


def _listening(pid: int) -> set[str]:
    """Local addresses, as the kernel writes them, at which a process takes connections."""
    sockets = set[str]()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(descriptor.readlink()))
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_without_settings_nothing_listens_beyond_this_machine(tmp_path: Path) -> None:
    with Service.configured(tmp_path, "", web="").started() as service:
        service.until_said("dashboard")
        kept = json.loads((tmp_path / "store" / "broker.json").read_text())
        own, brokers = _listening(service.pid), _listening(kept["process"]["pid"])
    loopback = {"0100007F", "00000000000000000000000001000000"}
    assert own
    assert brokers
    assert own | brokers <= loopback
