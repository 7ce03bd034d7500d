"""Commands, one after the other, in a thread of their own: judged, written to the audit log, done, answered.

A request that comes while the queue is full is answered `busy`: nothing here makes paho's thread or the loop wait.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec

from device.clock import BoxClock
from device.errors import HolonodeError, TransientError
from device.messaging.request_messages import (
    Answer,
    Counts,
    IncomingRequest,
    Request,
    answer_topic,
    ignored,
    request_of,
    transaction_of,
)
from device.messaging.topics import Topics
from device.records import iso_time
from device.storage.audit import AuditLine, AuditLog

__all__ = ["CompletionCallback", "OutcomeCallback", "RequestDispatcher", "RequestHandler", "ResponsePublisher"]

log = logging.getLogger("holonode")

_MOST_WAITING = 8
"""Requests: more is a flood, or a person who can't wait."""
_MOST_KEPT = 256
"""Answers to what may be sent again."""

_Key = tuple[str, str | int]
CompletionCallback = Callable[[dict[str, Any], HolonodeError | None], None]
"""What came of it; the error where it failed."""
RequestHandler = Callable[[Any, CompletionCallback], dict[str, Any] | None]
"""Does what a request asks and returns what to answer; None: it calls `CompletionCallback` later. HolonodeError where it can't be done."""
OutcomeCallback = Callable[[str, HolonodeError | None], None]
"""Hears what came of every command that was begun."""


class ResponsePublisher(Protocol):
    """As `MqttLink.send`."""

    def __call__(self, topic: str, payload: Answer, *, qos: int = 1, correlation: bytes | None = None) -> None:
        """Publish an answer."""
        ...


