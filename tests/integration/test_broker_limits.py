"""What a broker announces binds the link; `python -m tests.faults.broker_limits` meets many more."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from device.messaging import reasons
from device.messaging.limits import Limits
from tests.faults.broker_limits import Box, mosquitto, scripted
from tests.integration.test_link import eventually
from tests.scripted_broker import Announced, ScriptedBroker


@pytest.mark.parametrize(
    "announced",
    [
        Announced(most_bytes=3000),
        Announced(most_bytes=200, retain=0),
        Announced(receive_maximum=1, most_bytes=1000),
        Announced(receive_maximum=2, retain=0, wildcards=0),
        Announced(qos=0, most_bytes=500),
        Announced(topic_aliases=0, keepalive_s=5, qos=1),
    ],
    ids=str,
)
def test_one_connection_every_record_that_fits_and_each_limitation_told(announced: Announced, tmp_path: Path) -> None:
    verdict = scripted(announced, tmp_path)
    assert verdict.sound, verdict


@pytest.mark.parametrize("announced", [Announced(most_bytes=3000), Announced(retain=0), Announced(qos=0)], ids=str)
def test_the_same_of_mosquitto(announced: Announced, tmp_path: Path) -> None:
    verdict = mosquitto(announced, tmp_path)
    assert verdict.sound, verdict


def test_what_is_too_large_is_shortened_and_told_by_its_name_and_size(tmp_path: Path) -> None:
    broker = ScriptedBroker(Announced(most_bytes=2000))
    box = Box(tmp_path, broker.url)
    box.link.start()
    try:
        box.commit([10, 3000, 20])
        eventually(lambda: box.outbox.depth() == 1 and bool(broker.payloads("info")))
        (info,) = broker.payloads("info")
        assert info["shortened"][0] == "config"
        assert info["config"] is None
        assert info["config_hash"]
        told = [message for code, message in box.troubles if code == "message_shortened"]
        assert any(message.startswith("info (") and "is shortened to" in message for message in told)
        set_aside = [message for code, message in box.troubles if code == "record_set_aside"]
        assert len(set_aside) == 1
        assert set_aside[0].startswith("Record 2 can't be delivered")
        assert "2000 bytes" in set_aside[0]
        delivery, limits, _ = box.checks()
        assert "record 2 (" in delivery.message
        assert "info (" in limits.message
        assert limits.status == "warning"
        assert limits.remedy
    finally:
        box.close()
        broker.close()


def test_records_come_back_once_the_broker_takes_them(tmp_path: Path) -> None:
    broker = ScriptedBroker(Announced(most_bytes=1000))
    box = Box(tmp_path, broker.url)
    box.link.start()
    try:
        box.commit([10, 3000])
        eventually(lambda: box.outbox.depth() == 1)
        broker.announced = Announced(most_bytes=10_000)
        broker.end_all(139)
        eventually(lambda: box.outbox.depth() == 0)
        assert any("Server shutting down (139)" in message for code, message in box.troubles if code == "broker_lost")
    finally:
        box.close()
        broker.close()


@pytest.mark.parametrize("code", [130, 139, 141, 142, 147, 149, 151, 152, 154, 155, 156, 160])
def test_why_a_broker_ends_a_connection_is_named_with_what_to_do(code: int, tmp_path: Path) -> None:
    broker = ScriptedBroker(Announced())
    box = Box(tmp_path, broker.url)
    box.link.start()
    try:
        eventually(lambda: bool(broker.payloads("status")))
        broker.end_all(code)
        eventually(lambda: any(said[0] == "broker_lost" for said in box.troubles))
        (message,) = [message for said, message in box.troubles if said == "broker_lost"]
        assert reasons.named(code) in message
        assert reasons.remedy_of(code) in message
        assert reasons.named(code) in " ".join(check.message for check in box.checks())
    finally:
        box.close()
        broker.close()


def test_every_reason_code_of_mqtt_5_that_paho_knows_has_its_name_and_a_remedy() -> None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.reasoncodes import ReasonCode

    for code, names in ReasonCode(PacketTypes.DISCONNECT, identifier=0).names.items():
        if code in (1, 2):  # granted QoS
            continue
        known = {name.lower().replace("normal disconnection", "") for name in names}
        said = reasons.named(code).rpartition(" (")[0].lower()
        assert code == 0 or any(said.replace("existed", "found").startswith(name[:8]) for name in known), (said, known)
        assert reasons.remedy_of(code)


def test_a_broker_that_cuts_every_connection_at_once_is_called_ever_later(tmp_path: Path) -> None:
    broker = ScriptedBroker(Announced())
    box = Box(tmp_path, broker.url)
    box.link.start()
    try:
        until = time.monotonic() + 12
        while time.monotonic() < until:
            broker.end_all(131)
            time.sleep(0.01)
        assert 2 <= broker.connections <= 6
    finally:
        box.close()
        broker.close()


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_broker_that_hangs_up_on_records_it_has_acknowledged_is_told_of_as_such(protocol: str, tmp_path: Path) -> None:
    broker = ScriptedBroker(Announced(hangs_up_on="/events"))
    box = Box(tmp_path, broker.url, protocol=protocol, confirm="collector")
    box.link.start()
    try:
        box.commit([10] * 20)
        eventually(lambda: broker.connections >= 4)
        assert "publish_refused" in [code for code, _ in box.troubles]
        # Neither another message nor another client is to blame.
        assert not {"message_shortened", "identity_contended"} & {code for code, _ in box.troubles}
        assert box.outbox.depth() == 20
    finally:
        box.close()
        broker.close()


def test_a_connection_that_stands_and_delivers_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.health.delivery._STALLED_S", 1.0)
    monkeypatch.setattr("device.health.delivery._FAILED_S", 2.5)
    broker = ScriptedBroker(Announced(puback_after_s=3600))
    box = Box(tmp_path, broker.url)
    box.link.start()
    try:
        box.commit([10])
        eventually(lambda: box.checks()[0].status == "warning", 10)
        assert "nothing was delivered" in box.checks()[0].message
        eventually(lambda: box.checks()[0].status == "failed", 10)
        assert box.link.state.value == "connected"
    finally:
        box.close()
        broker.close()


def test_the_size_of_a_packet_is_counted_to_the_byte() -> None:
    # 1 + 1 (length) + 2 + 3 (topic) + 2 (id) + 1 (no properties) + 4; by 3.1.1 without the properties.
    assert Limits().packet_bytes("a/b", b"abcd", 1) == 14
    assert Limits(modern=False).packet_bytes("a/b", b"abcd", 0) == 11
    assert Limits(modern=False).packet_bytes("a/b", b"x" * 123, 0) == 131
    assert Limits(most_bytes=14).fits("a/b", b"abcd", 1)
    assert not Limits(most_bytes=13).fits("a/b", b"abcd", 1)
