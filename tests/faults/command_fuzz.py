"""Requests that nobody should send: `python -m tests.faults.command_fuzz --offline 1000000` and `--broker 10000`.

Half of them are built from what a right request is made of and then bent (wrong types, out of bounds, unknown keys, old times,
retained, repeated, response topics of others), half are bytes: right ones with bits and pieces changed, and noise. Off-line they
go to the real parser, audit log and store; preflight and model changes are left to a recorder there, which only notes that they
would have begun. Through a real mosquitto they go to a running service. What counts: nothing uncaught, an answer of the right
shape in the right tree, and no change of state without a line of the audit log before it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from device.clock import BoxClock
from device.config import Config
from device.errors import InputError, TransientError
from device.messaging.payloads import to_payload
from device.messaging.request_messages import MOST_BYTES, REQUESTS, Answer, IncomingRequest
from device.messaging.topics import Topics
from device.service.loop_requests import LoopRequests
from device.service.request_dispatcher import CompletionCallback, RequestDispatcher
from device.settings import SETTABLE, STATE_KEY, changed, overlay_of
from device.storage.audit import AuditLine, AuditLog
from device.storage.outbox import Outbox

TOPICS = Topics("test-box")
_ODD = (
    None,
    True,
    -1,
    0,
    1,
    2**63,
    -(2**70),
    1e308,
    -0.0,
    0.5,
    "",
    "x" * 300,
    "\x00",
    "é\U0001f4a3",
    [],
    {},
    [[]],
    {"a": {"b": []}},
)
_PIECES = (
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"-",
    b"\xff",
    b"\x00",
    b":",
    b",",
    b"null",
    b'"transaction":1,',
)


@dataclass
class Outcome:
    """What a campaign found."""

    sent: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    """As the box counts them."""
    changes: int = 0
    """Changes of state."""
    unaudited: int = 0
    """Of those, without a line before them."""
    uncaught: int = 0
    wrong_answers: int = 0
    """Of another shape, or outside the device's own tree."""
    unanswered: int = 0
    """Understood or refused, and not answered."""

    @property
    def good(self) -> bool:
        return not (self.unaudited or self.uncaught or self.wrong_answers or self.unanswered)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {number}" for name, number in sorted(self.counts.items()))
        return (
            f"{self.sent} requests in {self.seconds:.1f} s ({self.sent / max(self.seconds, 1e-9):.0f} a second): "
            f"{self.uncaught} uncaught, {self.changes} changes of state, {self.unaudited} of them without an audit line, "
            f"{self.wrong_answers} wrong answers, {self.unanswered} unanswered\n  {counts}"
        )


class Sender:
    """Makes requests."""

    def __init__(self, seed: int, *, calm: bool) -> None:
        """`calm`: no model is activated that exists, nothing is armed (that takes seconds each)."""
        self._random, self._calm = random.Random(seed), calm

    def message(self) -> IncomingRequest:
        draw = self._random
        command = draw.choice(list(REQUESTS)) if draw.random() < 0.95 else self._odd_command()
        payload = msgspec.json.encode(self._tree(command))
        if draw.random() < 0.5:
            payload = self._bent(payload)
        return IncomingRequest(
            command=command,
            payload=payload,
            retained=draw.random() < 0.03,
            response_topic=draw.choice(
                ("", "", TOPICS.of("response/x"), TOPICS.of("response/+"), "holonode/v1/other/response/x", "a", "#")
            ),
            correlation=draw.choice((None, b"", b"\x00\xff", os.urandom(8))),
            expires_at_s=draw.choice((None, None, time.monotonic() + 100)) if draw.random() < 0.95 else time.monotonic() - 1,
        )

    def _odd_command(self) -> str:
        return self._random.choice(("", "Stop", "stop/now", "set ", "../stop", "é", "x" * 400, "response/stop", "stop\x7f"))

    def _tree(self, command: str) -> dict[str, Any]:
        draw = self._random
        tree: dict[str, Any] = self._right(command)
        if draw.random() < 0.5:
            tree["transaction"] = draw.choice((draw.randrange(10**9), f"t-{draw.randrange(10**9)}", draw.randrange(50), *_ODD))
        if draw.random() < 0.5:
            at = datetime.now(UTC) + timedelta(seconds=draw.choice((0, 0, 0, -10, 200, -400, 10**9, -(10**10))))
            tree["issued_at"] = draw.choice(
                (
                    at.isoformat(),
                    at.isoformat(),
                    "0001-01-01T00:00:00+23:59",
                    "9999-12-31T23:59:59-23:59",
                    at.isoformat()[:-6],
                    *_ODD,
                )
            )
        if draw.random() < 0.3:
            tree[draw.choice((*tree, "unknown", "settings", "id", "days"))] = draw.choice(_ODD)
        return {key: value if _encodes(value) else 0 for key, value in tree.items()}

    def _right(self, command: str) -> dict[str, Any]:
        draw = self._random
        if command == "set":
            keys = draw.sample(list(SETTABLE), draw.randrange(1, 4))
            return {
                "settings": {key: draw.choice((SETTABLE[key][0], SETTABLE[key][1], 1, 2.5, None, *_ODD[:9])) for key in keys}
            }
        if command == "media":
            return {"id": draw.choice(("0" * 26, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "support-" + "0" * 26, "../../outbox"))}
        if command == "arm":
            return {"days": 0 if self._calm else 1}
        if command in ("activate", "rollback"):
            return {"name": draw.choice(("no-such", "../x", "a" * 64)) if self._calm else "hidef"}
        return {}

    def _bent(self, payload: bytes) -> bytes:
        draw = self._random
        kind = draw.randrange(6)
        if kind == 0:
            return draw.randbytes(draw.randrange(200))
        if kind == 1:
            return draw.choice((b"", b"[" * 3000, b'{"a":' * 2000, b" " * (MOST_BYTES + 1), b"null", b"[]", b"true"))
        content = bytearray(payload)
        for _ in range(draw.randrange(1, 5)):
            at = draw.randrange(len(content) + 1)
            if kind == 2 and at < len(content):
                content[at] ^= 1 << draw.randrange(8)
            elif kind == 3:
                content[at:at] = draw.choice(_PIECES)
            elif kind == 4:
                del content[at : at + draw.randrange(8)]
            else:
                content[at:at] = content[draw.randrange(len(content) + 1) :][:20]
        return bytes(content)


