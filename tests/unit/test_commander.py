"""One command at a time: in the audit log first, done once, and what it set going over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.clock import BoxClock, KernelTime
from device.messaging.request_messages import Answer, IncomingRequest
from device.messaging.topics import Topics
from device.service.loop_requests import LoopRequests
from device.service.request_dispatcher import RequestDispatcher
from device.storage.audit import AuditLine, AuditLog
from device.storage.outbox import Outbox

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Box:
    """A commander whose acts note that they were done."""

    def __init__(self, folder: Path, wall: datetime = NOON) -> None:
        self.done: list[str] = []
        self.answers: list[Answer] = []
        self.audit = AuditLog(folder)
        clock = BoxClock(wall_ns=lambda: round(wall.timestamp() * 1e9), kernel=lambda: KernelTime(False, 0.0))
        self.commander = RequestDispatcher(
            Topics("box"), {"start": self._start}, self.audit, self._publish, lambda _command, _error: None, clock=clock,
            max_age_s=300.0,
        )  # fmt: skip

    def _start(self, _request: Any, _done: Any) -> dict[str, Any]:
        self.done.append("start")
        return {"number": len(self.done)}

    def _publish(self, topic: str, payload: Any, *, qos: int = 1, correlation: bytes | None = None) -> None:
        self.answers.append(payload if isinstance(payload, Answer) else msgspec.json.decode(payload, type=Answer))

    def hears(self, **request: Any) -> None:
        self.commander.handle(IncomingRequest("start", msgspec.json.encode(request)))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.audit.close()


def test_a_command_that_is_sent_again_is_answered_again_and_done_once(box: Box) -> None:
    box.hears(transaction="t")
    box.hears(transaction="t")
    assert box.done == ["start"]
    assert [answer.data for answer in box.answers] == [{"number": 1}] * 2
    box.hears(transaction="u")
    assert len(box.done) == 2


def test_what_the_audit_log_does_not_take_is_not_done(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_line: AuditLine) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(box.audit, "write", full)
    box.hears()
    assert box.done == []
    assert "audit log" in box.answers[0].error


def test_a_box_whose_clock_was_never_set_takes_commands_whatever_their_date(tmp_path: Path) -> None:
    lost = Box(tmp_path, wall=datetime(1970, 1, 2, tzinfo=UTC))
    lost.hears(issued_at=NOON)
    assert lost.done == ["start"]
    lost.audit.close()


def test_a_box_whose_clock_is_set_ignores_what_is_old_or_of_the_future(box: Box) -> None:
    for age in (timedelta(hours=1), -timedelta(hours=1)):
        box.hears(issued_at=NOON - age)
    assert (box.done, box.answers, box.commander.counts.stale) == ([], [], 2)


def test_a_stopped_box_stays_stopped_over_a_restart_and_takes_one_sample_when_asked(tmp_path: Path) -> None:
    first = Outbox(tmp_path, "box")
    LoopRequests(first).pause(paused=True)
    first.close()
    outbox = Outbox(tmp_path, "box")
    orders = LoopRequests(outbox)
    assert orders.paused
    orders.ask_sample()
    assert [orders.sample_asked(), orders.sample_asked()] == [True, False]
    orders.pause(paused=False)
    assert not LoopRequests(outbox).paused
    outbox.close()
