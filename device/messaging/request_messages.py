"""Commands as they come in, over MQTT and on the dashboard: what is ignored, what is refused, what is asked; nothing is done here.

A request is a JSON object on `request/<command>`: the command's own parameters, and beside them `issued_at` (RFC 3339) and
`transaction` (echoed; a repeated one is answered again, not done again).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from device.errors import InputError
from device.messaging.topics import Topics
from device.records import Whole
from device.settings import Value

__all__ = [
    "BUTTONS",
    "MOST_BYTES",
    "REQUESTS",
    "Activate",
    "Answer",
    "Arm",
    "Counts",
    "IncomingRequest",
    "Media",
    "Request",
    "Rollback",
    "SampleNow",
    "Set",
    "Start",
    "Stop",
    "SupportBundle",
    "Transaction",
    "Update",
    "answer_topic",
    "command_of",
    "ignored",
    "request_of",
    "transaction_of",
]  # fmt: skip

MOST_BYTES = 16_384
"""Of a request: the longest that means anything is a `set` of everything, well under this."""
_LONGEST_TOPIC = 512

Transaction = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=-(2**53), le=2**53)]
_Time = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
Ignored = Literal["retained", "stale"]
_END = r"$(?!\n)"
"""Of a pattern: in Python, unlike in a JSON Schema, `$` would let a last newline through."""
_Name = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9][A-Za-z0-9_-]{{0,63}}{_END}")]
_Key = Annotated[str, Meta(max_length=64)]
_Text = Annotated[str, Meta(max_length=200)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request may say."""

    issued_at: _Time | None = None
    """When, with a zone; one that is too old is ignored. Left out: when it came in, for no broker keeps a request for this box."""
    transaction: Transaction | None = None
    """Echoed in the answer; a repeated one is answered from the kept answer and not done twice."""


