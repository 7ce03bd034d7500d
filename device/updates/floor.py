"""The newest time that this box was ever told by somebody it trusts: a clock that was set back makes nothing valid again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from device.clock import BoxClock
from device.errors import CheckError
from device.updates.files import read_small, write_whole

__all__ = ["TimeFloor"]

_STEP = timedelta(hours=1)
"""Less is not worth a write."""


class _Newest(Struct, frozen=True, forbid_unknown_fields=True):
    at: datetime


class TimeFloor:
    """A time below which it can't be now; kept in a file."""

    def __init__(self, path: Path, clock: BoxClock | None = None) -> None:
        self._path, self._clock = path, clock or BoxClock()

    def now(self) -> datetime:
        """The wall clock, or the floor where that is later; aware, UTC."""
        now, floor = self._clock.now(), self.newest()
        if self._clock.quality().synchronised:
            self.reach(now)
        return max(now, floor)

    def newest(self) -> datetime:
        """The floor; CheckError where its file can't be read, for without it a replay could not be told."""
        try:
            content = read_small(self._path)
            at = msgspec.json.decode(content, type=_Newest).at if content is not None else datetime.min.replace(tzinfo=UTC)
        except (OSError, msgspec.DecodeError) as error:
            raise CheckError(
                "the newest time this box was told can't be read", where=self._path, got=str(error),
                remedy="Set the clock, then delete the file.",
            ) from error  # fmt: skip
        return at

    def reach(self, at: datetime) -> None:
        """It is at least this time."""
        if at - self.newest() >= _STEP:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, msgspec.json.encode(_Newest(at)))