class RequestDispatcher:
    """Takes messages from the link's thread, works in its own."""

    def __init__(
        self,
        topics: Topics,
        handlers: Mapping[str, RequestHandler],
        audit: AuditLog,
        publish: ResponsePublisher,
        on_outcome: OutcomeCallback,
        *,
        clock: BoxClock,
        max_age_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`handlers`: what does each command of `messaging.request_messages.REQUESTS`."""
        self.counts = Counts()
        self._topics, self._handlers, self._audit, self._publish, self._on_outcome = (
            topics,
            handlers,
            audit,
            publish,
            on_outcome,
        )
        self._clock, self._max_age_s, self._monotonic = clock, max_age_s, monotonic
        self._waiting: queue.Queue[IncomingRequest | None] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, Answer] = OrderedDict()
        self._under_way: set[_Key] = set()
        self._remember(audit.read())
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def receive(self, message: IncomingRequest) -> None:
        """Never waits."""
        self.counts.received += 1
        try:
            self._waiting.put_nowait(message)
        except queue.Full:
            self.counts.busy += 1
            error = f"busy: {_MOST_WAITING} commands wait; nothing was done. Send it again in a while."
            # Whoever floods gets the answer that costs least.
            self._answer(message, Answer(status="error", error=error, transaction=transaction_of(message)), qos=0)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Do no more; what is being done may end."""
        if not self._thread.is_alive():
            return
        try:
            while True:
                self._waiting.get_nowait()
        except queue.Empty:
            self._waiting.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            self.handle(message)

    def handle(self, message: IncomingRequest) -> None:
        """Everything about one message; nothing is raised."""
        try:
            self._handle(message)
        except Exception:
            # The edge of this thread: whatever one command does, the next one is served.
            self.counts.broken += 1
            log.exception("a command broke")

    def _handle(self, message: IncomingRequest) -> None:
        if self._is_ignored(message, None):
            return
        try:
            request = request_of(message)
        except HolonodeError as error:
            self._refuse(message, transaction_of(message), error)
            return
        if self._is_ignored(message, request) or self._is_repeated(message, request):
            return
        self._do(message, request)

    def _is_ignored(self, message: IncomingRequest, request: Request | None) -> bool:
        # A clock that was never set can't tell an age.
        judged = request if self._clock.quality().source != "none" else None
        why = ignored(message, judged, self._clock.now(), self._monotonic(), self._max_age_s)
        if why == "retained":
            self.counts.retained += 1
        elif why == "stale":
            self.counts.stale += 1
        if why is not None:
            transaction = transaction_of(message) if request is None else request.transaction
            answer = Answer(status="error", error=why, transaction=transaction)
            self._write("ignored", message, transaction, answer=answer)
            if message.answer_to is not None:
                message.answer_to(answer)
        return why is not None

    def _is_repeated(self, message: IncomingRequest, request: Request) -> bool:
        key = _key(message.command, request.transaction)
        if key is None:
            return False
        with self._lock:
            kept, under_way = self._kept.get(key), key in self._under_way
        if kept is not None:
            self._answer(message, kept)
        elif under_way and message.answer_to is not None:
            message.answer_to(Answer(status="error", error="it is under way already", transaction=request.transaction))
        self.counts.repeated += kept is not None or under_way
        return kept is not None or under_way

    def _refuse(self, message: IncomingRequest, transaction: str | int | None, error: HolonodeError) -> None:
        self.counts.refused += 1
        answer = Answer(status="error", error=str(error), transaction=transaction)
        self._write("refused", message, transaction, answer=answer)
        self._answer(message, answer)

    def _do(self, message: IncomingRequest, request: Request) -> None:
        asked = {k: v for k, v in msgspec.to_builtins(request).items() if v is not None and k != "transaction"}
        if not self._write("begin", message, request.transaction, request=asked):
            error = TransientError("the audit log can't be written", remedy="Nothing was done. Free disk space.")
            self.counts.refused += 1
            self._answer(message, Answer(status="error", error=str(error), transaction=request.transaction))
            return
        key = _key(message.command, request.transaction)
        if key is not None:
            with self._lock:
                self._under_way.add(key)
        done = partial(self._end, message, request)
        try:
            data = self._handlers[message.command](request, done)
        except HolonodeError as error:
            done({}, error)
        except Exception as error:
            done(
                {},
                TransientError(
                    "the command broke", got=repr(error)[:300], remedy="Ask for a support bundle: its log has more."
                ),
            )
            raise
        else:
            if data is not None:
                done(data, None)

    def _end(self, message: IncomingRequest, request: Request, data: dict[str, Any], error: HolonodeError | None) -> None:
        status = "ok" if error is None else "error"
        answer = Answer(status=status, data=data, error=str(error or ""), transaction=request.transaction)
        self._write("end", message, request.transaction, answer=answer)
        self._keep(_key(message.command, request.transaction), answer)
        with self._lock:
            # The loop's thread comes here too.
            if error is None:
                self.counts.done += 1
            else:
                self.counts.failed += 1
        self._answer(message, answer)
        self._on_outcome(message.command, error)

    def _keep(self, key: _Key | None, answer: Answer) -> None:
        if key is None:
            return
        with self._lock:
            self._under_way.discard(key)
            self._kept[key] = answer
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def _remember(self, lines: list[AuditLine]) -> None:
        """What the last runs answered; what they began and didn't end is not begun again."""
        for line in lines:
            key = _key(line.command, line.transaction)
            if key is None or line.phase not in ("begin", "end"):
                continue
            if line.phase == "begin":
                error = "interrupted: the service ended while it was at it. Look at `info` and `stats`, then ask again under another transaction."
                self._keep(key, Answer(status="error", error=error, transaction=line.transaction))
            else:
                self._keep(key, msgspec.convert(line.answer, Answer))

    def _write(
        self,
        phase: Any,
        message: IncomingRequest,
        transaction: str | int | None,
        *,
        request: Any = None,
        answer: Answer | None = None,
    ) -> bool:
        line = AuditLine(
            at=iso_time(self._clock.now()),
            phase=phase,
            command=message.command[:64],
            transaction=transaction,
            request=request or {},
            answer={} if answer is None else msgspec.to_builtins(answer),
            door=message.door,
            by=message.by,
        )
        try:
            self._audit.write(line)
        except OSError as error:
            self.counts.unlogged += 1
            log.warning("the audit log doesn't take a line: %s", error)
            return False
        return True

    def _answer(self, message: IncomingRequest, answer: Answer, qos: int = 1) -> None:
        if message.answer_to is not None:
            message.answer_to(answer)
            return
        self._publish(answer_topic(self._topics, message), answer, qos=qos, correlation=message.correlation)


def _key(command: str, transaction: str | int | None) -> _Key | None:
    return None if transaction is None else (command, transaction)