def _encodes(value: Any) -> bool:
    try:
        msgspec.json.encode(value)
    except (OverflowError, msgspec.MsgspecError):
        return False
    return True


# -- off-line -------------------------------------------------------------------------------------------------------------


class _Watched(AuditLog):
    """Knows what its last line began."""

    begun = ""

    def write(self, line: AuditLine) -> None:
        super().write(line)
        self.begun = line.command if line.phase == "begin" else ""


class _Box:
    """State that commands change, each change held against the audit log at that moment."""

    def __init__(self, folder: Path, outcome: Outcome) -> None:
        self.outbox = Outbox(folder, "test-box")
        self.orders, self.audit, self._outcome = LoopRequests(self.outbox), _Watched(folder), outcome
        self.acts: dict[str, Callable[[Any, CompletionCallback], dict[str, Any] | None]] = {
            "start": lambda _r, _d: self._pause(paused=False), "stop": lambda _r, _d: self._pause(paused=True),
            "sample_now": lambda _r, _d: self._sample(), "set": lambda r, _d: self._set(r.settings), "media": lambda r, _d: self._none(r.id),
            "arm": self._later, "activate": lambda r, _d: self._model("activate", r.name), "rollback": lambda r, _d: self._model("rollback", r.name),
            "support_bundle": lambda _r, _d: self._changed("support_bundle", {}), "update": lambda _r, _d: self._changed("update", {}),
        }  # fmt: skip

    def _changed(self, command: str, data: dict[str, Any]) -> dict[str, Any]:
        self._outcome.changes += 1
        self._outcome.unaudited += self.audit.begun != command
        return data

    def _pause(self, *, paused: bool) -> dict[str, Any]:
        self.orders.pause(paused=paused)
        return self._changed("stop" if paused else "start", {})

    def _sample(self) -> dict[str, Any]:
        self.orders.ask_sample()
        return self._changed("sample_now", {})

    def _set(self, wanted: Any) -> dict[str, Any]:
        overlay = changed(Config(), overlay_of(self.outbox.get_state(STATE_KEY)), wanted)
        self.outbox.keep({STATE_KEY: msgspec.json.encode(overlay).decode()})
        return self._changed("set", {"settings": overlay})

    def _none(self, wanted: str) -> dict[str, Any]:
        raise InputError("no picture", got=wanted)

    def _model(self, command: str, name: str) -> dict[str, Any]:
        if name != "hidef":
            raise InputError("no such model", got=name)
        return self._changed(command, {})

    def _later(self, _request: Any, done: CompletionCallback) -> dict[str, Any] | None:
        self._changed("arm", {})
        done({}, TransientError("an assay is under way"))
        return None


def offline(count: int, seed: int, folder: Path) -> Outcome:
    """Everything but the broker, in this process."""
    outcome = Outcome()
    box = _Box(folder, outcome)
    answers: list[tuple[str, bytes]] = []

    def publish(topic: str, payload: Answer, *, qos: int = 1, correlation: bytes | None = None) -> None:
        answers.append((topic, to_payload(payload)))

    commander = RequestDispatcher(
        TOPICS, box.acts, box.audit, publish, lambda _command, _error: None, clock=BoxClock(), max_age_s=300.0
    )
    sender, tree = Sender(seed, calm=False), TOPICS.of("response/")
    began_s = time.monotonic()
    for _ in range(count):
        message = sender.message()
        before = _ignored_of(commander)
        commander.handle(message)
        outcome.unanswered += not answers and _ignored_of(commander) == before
        for topic, payload in answers:
            outcome.wrong_answers += not _right_answer(topic, payload, tree)
        answers.clear()
    outcome.sent, outcome.seconds = count, time.monotonic() - began_s
    outcome.counts.update(vars(commander.counts))
    outcome.uncaught = commander.counts.broken
    box.outbox.close()
    box.audit.close()
    return outcome


