"""What became of the store: damaged and salvaged, copied, put back; told as long as the service runs."""

from __future__ import annotations

from device.messaging.payloads import Check
from device.storage.history.reader import HistoryProgress
from device.storage.outbox import Outbox

__all__ = ["history_check", "store_check"]

_MOST_TOLD = 5


def store_check(outbox: Outbox) -> Check:
    """Whether the store kept what it took."""
    notices, damaged = outbox.notices, outbox.damaged_files
    more = [f"and {len(notices) - _MOST_TOLD} more"] if len(notices) > _MOST_TOLD else []
    kept = [f"damaged files are kept in {outbox.folder}: {', '.join(damaged)}"] if damaged else []
    return Check(
        name="store", status="warning" if notices else "ok", value=float(outbox.counters.rotten), unit="records lost to damage",
        message=" ".join([*(notice.message for notice in notices[-_MOST_TOLD:]), *more, *kept]),
        remedy="Look at the card or disk, it may be failing; events tell which records" if notices else "",
    )  # fmt: skip


def history_check(progress: HistoryProgress) -> Check:
    """Whether the history that pages read keeps up; records don't hang on it."""
    trouble = progress.trouble
    return Check(
        name="history", status="warning" if trouble else "ok", value=None if progress.behind is None else float(progress.behind),
        unit="records behind", message=trouble, remedy="Free disk space, or look at the disk; records are kept" if trouble else "",
    )  # fmt: skip
