"""All boxes, worst first; and one as it said last that it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from deploy.fleet.database import Connection
from device.records import Stamp, iso_time

__all__ = ["BoxSummary", "boxes", "state_of"]

# Whoever ever said or sent anything. What was counted: the last 24 hours, the running one among them.
_BOXES = """WITH known AS (
    SELECT device_id, max(heard) AS heard FROM (
        SELECT device_id, last_received_at AS heard FROM spools UNION ALL SELECT device_id, received_at FROM latest) words GROUP BY 1
), day AS (
    SELECT device_id, sum(intervals)::bigint AS intervals, sum(looked)::bigint AS looked, sum(volume_m3) AS m3, sum(volume_ml) AS ml
    FROM hours WHERE hour > date_trunc('hour', now(), 'UTC') - interval '24 hours' GROUP BY 1
), counted AS (
    SELECT device_id, sum(n) AS n, sum(stands_for) AS stands_for FROM hour_counts
    WHERE label = 'total' AND hour > date_trunc('hour', now(), 'UTC') - interval '24 hours' GROUP BY 1
), standing AS (
    SELECT device_id, count(*) AS alarms, bool_or(severity = 'alarm') AS grave FROM alarms
    WHERE raised_at IS NOT NULL AND cleared_at IS NULL GROUP BY 1
)
SELECT k.device_id, k.heard, s.payload ->> 'status', h.payload ->> 'status', coalesce(a.alarms, 0), coalesce(a.grave, false),
    day.intervals, day.looked, day.m3, day.ml, c.n, c.stands_for, i.payload #>> '{config,sampling,mode}',
    number_of(i.payload #> '{config,sampling,schedule,latitude_degrees}'),
    number_of(i.payload #> '{config,sampling,schedule,longitude_degrees}'), number_of(t.payload -> 'outbox_depth')
FROM known k LEFT JOIN latest s ON (s.device_id, s.topic) = (k.device_id, 'status')
LEFT JOIN latest h ON (h.device_id, h.topic) = (k.device_id, 'health') LEFT JOIN latest i ON (i.device_id, i.topic) = (k.device_id, 'info')
LEFT JOIN latest t ON (t.device_id, t.topic) = (k.device_id, 'stats') LEFT JOIN standing a ON a.device_id = k.device_id
LEFT JOIN day ON day.device_id = k.device_id LEFT JOIN counted c ON c.device_id = k.device_id ORDER BY k.device_id"""

_WORST: dict[str, int] = {"failed": 0, "warning": 1, "unknown": 2, "ok": 3}

_LATEST = "SELECT topic, payload, received_at FROM latest WHERE device_id = %s"
_LAST_INTERVAL = """SELECT record FROM records WHERE device_id = %s AND kind = 'intervals' AND is_known(unknown_schema)
    AND at >= '1900-01-01Z' AND at < '2262-01-01Z' ORDER BY at DESC LIMIT 1"""


class BoxSummary(Struct, frozen=True, kw_only=True):
    """A box in a line."""

    device_id: str
    """The box."""
    condition: Literal["ok", "warning", "failed", "unknown"]
    """Worst of its alarms and of what it says of itself; unknown: it never said."""
    status: Literal["online", "stopped", "offline"] | None
    """As it said last; None: it never did."""
    heard_at: Stamp
    """When a word or a record of it came last, UTC."""
    alarms: int
    """That stand."""
    mode: str | None
    """How it samples."""
    intervals: int
    """That began in the last 24 hours."""
    looked: int
    """Of these, how many had a frame that was searched: with none, nothing is known."""
    counted: float | None
    """Particles in these; None: nothing was looked at."""
    concentration: float | None
    """Particles by volume in these; None: no volume."""
    unit: Literal["m^-3", "mL^-1"] | None
    """Of the concentration."""
    waiting: float | None
    """Records in its outbox; None: not known."""
    latitude_degrees: float | None
    """As configured for its schedule, north positive; None: not told."""
    longitude_degrees: float | None
    """East positive."""


def boxes(connection: Connection) -> list[BoxSummary]:
    """Worst first."""
    found = [_summary(row) for row in connection.execute(_BOXES.encode()).fetchall()]
    return sorted(found, key=lambda one: (_WORST[one.condition], one.device_id))


def _summary(row: tuple[Any, ...]) -> BoxSummary:
    device_id, heard, status, health, alarms, grave, intervals, looked, m3, ml, n, stands_for, mode, north, east, waiting = row
    volume, unit = (m3, "m^-3") if m3 else (ml, "mL^-1") if ml else (None, None)
    return BoxSummary(
        device_id=device_id, condition=_condition(status, health, alarms, grave=grave),
        status=status if status in ("online", "stopped", "offline") else None, heard_at=iso_time(heard.astimezone(UTC)),
        alarms=alarms, mode=mode, intervals=intervals or 0, looked=looked or 0, counted=n if looked else None,
        concentration=None if not volume or stands_for is None or (n and not stands_for) else stands_for / volume, unit=unit if volume else None,  # type: ignore[arg-type]
        waiting=waiting, latitude_degrees=north, longitude_degrees=east,
    )  # fmt: skip


def _condition(
    status: str | None, health: str | None, alarms: int, *, grave: bool
) -> Literal["ok", "warning", "failed", "unknown"]:
    if grave or health == "failed" or status == "offline":
        return "failed"
    if alarms or health == "warning":
        return "warning"
    return "ok" if health == "ok" else "unknown"


def state_of(connection: Connection, device_id: str) -> dict[str, Any] | None:
    """As `service.state.State`, as far as it is said over MQTT; None: never heard of."""
    told = {topic: (payload, heard) for topic, payload, heard in connection.execute(_LATEST, (device_id,)).fetchall()}
    row = connection.execute(_LAST_INTERVAL, (device_id,)).fetchone()
    if not told and row is None:
        return None
    status, _ = told.get("status", ({}, None))
    info, _ = told.get("info", ({}, None))
    stats, _ = told.get("stats", (None, None))
    heard = max((at for _, at in told.values()), default=datetime.now(UTC)).astimezone(UTC)
    said = status.get("status")
    doing, words = {
        "online": ("paused" if stats and stats.get("sampling") == "stopped" else "sampling", "at work"),
        "stopped": ("stopping", "stopped by somebody"),
        "offline": ("failed", "went without a word"),
    }.get(said, ("starting", "never said how it is"))  # fmt: skip
    return {
        "at": iso_time(heard), "device_id": device_id, "boot_id": status.get("boot_id", ""),
        "version": (info.get("software") or {}).get("holonode", ""), "started_at": status.get("since", iso_time(heard)),
        "doing": doing, "doing_words": words, "doing_since": status.get("since", iso_time(heard)), "next_at": None,
        "health": told.get("health", (None, None))[0], "stats": stats, "info": info, "lamp": None, "pump": None, "camera": None,
        "last_interval": row[0] if row else None, "link": {"online": "connected"}.get(said, "lost"),
        "simulated": info.get("simulated") or [],
    }  # fmt: skip
