"""The optics of one box from day to day, as the watchers heard it."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC

from deploy.fleet.database import Connection
from device.records import iso_time
from device.web.api.trend import FigureDays, heard_figures

__all__ = ["optics_of"]

# Two months up to the last day of which something was heard, as on the box.
_DAYS = """SELECT figure, day, mean FROM optics_days WHERE device_id = %(device)s
    AND day > (SELECT max(day) FROM optics_days WHERE device_id = %(device)s) - 60 ORDER BY figure, day"""
_SINCE = "SELECT subject, begun_at FROM alarms WHERE device_id = %s AND rule = 'health' AND cleared_at IS NULL"


def optics_of(connection: Connection, device_id: str) -> list[FigureDays]:
    """All figures; a figure drifts since an alarm about its check stands."""
    days: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for figure, day, mean in connection.execute(_DAYS, {"device": device_id}).fetchall():
        days[figure].append((day.isoformat(), mean))
    since = {subject: iso_time(at.astimezone(UTC)) for subject, at in connection.execute(_SINCE, (device_id,)).fetchall()}
    return heard_figures(days, since)
