"""What stands now, by the rules, in what the database holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from scipy.special import gammaincinv

from deploy.fleet.alarms.settings import LevelRule, Rules
from deploy.fleet.database import Connection

__all__ = ["Condition", "Key", "conditions"]

Key = tuple[str, str, str]
"""Device, rule, subject: one alarm at a time."""

_MOST_TEXT = 500

# A box that somebody stopped is not silent. One that was never heard of is in neither table.
_SILENT = """SELECT device_id, extract(epoch FROM now() - max(heard))::double precision FROM (
    SELECT device_id, last_received_at AS heard FROM spools UNION ALL SELECT device_id, received_at FROM latest
) all_words WHERE device_id NOT IN (SELECT device_id FROM latest WHERE topic = 'status' AND payload ->> 'status' = 'stopped')
GROUP BY device_id HAVING max(heard) < now() - make_interval(secs => %s)"""

_OFFLINE = """SELECT device_id, extract(epoch FROM now() - received_at)::double precision FROM latest
WHERE topic = 'status' AND payload ->> 'status' = 'offline'"""

_UNHEALTHY = """SELECT l.device_id, left(c ->> 'name', 64), c ->> 'status', left(coalesce(c ->> 'message', ''), 300),
    left(coalesce(c ->> 'remedy', ''), 150)
FROM latest l CROSS JOIN LATERAL jsonb_array_elements(
    CASE WHEN jsonb_typeof(l.payload -> 'checks') = 'array' THEN l.payload -> 'checks' ELSE '[]'::jsonb END) AS c
WHERE l.topic = 'health' AND c ->> 'status' IN ('warning', 'failed') AND c ->> 'name' IS NOT NULL
    AND l.device_id NOT IN (SELECT device_id FROM latest WHERE topic = 'status' AND payload ->> 'status' <> 'online')"""

_WAITING = """SELECT l.device_id, number_of(l.payload -> 'oldest_waiting_s'), whole_of(l.payload -> 'outbox_depth')
FROM latest l JOIN latest s ON s.device_id = l.device_id AND s.topic = 'status' AND s.payload ->> 'status' = 'online'
WHERE l.topic = 'stats' AND number_of(l.payload -> 'oldest_waiting_s') > %s"""

_LEVELS = """SELECT h.device_id, sum(c.n), sum(c.stands_for), sum(h.volume_m3), sum(h.volume_ml)
FROM hours h LEFT JOIN hour_counts c ON (c.device_id, c.hour) = (h.device_id, h.hour) AND c.label = %s
WHERE h.hour > date_trunc('hour', now(), 'UTC') - make_interval(hours => %s) AND h.hour <= now()
GROUP BY h.device_id HAVING sum(h.volume_m3) > 0 OR sum(h.volume_ml) > 0"""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something that is not as it should be."""

    device_id: str
    rule: str
    subject: str = ""
    """Which of several: a check's name, a label."""
    severity: Literal["warning", "alarm"]
    message: str
    value: float | None = None
    unit: str | None = None
    begins: bool = True
    """False: enough to keep an alarm that stands, too little to begin one."""
    hold_s: float = 0.0
    """How long it must stand before anybody is told."""

    @property
    def key(self) -> Key:
        """Of its alarm."""
        return self.device_id, self.rule, self.subject


def conditions(connection: Connection, rules: Rules) -> dict[Key, Condition]:
    """All that stand now."""
    found = [*_silent(connection, rules), *_unhealthy(connection, rules), *_waiting(connection, rules)]
    for rule in rules.levels:
        found += _levels(connection, rule)
    return {one.key: one for one in found}


def _silent(connection: Connection, rules: Rules) -> Iterator[Condition]:
    if rules.silent_after_s:
        for device_id, silent_s in connection.execute(_SILENT, (rules.silent_after_s,)).fetchall():
            yield Condition(
                device_id=device_id, rule="silent", severity="alarm", value=silent_s, unit="s",
                message=f"not heard of for {_span(silent_s)}: look at its power and its connection",
            )  # fmt: skip
    if rules.offline_after_s:
        for device_id, offline_s in connection.execute(_OFFLINE).fetchall():
            yield Condition(
                device_id=device_id, rule="offline", severity="alarm", value=offline_s, unit="s",
                begins=offline_s >= rules.offline_after_s, message=f"went without a word {_span(offline_s)} ago",
            )  # fmt: skip


def _unhealthy(connection: Connection, rules: Rules) -> Iterator[Condition]:
    if not rules.health_after_s:
        return
    for device_id, name, status, message, remedy in connection.execute(_UNHEALTHY).fetchall():
        yield Condition(
            device_id=device_id, rule="health", subject=name, severity="alarm" if status == "failed" else "warning",
            message=". ".join(part.rstrip(".") for part in (f"{name}: {message}", remedy) if part)[:_MOST_TEXT],
            hold_s=rules.health_after_s,
        )  # fmt: skip


def _waiting(connection: Connection, rules: Rules) -> Iterator[Condition]:
    if not rules.waiting_longest_s:
        return
    for device_id, waited_s, depth in connection.execute(_WAITING, (rules.waiting_longest_s,)).fetchall():
        yield Condition(
            device_id=device_id, rule="outbox", severity="warning", value=waited_s, unit="s",
            message=f"{depth or 'some'} records wait to be delivered, the oldest for {_span(waited_s)}",
        )  # fmt: skip


def _levels(connection: Connection, rule: LevelRule) -> Iterator[Condition]:
    for device_id, n, stands_for, volume_m3, volume_ml in connection.execute(_LEVELS, (rule.label, rule.hours)).fetchall():
        volume, unit = (volume_m3, "m^-3") if volume_m3 > 0 else (volume_ml, "mL^-1")
        if (rule.devices and device_id not in rule.devices) or not n or not stands_for:
            continue
        value = stands_for / volume
        # Poisson, lower end of the central interval (Garwood 1936, doi:10.1093/biomet/28.3-4.437).
        low = value * float(gammaincinv(n, 0.025)) / n
        if value < rule.over_below:
            continue
        yield Condition(
            device_id=device_id, rule="level", subject=rule.label, severity="alarm", value=value, unit=unit,
            begins=low > rule.above,
            message=f"{rule.label} {_figure(value)} {unit} over {rule.hours} h ({n:.0f} counted; 95 % at least {_figure(low)}), limit {rule.above:g}",
        )  # fmt: skip


def _figure(value: float) -> str:
    """To three digits, without an exponent where people count."""
    short = f"{value:.3g}"
    return f"{float(short):,.0f}" if 1000 <= value < 1e9 else short


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