def _ignored_of(commander: RequestDispatcher) -> int:
    return commander.counts.retained + commander.counts.stale


def _right_answer(topic: str, payload: bytes, tree: str) -> bool:
    try:
        answer = msgspec.json.decode(payload, type=Answer)
    except msgspec.DecodeError:
        return False
    below = topic.removeprefix(tree)
    return (
        topic.startswith(tree)
        and bool(below)
        and not set(below) & set("+#\0")
        and (answer.status == "error") == bool(answer.error)
    )


# -- through a broker -------------------------------------------------------------------------------------------------------


def through_broker(count: int, seed: int, folder: Path) -> Outcome:
    """Every request through a real mosquitto to a running service, which must be sound after it."""
    from tests.brokers import broker
    from tests.requests import Caller
    from tests.services import Service

    outcome, sender = Outcome(), Sender(seed, calm=True)
    with (
        broker(folder / "broker", "allow_anonymous true", "log_type error") as running,
        Service.configured(folder, running.url).started() as service,
    ):
        caller, bystander = Caller(running.port), Caller(running.port, "other", "bystander")
        caller.ready()
        began_s = time.monotonic()
        for number in range(count):
            message = sender.message()
            _send(caller, message)
            if number % 12 == 11:
                # At this pace the queue, of 8, is full at times, not always.
                caller.ask("media", id="0" * 26, timeout_s=60)
        outcome.sent, outcome.seconds = count, time.monotonic() - began_s
        _insist(caller, "set", settings=dict.fromkeys(SETTABLE))
        ending = _insist(caller, "support_bundle")
        outcome.uncaught += ending["status"] != "ok" or not service.is_running
        caller.send("media", {"id": ending["data"]["id"]})
        caller.heard(f"media/{ending['data']['id']}", 60)
        outcome.wrong_answers += bystander.messages.qsize()
        caller.close()
        bystander.close()
        status, output = service.finish(timeout_s=60)
        outcome.uncaught += (status != 0) + output.count("Traceback")
    _judge(folder / "store", outcome)
    return outcome


def _insist(caller: Any, command: str, **parameters: Any) -> dict[str, Any]:
    """The answer, once the box isn't busy."""
    while (answer := caller.ask(command, timeout_s=60, **parameters))["error"].startswith("busy"):
        time.sleep(0.05)
    return answer


def _send(caller: Any, message: IncomingRequest) -> None:
    told: dict[str, Any] = {}
    if message.response_topic and not set(message.response_topic) & set("+#"):
        told["ResponseTopic"] = message.response_topic
    if message.correlation is not None:
        told["CorrelationData"] = message.correlation
    if message.expires_at_s is not None:
        told["MessageExpiryInterval"] = 100
    if set(message.command) & set("+#\0\x7f"):
        return
    caller.send(message.command, message.payload, retain=message.retained, wait=False, **told)


def _judge(store: Path, outcome: Outcome) -> None:
    """The store's own record of what was done (an event each, in order) against what the audit log says was begun."""
    import sqlite3

    log = AuditLog(store)
    lines = log.read()
    log.close()
    outcome.counts.update(f"audit {line.phase}" for line in lines)
    database = sqlite3.connect(store / "outbox.sqlite")
    bodies = [json.loads(row[0]) for row in database.execute("SELECT body FROM records WHERE kind = 'events' ORDER BY seq")]
    database.close()
    done = [event["message"].split()[1].rstrip(":") for event in bodies if event["code"] == "command"]
    begun = [line.command for line in lines if line.phase == "begin"]
    outcome.changes = sum(event["message"].endswith(": done") for event in bodies if event["code"] == "command")
    # A preflight waits for a sample to end, and others are done meanwhile.
    outcome.unaudited = sum(
        _unbegun([c for c in done if (c == "arm") is arms], [c for c in begun if (c == "arm") is arms])
        for arms in (False, True)
    )


def _unbegun(done: list[str], begun: list[str]) -> int:
    """How many were done that the log doesn't know; the log is bounded: what is left of it is the end."""
    if not done or not begun:
        return len(done)
    kept = done[-len(begun) :]
    return sum(a != b for a, b in zip(kept, begun[-len(kept) :], strict=True))


def main(arguments: list[str] | None = None) -> int:
    """0 where every campaign is good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", type=int, default=0, metavar="N")
    parser.add_argument("--broker", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    good = True
    for name, count, campaign in (("off-line", args.offline, offline), ("broker", args.broker, through_broker)):
        if count:
            # In memory: it is the code that is tried, and a million syncs would wear a disk.
            with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
                outcome = campaign(count, args.seed, Path(folder))
            print(f"{name}: {outcome}", flush=True)
            good &= outcome.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
