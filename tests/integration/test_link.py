"""The link on a real broker, through what brokers do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.config import MqttConfig
from device.errors import InputError
from device.messaging.link import LinkState, MqttLink, parse_url
from device.messaging.payloads import Info
from device.storage.outbox import Outbox
from tests.brokers import Subscriber, broker
from tests.unit.test_outbox import events

INFO = Info(
    device_id="box", software={}, instrument={}, instrument_id="i", calibration_id=None, models={}, pipeline_id="p", config={},
    config_hash="c",
)  # fmt: skip


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "store", "box")
    yield made
    made.close()


def linked(outbox: Outbox, url: str, troubles: list[str] | None = None, **options: object) -> MqttLink:
    def heard(code: str, message: str) -> None:
        if troubles is not None:
            troubles.append(code)

    link = MqttLink(MqttConfig(url=url, **options), parse_url(url), outbox, INFO, on_warning=heard)  # type: ignore[arg-type]
    link.start()
    return link


def eventually(true: Callable[[], bool], timeout_s: float = 120) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)


def seqs(listener: Subscriber, quiet_s: float = 1.5) -> list[int]:
    return [m["seq"] for topic, m, _ in listener.drain(quiet_s) if topic.endswith("/events")]


def test_a_thousand_rows_go_out_in_order_while_more_are_committed(tmp_path: Path, outbox: Outbox) -> None:
    with broker(tmp_path / "b") as running:
        listener = Subscriber(running.port)
        outbox.commit(events(500))
        link = linked(outbox, running.url)
        for _ in range(100):
            outbox.commit(events(5))
            link.notify()
        eventually(lambda: outbox.depth() == 0)
        link.stop()
        assert seqs(listener) == list(range(1, 1001))
        listener.close()


def test_after_the_broker_is_killed_and_back_nothing_is_missing(tmp_path: Path, outbox: Outbox) -> None:
    with broker(tmp_path / "b") as running:
        listener = Subscriber(running.port)
        link = linked(outbox, running.url)
        outbox.commit(events(50))
        link.notify()
        eventually(lambda: outbox.depth() == 0)
        # Queued for the listener's session, and on disk, before the broker dies.
        running.wait_until_saved()
        running.stop(kill=True)
        eventually(lambda: link.state is LinkState.LOST)
        outbox.commit(events(50))
        link.notify()
        running.start()
        eventually(lambda: outbox.depth() == 0)
        link.stop()
        found = seqs(listener, 3)
        assert list(dict.fromkeys(found)) == list(range(1, 101))
        listener.close()


def test_a_publish_that_the_broker_denies_is_kept_and_told(tmp_path: Path, outbox: Outbox) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite holonode/v1/box/status\ntopic readwrite holonode/v1/box/info\ntopic read holonode/#\n")
    rules.chmod(0o600)
    troubles: list[str] = []
    with broker(tmp_path / "b", "allow_anonymous true", f"acl_file {rules}") as running:
        link = linked(outbox, running.url, troubles)
        outbox.commit(events(3))
        link.notify()
        eventually(lambda: "publish_refused" in troubles)
        time.sleep(0.5)
        link.stop(0.5)
    assert outbox.depth() == 3
    assert link.refused_publishes >= 1
    assert troubles.count("publish_refused") == 1


def test_a_broker_that_wants_a_password_refuses_until_it_is_given(tmp_path: Path, outbox: Outbox) -> None:
    import subprocess

    passwords = tmp_path / "passwords"
    passwords.touch()
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "box", "right"], check=True)
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    troubles: list[str] = []
    with broker(tmp_path / "b", "allow_anonymous false", f"password_file {passwords}") as running:
        outbox.commit(events(2))
        link = linked(outbox, running.url, troubles)
        eventually(lambda: link.state is LinkState.REFUSED)
        link.stop(0.5)
        assert outbox.depth() == 2
        assert "broker_refused" in troubles
        link = linked(outbox, running.url, username="box", password_file=str(secret))
        eventually(lambda: outbox.depth() == 0)
        link.stop()


def test_stopping_before_anything_answered_returns(outbox: Outbox) -> None:
    link = linked(outbox, "mqtt://127.0.0.1:9")
    link.stop(0.5)
    assert link.state is LinkState.STOPPED


@pytest.mark.parametrize("url", ["localhost:1883", "http://broker", "mqtt://", "mqtt://h:x", "mqtt://h:99999", "mqtt://h/path"])
def test_what_is_no_broker_url_is_one_clear_error(url: str) -> None:
    with pytest.raises(InputError, match="not a broker's URL"):
        parse_url(url)


@pytest.mark.parametrize("url", ["mqtt://user:hunter2@broker", "mqtt://user:hunter2@broker:x", "http://user:hunter2@broker"])
def test_credentials_in_a_url_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(InputError, match=r"credentials|not a broker's URL") as raised:
        parse_url(url)
    assert "hunter2" not in str(raised.value)
