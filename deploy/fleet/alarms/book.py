"""Alarms in the database: each condition once, from its beginning to its end, and whom it was told.

An alarm begins with its condition, is raised once that has stood long enough, and is cleared once it has been over long enough.
What is silenced or acknowledged is told to nobody; where a silence ends and the condition stands, it is told then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from deploy.fleet.alarms.conditions import Condition, Key
from deploy.fleet.database import Connection
from device.errors import InputError

__all__ = ["Alarm", "Letter", "acknowledge", "alarms", "letters", "queue_letters", "settle", "settle_letter", "silence"]

_RETRY_FIRST_S, _RETRY_LONGEST_S = 10.0, 3600.0

_COLUMNS = """a.id, a.device_id, a.rule, a.subject, a.severity, a.message, a.value, a.unit, a.begun_at, a.raised_at, a.cleared_at,
    a.acknowledged_at, a.acknowledged_by"""

_SILENCED = """EXISTS (SELECT FROM silences s WHERE s.until > now() AND coalesce(s.device_id, a.device_id) = a.device_id
    AND coalesce(s.rule, a.rule) = a.rule)"""

# Raised: told on every channel that has not been told. Cleared: where it was told that it was raised.
_QUEUE = f"""INSERT INTO alarm_messages (alarm_id, transition, channel)
SELECT a.id, 'raised', c FROM alarms a CROSS JOIN unnest(%(channels)s::text[]) AS c
WHERE a.raised_at IS NOT NULL AND a.cleared_at IS NULL AND a.acknowledged_at IS NULL AND NOT {_SILENCED}
UNION ALL
SELECT a.id, 'cleared', m.channel FROM alarms a JOIN alarm_messages m ON m.alarm_id = a.id AND m.transition = 'raised'
WHERE a.cleared_at IS NOT NULL AND m.channel = ANY(%(channels)s)
ON CONFLICT DO NOTHING"""

_LETTERS = f"""SELECT m.transition, m.channel, m.attempts, {_COLUMNS} FROM alarm_messages m JOIN alarms a ON a.id = m.alarm_id
WHERE m.sent_at IS NULL AND m.next_at <= now() AND m.channel = ANY(%s) ORDER BY m.made_at, m.alarm_id, m.transition DESC LIMIT 100"""


class Alarm(Struct, frozen=True, kw_only=True):
    """One, as it stands or stood."""

    id: int
    device_id: str
    rule: str
    """silent, offline, health, outbox or level."""
    subject: str
    """Which of several: a check's name, a label."""
    severity: Literal["warning", "alarm"]
    message: str
    value: float | None
    unit: str | None
    begun_at: datetime
    """When its condition was first seen."""
    raised_at: datetime | None
    """When it had stood long enough; None: not yet."""
    cleared_at: datetime | None
    """When it had been over long enough; None: it stands."""
    acknowledged_at: datetime | None
    acknowledged_by: str | None


class Letter(Struct, frozen=True, kw_only=True):
    """What one channel is to be told."""

    alarm: Alarm
    transition: Literal["raised", "cleared"]
    channel: str
    attempts: int
    """That failed so far."""

    @property
    def id(self) -> str:
        """The same however often it is sent, so that a receiver can tell."""
        return f"alarm-{self.alarm.id}-{self.transition}"


def settle(connection: Connection, standing: Mapping[Key, Condition], clear_after_s: float) -> None:
    """Begin, raise and clear, as the conditions stand; one transaction."""
    with connection.transaction():
        rows = connection.execute(
            "SELECT device_id, rule, subject, id FROM alarms WHERE cleared_at IS NULL FOR UPDATE"
        ).fetchall()
        open_ones: dict[Key, int] = {(device_id, rule, subject): number for device_id, rule, subject, number in rows}
        for key, one in standing.items():
            if key in open_ones:
                _go_on(connection, open_ones[key], one)
            elif one.begins:
                _begin(connection, one)
        _quieten(connection, [number for key, number in open_ones.items() if key not in standing], clear_after_s)


def _begin(connection: Connection, one: Condition) -> None:
    connection.execute(
        """INSERT INTO alarms (device_id, rule, subject, severity, message, value, unit, raised_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, CASE WHEN %s <= 0 THEN now() END)""",
        (one.device_id, one.rule, one.subject, one.severity, one.message, one.value, one.unit, one.hold_s),
    )


