"""The outage campaign's short form."""

from __future__ import annotations

from pathlib import Path

from tests.faults.outage import outage


def test_what_waited_through_an_outage_comes_in_order_as_history_and_live_records_pass_it(tmp_path: Path) -> None:
    found = outage(tmp_path, 2_000, history_per_s=1_000)
    assert (found.lost, found.disordered, found.unmarked) == (0, 0, 0), found
    assert found.grown_mb <= 10, found
