"""Who can confirm records, by the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from device.config import Config, DeliveryConfig, MqttConfig
from device.health.trust import is_loopback, trust_checks

COLLECTOR = DeliveryConfig(confirm="collector")


def status(*, armed: bool, **mqtt: Any) -> str:
    (check,) = trust_checks(Config(mqtt=MqttConfig(**mqtt), delivery=COLLECTOR), armed=armed)
    assert (check.remedy != "") == (check.status != "ok")
    return check.status


@pytest.mark.parametrize(
    ("mqtt", "seen", "armed"),
    [
        ({"url": "mqtt://broker.example"}, "warning", "failed"),
        ({"url": "mqtt://127.0.0.1:1884"}, "warning", "failed"),
        ({"url": "mqtts://broker.example"}, "warning", "failed"),
        ({}, "warning", "failed"),
        ({"url": "mqtt://broker.example", "username": "box", "password_file": "p"}, "warning", "warning"),
        ({"url": "mqtt://[::1]", "username": "box", "password_file": "p"}, "ok", "ok"),
        ({"url": "mqtts://broker.example", "username": "box", "password_file": "p"}, "ok", "ok"),
        ({"url": "mqtts://broker.example", "cert_file": "c", "key_file": "k"}, "ok", "ok"),
    ],
)
def test_a_broker_that_does_not_ask_who_speaks_is_told_and_holds_back_arming(
    mqtt: dict[str, Any], seen: str, armed: str
) -> None:
    assert status(armed=False, **mqtt) == seen
    assert status(armed=True, **mqtt) == armed


def test_where_the_broker_confirms_nobody_else_needs_to_be_trusted() -> None:
    assert trust_checks(Config(mqtt=MqttConfig(url="mqtt://broker.example")), armed=True) == []


def test_loopback_is_this_machine_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("127.example.org", "192.168.1.4", "broker")))
