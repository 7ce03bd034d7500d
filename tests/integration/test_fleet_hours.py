"""Hours on a real PostgreSQL: whatever comes, twice, corrected or at once, they are a recount of the intervals."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from deploy.fleet.database import connect
from deploy.fleet.intake import Arrival, read
from deploy.fleet.schema import migrate, steps
from deploy.fleet.store import Store
from device.analysis.count import concentration, poisson_interval
from device.analysis.efficiency import Recovered
from tests.faults.bends import record
from tests.postgres import Cluster, rows

_RECOUNT = """SELECT device_id, date_trunc('hour', started_at, 'UTC'), count(*), coalesce(sum(volume_m3) FILTER (WHERE qc <> 4), 0), sum(dead_time_s),
    count(*) FILTER (WHERE qc = 1), count(*) FILTER (WHERE qc = 3) FROM intervals GROUP BY 1, 2 ORDER BY 1, 2"""
_HOURS = (
    """SELECT device_id, hour, intervals, volume_m3, dead_time_s, good, suspect FROM hours WHERE intervals > 0 ORDER BY 1, 2"""
)
_RECOUNT_LABELS = """SELECT i.device_id, date_trunc('hour', i.started_at, 'UTC'), c.key, sum((c.value ->> 'n')::double precision) AS n
    FROM intervals i CROSS JOIN LATERAL jsonb_each(i.record -> 'counts') c WHERE i.qc <> 4 GROUP BY 1, 2, 3
    HAVING sum((c.value ->> 'n')::double precision) > 0 ORDER BY 1, 2, 3"""
_HOUR_LABELS = "SELECT device_id, hour, label, n FROM hour_counts WHERE n > 0 ORDER BY 1, 2, 3"


def interval(device: str, seq: int, at: str = "", *, synchronised: bool = True, **changes: Any) -> Arrival:
    body = record("intervals", device, seq) | {"id": f"{device}{seq}"} | changes
    body["clock"] = body["clock"] | {"synchronised": synchronised}
    if at:
        body |= {"started_at": at, "ended_at": at}
    arrival = read(f"holonode/v1/{device}/intervals", msgspec.json.encode(body))
    assert isinstance(arrival, Arrival)
    return arrival


def assert_recounted(database: str) -> None:
    for told, recounted in ((_HOURS, _RECOUNT), (_HOUR_LABELS, _RECOUNT_LABELS)):
        found, expected = rows(database, told), rows(database, recounted)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one == tuple(pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for value in other)


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with contextlib.closing(Store(database)) as made:
        yield made


def test_intervals_are_added_up_by_the_hour_in_which_they_began(database: str, store: Store) -> None:
    one = {"counts": {"birch": {"n": 3, "low": 0.0, "high": 9.0}, "total": {"n": 3, "low": 0.0, "high": 9.0}}}
    two = {"counts": {"birch": {"n": 4, "low": 0.0, "high": 9.0}, "total": {"n": 5, "low": 0.0, "high": 9.0}}, "qc": 3}
    store.commit(
        [
            interval("a", 1, "2026-05-04T10:00:00.000000Z", volume_m3=0.01, **one),
            interval("a", 2, "2026-05-04T10:59:59.000000Z", volume_m3=0.02, **two),
            interval(
                "a", 3, "2026-05-04T11:00:00.000000Z", volume_m3=0.5, qc=4, frames={"captured": 1, "analysed": 0, "dropped": 1}
            ),
        ]
    )
    shown = "SELECT to_char(hour, 'HH24'), intervals, looked, volume_m3, good, suspect, failed FROM hours ORDER BY hour"
    assert rows(database, shown) == [("10", 2, 2, pytest.approx(0.03), 1, 1, 0), ("11", 1, 0, 0.0, 0, 0, 1)]
    # 120.5 per m3 in 0.01 and 0.02 m3
    assert rows(database, "SELECT label, n, stands_for FROM hour_counts ORDER BY 1") == [
        ("birch", 7.0, pytest.approx(3.615)), ("total", 8.0, 0.0),
    ]  # fmt: skip
    squares = (120.5 * 0.01) ** 2 / 3 + (120.5 * 0.02) ** 2 / 4
    assert rows(database, "SELECT squares FROM hour_counts WHERE label = 'birch'") == [(pytest.approx(squares),)]


def test_of_none_the_hour_knows_what_one_would_have_stood_for(database: str, store: Store) -> None:
    volume, weight = 0.02, 1.25
    none = concentration(poisson_interval(0), volume, 0.0, "m^-3", recovered=Recovered(0.0, weight, 0.0))
    told = {"value": none.value, "low": none.low, "high": none.high, "unit": none.unit}
    zero = {"counts": {"birch": {"n": 0, "low": 0.0, "high": 3.0}}, "concentration": {"birch": told}, "volume_m3": volume}
    store.commit([interval("a", 1, **zero)])
    assert rows(database, "SELECT n, exposure FROM hour_counts") == [(0.0, pytest.approx(volume * weight, rel=1e-3))]


def test_what_comes_again_counts_once_and_what_is_corrected_moves(database: str, store: Store) -> None:
    first = interval("a", 1, "1970-01-01T00:00:00.000000Z", synchronised=False)
    store.commit([first])
    store.commit([first])
    store.commit([interval("a", 1, "2026-05-04T10:00:00.000000Z")])
    store.commit([interval("a", 1, "2026-05-04T10:00:00.000000Z"), interval("a", 1, volume_m3=0.5)])  # the last one: a conflict
    assert rows(database, "SELECT to_char(hour, 'YYYY'), intervals FROM hours WHERE intervals > 0") == [("2026", 1)]
    assert_recounted(database)


def test_collectors_at_once_add_up_to_a_recount(database: str) -> None:
    rng = random.Random(5)
    arrivals = [interval(rng.choice("abc"), seq, qc=rng.choice((1, 2, 3, 4))) for seq in rng.sample(range(1, 20_000), 300)]
    unset = [interval("d", seq, f"1970-01-01T0{seq % 5}:00:00.000000Z", synchronised=False) for seq in range(1, 60)]
    known = [interval("d", seq, f"2026-05-04T0{seq % 3}:00:00.000000Z") for seq in range(1, 60)]

    def collect(seed: int) -> None:
        own = random.Random(seed)
        mixed = own.sample([*arrivals, *unset], len(arrivals) + len(unset)) + own.sample(known, len(known))
        with contextlib.closing(Store(database)) as store:
            for start in range(0, len(mixed), 40):
                while True:
                    with contextlib.suppress(Exception):  # a deadlock ends one of two, which comes again
                        store.commit(mixed[start : start + 40])
                        break

    threads = [threading.Thread(target=collect, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(database, "SELECT count(*) FROM intervals") == [(len(arrivals) + len(known),)]
    assert_recounted(database)


def test_the_step_counts_what_was_there_before(cluster: Cluster) -> None:
    address = cluster.new_database()
    before = [step for step in steps() if step.number < 6]
    with connect(address) as connection:
        migrate(connection, before)
        columns = "device_id, spool_id, seq, kind, at, record"
        for seq in range(1, 50):
            one = interval("a", seq * 700)
            connection.execute(
                f"INSERT INTO records ({columns}) VALUES (%s, %s, %s, %s, %s, %s)",
                (one.key.device_id, one.key.spool_id, one.key.seq, one.kind, one.at, one.body),
            )
        migrate(connection)
    assert rows(address, "SELECT sum(intervals) FROM hours") == [(49,)]
    assert_recounted(address)


def test_numbers_of_any_size_stop_no_other_box(database: str, store: Store) -> None:
    wild = interval("wild", 1, volume_m3=1e30, dead_time_s=1e30, counts={"x": {"n": 10**12, "low": 0, "high": 1}})
    assert store.commit([wild, interval("tame", 1)]).records == 2
    assert rows(database, "SELECT device_id, intervals FROM hours ORDER BY 1") == [("tame", 1), ("wild", 1)]
