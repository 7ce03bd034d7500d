"""What a message is cut down to where a broker doesn't take all of it: the bulky and optional first, and said in it.

`shortened` names what was left out. Records are never shortened.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from device.messaging.homeassistant import Announcement
from device.messaging.payloads import Check, Health, Info, Stats
from device.messaging.request_messages import Answer

__all__ = ["versions"]

_INFO = ("config", "instrument", "settings", "armed", "models", "software")
_STATS = ("camera", "review", "optics", "delivery", "outbox", "commands", "environment", "clock")
_WORDS = 80
"""Characters of a check's message that still say what it is about."""


def versions(payload: Struct) -> Iterator[Struct]:
    """The payload, and ever shorter ones."""
    yield payload
    match payload:
        case Info():
            yield from _without(payload, _INFO)
        case Stats():
            yield from _without(payload, _STATS)
        case Health():
            yield from _healths(payload)
        case Answer():
            yield from _answers(payload)
        case Announcement():
            yield from _announcements(payload)
        case _:
            return


def _without(payload: Info | Stats, names: tuple[str, ...]) -> Iterator[Struct]:
    for count in range(1, len(names) + 1):
        left_out = tuple(name for name in names[:count] if getattr(payload, name))
        changes: dict[str, Any] = {**dict.fromkeys(names[:count]), "shortened": left_out}
        yield msgspec.structs.replace(payload, **changes)


def _healths(health: Health) -> Iterator[Health]:
    """What is well is left out first; the worst is told to the last."""
    bad = [check for check in health.checks if check.status in ("warning", "failed")]
    bad.sort(key=lambda check: check.status != "failed")
    yield msgspec.structs.replace(health, checks=tuple(bad), shortened=("ok",))
    brief = [
        Check(name=check.name, status=check.status, message=check.message[:_WORDS], remedy=check.remedy[:_WORDS])
        for check in bad
    ]
    yield msgspec.structs.replace(health, checks=tuple(brief), shortened=("ok", "words"))
    names = tuple(Check(name=check.name, status=check.status) for check in bad)
    for count in range(len(names), -1, -1):
        yield msgspec.structs.replace(health, checks=names[:count], shortened=("checks",))


def _answers(answer: Answer) -> Iterator[Answer]:
    yield msgspec.structs.replace(answer, data=None, shortened=("data",))
    yield msgspec.structs.replace(answer, data=None, error=answer.error[:_WORDS], shortened=("data", "error"))


def _announcements(announcement: Announcement) -> Iterator[Announcement]:
    """Fewer entities; the last are the least."""
    found = list(announcement.cmps.items())
    for count in range(len(found) - 1, 0, -1):
        yield msgspec.structs.replace(announcement, cmps=dict(found[:count]))
