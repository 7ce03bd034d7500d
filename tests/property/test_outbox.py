"""Whatever is committed, delivered and restarted: numbers never repeat, order holds, nothing waiting is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.storage.outbox import Outbox
from tests.unit.test_outbox import events

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(1, 5)),
        st.tuples(st.just("deliver"), st.integers(1, 4)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("prune"), st.integers(0, 3)),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_history_loses_or_renumbers_what_waits(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder), "box")
        waiting: list[int] = []
        highest = 0
        for step, number in steps:
            if step == "commit":
                fresh = [record.seq for record in outbox.commit(events(number))]
                assert fresh == list(range(highest + 1, highest + number + 1))
                highest += number
                waiting += fresh
            elif step == "deliver":
                outbox.delivered(waiting[:number])
                waiting = waiting[number:]
            elif step == "prune":
                outbox.prune(keep=number)
            else:
                outbox.close()
                outbox = Outbox(Path(folder), "box")
            assert [row.seq for row in outbox.pending(1000)] == waiting
        outbox.close()