class Start(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sample, as configured; kept over a restart."""


class Stop(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sample no more once the running sample is over, until `start`; kept over a restart. The service goes on."""


class SampleNow(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sample at once, whatever the schedule, the pause or `stop` say."""


class Set(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change settings from the next sample on; kept over a restart."""

    settings: Annotated[dict[_Key, Value], Meta(min_length=1, max_length=64)]
    """Value by dotted key (those that can be changed from afar, with their bounds: `x-settable`), e.g. {"sampling.pause_s": 60}; null takes one back to the configuration file's."""


class Media(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Publish the crop of a detection (PNG: amplitude, phase), or a support bundle (ZIP), on `media/<id>`."""

    id: Annotated[str, Meta(pattern=rf"^(support-)?[0-9A-HJKMNP-TV-Z]{{26}}{_END}")]
    """The detection's, or what `support_bundle` answered."""


class Arm(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The preflight, between two samples; the box is armed where nothing fails."""

    days: Annotated[float, Meta(gt=0, le=3660)] = 21.0
    """That the box is to last by itself."""
    by: Annotated[str, Meta(min_length=1, max_length=64)] = "a remote command"
    """Who arms it."""
    force: _Text = ""
    """Why to arm it although checks fail; recorded."""


class Activate(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Use a version of a model from the next sample on."""

    name: _Name
    """Of a bundle in the model store."""
    version: Annotated[str, Meta(pattern=rf"^[0-9]{{1,9}}\.[0-9]{{1,9}}\.[0-9]{{1,9}}{_END}")] | None = None
    """Left out: the newest."""
    allow_older: bool = False
    """True: also where it is older than the one in use."""


class Rollback(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Undo the last activation of a model, from the next sample on."""

    name: _Name
    """Of a bundle in the model store."""


class SupportBundle(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write a ZIP with configuration (redacted), health, versions, last records and last lines; `media` fetches it."""


class Update(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Look for signed updates at `updates.source`; the answer comes once it is done. A release goes on trial by root's own unit."""

    what: Literal["check", "fetch", "apply"] = "apply"
    """check: only look; fetch: also fetch; apply: also use new models, and ask root to put a new release on trial."""


REQUESTS: dict[str, type[Request]] = {
    "start": Start, "stop": Stop, "sample_now": SampleNow, "set": Set, "media": Media, "arm": Arm, "activate": Activate,
    "rollback": Rollback, "support_bundle": SupportBundle, "update": Update,
}  # fmt: skip

BUTTONS: Mapping[str, str] = {"start": "Start sampling", "stop": "Stop sampling", "sample_now": "Sample now"}
"""What Home Assistant shows as buttons: their empty request is a whole one."""


class Answer(Struct, frozen=True, kw_only=True):
    """What a request came to."""

    status: Literal["ok", "error"]
    """Whether it was done."""
    data: dict[str, Any] | None = {}
    """What it came to, by command; empty at an error that left nothing."""
    error: str = ""
    """One paragraph: what was wrong, what was expected, what to do."""
    transaction: str | int | None = None
    """The request's."""
    shortened: tuple[str, ...] = ()
    """What was left out because the broker takes no more."""


@dataclass
class Counts:
    """What `stats` tells of requests since the start."""

    received: Whole = 0
    """All that came."""
    done: Whole = 0
    """Carried out."""
    failed: Whole = 0
    """Begun, and came to an error."""
    refused: Whole = 0
    """Not understood or out of bounds: nothing was begun."""
    retained: Whole = 0
    """Ignored: a command is for now."""
    stale: Whole = 0
    """Ignored: issued or expired too long ago."""
    busy: Whole = 0
    """Refused because too many waited."""
    repeated: Whole = 0
    """Sent again: answered again, not done again."""
    unlogged: Whole = 0
    """Lines that the audit log didn't take; without its first line nothing is begun."""
    broken: Whole = 0
    """Ended by an error nobody foresaw; in the log."""


@dataclass(frozen=True)
class IncomingRequest:
    """A request as it came in."""

    command: str
    """What follows `request/`."""
    payload: bytes
    retained: bool = False
    response_topic: str = ""
    """MQTT 5; empty: none was named."""
    correlation: bytes | None = None
    """MQTT 5, given back unread."""
    expires_at_s: float | None = None
    """By the monotonic clock: what is left of the MQTT 5 message expiry."""
    door: Literal["mqtt", "web"] = "mqtt"
    """Where it came in."""
    by: str = ""
    """Who asks, as far as the door tells."""
    answer_to: Callable[[Answer], None] | None = None
    """Takes every answer instead of the broker, in the thread that has it; it must not wait."""


def command_of(topics: Topics, topic: str) -> str:
    """The command that a topic names, known or not."""
    return topic.removeprefix(topics.of("request/"))


def answer_topic(topics: Topics, message: IncomingRequest) -> str:
    """Where the answer goes: as asked, where that is right below this device's own `response/`, else `response/<command>`."""
    tree, asked = topics.of("response/"), message.response_topic
    if _publishable(asked, tree):
        return asked
    own = tree + message.command
    return own if _publishable(own, tree) else tree + "unknown"


def _publishable(topic: str, tree: str) -> bool:
    """Whether a topic is right below the tree, and one that can be published to."""
    below = topic.removeprefix(tree)
    if not topic.startswith(tree) or not below or len(topic) > _LONGEST_TOPIC:
        return False
    return below.isascii() and below.isprintable() and not set(below) & set("+#$/")


def ignored(message: IncomingRequest, request: Request | None, now: datetime, now_s: float, max_age_s: float) -> Ignored | None:
    """Why a message counts as never sent; None where it counts.

    `now` by the wall clock, `now_s` by the monotonic one; the age is not judged where `request` tells none.
    """
    if message.retained:
        return "retained"
    if message.expires_at_s is not None and now_s > message.expires_at_s:
        return "stale"
    if request is not None and request.issued_at is not None:
        age_s = (now - request.issued_at).total_seconds()
        return None if abs(age_s) <= max_age_s else "stale"
    return None


def request_of(message: IncomingRequest) -> Request:
    """What is asked; InputError where it can't be."""
    kind = REQUESTS.get(message.command)
    if kind is None:
        shown = message.command[:64]
        raise InputError("there is no such command", where="request/", expected=" | ".join(REQUESTS), got=repr(shown))
    where = f"request/{message.command}"
    if len(message.payload) > MOST_BYTES:
        raise InputError(
            "the request is too long", where=where, expected=f"at most {MOST_BYTES} bytes", got=len(message.payload)
        )
    try:
        request = msgspec.json.decode(message.payload or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("the request isn't right", where=where, expected="a JSON object", got=str(error)[:300]) from error
    if request.issued_at is not None and request.issued_at.tzinfo is None:
        raise InputError(
            "the time has no zone",
            where=f"{where}, issued_at",
            expected="2026-05-04T12:00:00Z",
            got=request.issued_at.isoformat(),
        )
    return request


class _Transaction(Struct, frozen=True):
    transaction: Transaction | None = None


def transaction_of(message: IncomingRequest) -> str | int | None:
    """What a request that was refused calls itself, where that can be read."""
    if len(message.payload) > MOST_BYTES:
        return None
    try:
        return msgspec.json.decode(message.payload, type=_Transaction).transaction
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
