"""What was offered when this box looked last, for whoever asks how it is; nothing here needs the TUF client."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from device.updates.files import read_small, write_whole
from device.updates.trials import UpdatePlaces

__all__ = ["UpdateNotice", "keep_notice", "kept_notice"]


class UpdateNotice(Struct, frozen=True, forbid_unknown_fields=True):
    """Kept in the service's folder."""

    at: str
    """When, UTC, as far as the box knows."""
    offered: tuple[str, ...]
    """Names in the signed list that are newer than what is here and were not taken."""


def keep_notice(places: UpdatePlaces, notice: UpdateNotice) -> None:
    """In place of the one before; OSError where the disk refuses."""
    write_whole(places.notice, msgspec.json.encode(notice))


def kept_notice(places: UpdatePlaces) -> UpdateNotice | None:
    """The last one; None where nobody looked yet, or what is there is none."""
    try:
        content = read_small(places.notice)
        return None if content is None else msgspec.json.decode(content, type=UpdateNotice)
    except (OSError, msgspec.DecodeError):
        return None
