"""What records say of themselves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from device.analysis.report import Origin, interval_record
from device.frames import Clock
from device.records import QARTOD_PASS, QARTOD_SUSPECT, FrameCounts, Models

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ORIGIN = Origin("box", "spool", "config", "pipeline", Models(), "flow")


@pytest.mark.parametrize(
    ("seen", "unexplained", "dropped", "qc"),
    [
        (0, 0, 0, QARTOD_PASS),
        (0, 1, 0, QARTOD_SUSPECT),
        (40, 2, 0, QARTOD_PASS),
        (40, 3, 0, QARTOD_SUSPECT),
        (40, 0, 1, QARTOD_SUSPECT),
    ],
)
def test_counts_are_suspect_where_regions_stay_unexplained(seen: int, unexplained: int, dropped: int, qc: int) -> None:
    record = interval_record(
        ORIGIN,
        seq=1,
        interval_id="i",
        span=(NOON, NOON),
        clock=Clock(),
        frames=FrameCounts(captured=1, analysed=1, dropped=dropped),
        labels=["dust"] * seen,
        unexplained=unexplained,
    )
    assert record.qc == qc