def _go_on(connection: Connection, number: int, one: Condition) -> None:
    connection.execute(
        """UPDATE alarms SET quiet_since = NULL, severity = %s, message = %s, value = %s, unit = %s,
        raised_at = coalesce(raised_at, CASE WHEN begun_at <= now() - make_interval(secs => %s) THEN now() END) WHERE id = %s""",
        (one.severity, one.message, one.value, one.unit, one.hold_s, number),
    )


def _quieten(connection: Connection, numbers: Sequence[int], clear_after_s: float) -> None:
    """What nobody was told of is forgotten; the rest waits whether it comes back."""
    if not numbers:
        return
    connection.execute("DELETE FROM alarms WHERE id = ANY(%s) AND raised_at IS NULL", (list(numbers),))
    connection.execute("UPDATE alarms SET quiet_since = coalesce(quiet_since, now()) WHERE id = ANY(%s)", (list(numbers),))
    connection.execute(
        "UPDATE alarms SET cleared_at = now() WHERE id = ANY(%s) AND quiet_since <= now() - make_interval(secs => %s)",
        (list(numbers), clear_after_s),
    )


def alarms(connection: Connection, *, standing: bool = True, limit: int = 200) -> list[Alarm]:
    """Those that were raised, worst and newest first."""
    where = "a.cleared_at IS NULL" if standing else "true"
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM alarms a WHERE a.raised_at IS NOT NULL AND {where}
        ORDER BY a.severity, a.raised_at DESC LIMIT %s""".encode(),
        (limit,),
    ).fetchall()
    return [_alarm(row) for row in rows]


def acknowledge(connection: Connection, number: int, by: str) -> Alarm:
    """Somebody sees to it: nobody else is told; InputError where there is none that stands."""
    row = connection.execute(
        f"""UPDATE alarms a SET acknowledged_at = coalesce(a.acknowledged_at, now()), acknowledged_by = coalesce(a.acknowledged_by, %s)
        WHERE a.id = %s AND a.cleared_at IS NULL AND a.raised_at IS NOT NULL RETURNING {_COLUMNS}""".encode(),
        (by, number),
    ).fetchone()
    if row is None:
        raise InputError("no such alarm stands", where=f"alarm {number}", remedy="holonode-fleet alarms lists them.")
    return _alarm(row)


def silence(connection: Connection, *, device_id: str | None, rule: str | None, until_s: float, by: str, reason: str) -> None:
    """Tell nobody for so many seconds; of all devices or rules where none is named."""
    if not reason.strip():
        raise InputError("a silence needs a reason", where="--reason", remedy="Others will ask why nobody was told.")
    connection.execute(
        "INSERT INTO silences (device_id, rule, until, by, reason) VALUES (%s, %s, now() + make_interval(secs => %s), %s, %s)",
        (device_id, rule, until_s, by, reason),
    )


def queue_letters(connection: Connection, channels: Iterable[str]) -> None:
    """Whatever is to be told and isn't queued: each alarm, transition and channel once."""
    connection.execute(_QUEUE.encode(), {"channels": list(channels)})


def letters(connection: Connection, channels: Iterable[str]) -> list[Letter]:
    """Those that are due, in the order in which they were queued."""
    return [
        Letter(transition=transition, channel=channel, attempts=attempts, alarm=_alarm(row))
        for transition, channel, attempts, *row in connection.execute(_LETTERS.encode(), (list(channels),)).fetchall()
    ]


def settle_letter(connection: Connection, letter: Letter, error: str | None) -> None:
    """Sent, or tried again later."""
    wait_s = min(_RETRY_FIRST_S * 2.0 ** min(letter.attempts, 20), _RETRY_LONGEST_S)
    connection.execute(
        """UPDATE alarm_messages SET attempts = attempts + 1, last_error = %s, sent_at = CASE WHEN %s::text IS NULL THEN now() END,
        next_at = now() + make_interval(secs => %s) WHERE alarm_id = %s AND transition = %s AND channel = %s""",
        (error, error, wait_s, letter.alarm.id, letter.transition, letter.channel),
    )


def _alarm(row: Sequence[object]) -> Alarm:
    return Alarm(**dict(zip(Alarm.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]
