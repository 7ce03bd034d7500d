"""Requests as they come in: which count, what they may say, where the answer goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from device.config import CommandsConfig, Config, MqttConfig
from device.errors import InputError
from device.messaging.payloads import Check, Health
from device.messaging.request_messages import MOST_BYTES, IncomingRequest, Start, answer_topic, ignored, request_of
from device.messaging.topics import Topics
from device.service.request_handlers import takes_requests

NOW, NOW_S, MAX_AGE_S = datetime(2026, 11, 26, 12, tzinfo=UTC), 1000.0, 300.0
TOPICS = Topics("box")


def judged(age_s: float | None = None, **message: Any) -> str | None:
    issued_at = None if age_s is None else NOW - timedelta(seconds=age_s)
    return ignored(IncomingRequest("start", b"", **message), Start(issued_at=issued_at), NOW, NOW_S, MAX_AGE_S)


@pytest.mark.parametrize(
    ("age_s", "why"), [(0, None), (299, None), (-299, None), (301, "stale"), (-301, "stale"), (None, None)]
)
def test_a_command_counts_for_as_long_before_as_after_it_was_issued(age_s: float | None, why: str | None) -> None:
    assert judged(age_s) == why


def test_a_retained_command_never_counts() -> None:
    assert judged(0, retained=True) == "retained"
    assert ignored(IncomingRequest("start", b"", retained=True), None, NOW, NOW_S, MAX_AGE_S) == "retained"


def test_a_command_that_its_sender_let_expire_does_not_count() -> None:
    assert judged(expires_at_s=NOW_S - 1) == "stale"
    assert judged(expires_at_s=NOW_S + 1) is None


@pytest.mark.parametrize(
    ("asked", "goes_to"),
    [
        ("holonode/v1/box/response/mine", "holonode/v1/box/response/mine"),
        ("", "holonode/v1/box/response/start"),
        ("alarm", "holonode/v1/box/response/start"),
        ("holonode/v1/other/response/mine", "holonode/v1/box/response/start"),
        ("holonode/v1/box/request/stop", "holonode/v1/box/response/start"),
        ("holonode/v1/box/response/+", "holonode/v1/box/response/start"),
        ("holonode/v1/box/response/#", "holonode/v1/box/response/start"),
        ("holonode/v1/box/response/a/b", "holonode/v1/box/response/start"),
        ("holonode/v1/box/response/" + "a" * 600, "holonode/v1/box/response/start"),
    ],
)
def test_answers_go_right_below_the_devices_own_tree_and_nowhere_else(asked: str, goes_to: str) -> None:
    assert answer_topic(TOPICS, IncomingRequest("start", b"", response_topic=asked)) == goes_to


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InputError, match="no zone"):
        request_of(IncomingRequest("start", b'{"issued_at": "2026-11-26T12:00:00"}'))
    assert request_of(IncomingRequest("start", b'{"issued_at": "2026-11-26T12:00:00Z"}')).issued_at == NOW


def test_a_request_that_is_too_long_is_refused_unread() -> None:
    long = msgspec.json.encode({}) + b" " * MOST_BYTES
    with pytest.raises(InputError, match="too long"):
        request_of(IncomingRequest("start", long))


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (("ok", "not evaluated"), "ok"),
        (("ok", "warning"), "warning"),
        (("warning", "failed", "ok"), "failed"),
    ],
)
def test_the_worst_check_is_the_boxs_health(statuses: tuple[Any, ...], worst: str) -> None:
    assert Health.of(Check(name="x", status=status) for status in statuses).status == worst


@pytest.mark.parametrize(
    ("url", "own", "enabled", "taken"),
    [
        ("", True, None, True), ("mqtt://127.0.0.1:1883", False, None, True), ("mqtt://localhost:1883", False, None, True),
        ("mqtts://broker.example:8883", False, None, True), ("mqtt://broker.example:1883", False, None, False),
        ("mqtt://192.0.2.7:1883", False, None, False), ("mqtt://broker.example:1883", False, True, True), ("", True, False, False),
        ("mqtts://broker.example:8883", False, False, False),
    ],
)  # fmt: skip
def test_commands_are_taken_from_this_machine_or_over_tls_alone(url: str, own: bool, enabled: bool | None, taken: bool) -> None:
    config = Config(mqtt=MqttConfig(url=url), commands=CommandsConfig(enabled=enabled))
    assert takes_requests(config, own=own) is taken
