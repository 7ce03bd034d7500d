"""One key with two contents: of a store that was restored from a copy, or of two boxes of one id. Both are kept and told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from deploy.fleet.cli import main
from deploy.fleet.database import connect
from deploy.fleet.intake import read
from deploy.fleet.status import look
from deploy.fleet.store import Mark, Store
from device.frames import Clock
from device.storage.backdate import shifted
from tests.brokers import Broker, Subscriber
from tests.collectors import CollectorProcess
from tests.faults.bends import record
from tests.integration.test_fleet_collect import event as event_payload
from tests.integration.test_fleet_collect import eventually, publish, running, started
from tests.integration.test_fleet_store import event
from tests.postgres import rows

__all__ = ["running", "started"]

OTHERS = "SELECT seq, times, record ->> 'message' FROM conflicts ORDER BY 1, 3"
FIRST = "SELECT seq, record ->> 'message' FROM records ORDER BY 1"


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with contextlib.closing(Store(database)) as made:
        yield made


def test_both_contents_of_a_key_are_kept_and_told(database: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.commit([event(seq) for seq in range(1, 16)])
    # Put back to 3 of 15, the box numbers on from there.
    written = store.commit([event(seq, message="after") for seq in range(4, 16)])
    assert (written.records, written.conflicts, written.again) == (0, 12, 0)
    assert {note.cause for note in written.notes} == {"conflict"}
    # The mark is beyond what the box believes to have made: so it hears.
    assert written.marks == (Mark("box", "s", 15),)
    assert rows(database, OTHERS) == [(seq, 1, "after") for seq in range(4, 16)]
    assert rows(database, FIRST) == [(seq, "m") for seq in range(1, 16)]
    with connect(database) as connection:
        (spool,) = look(connection).spools
    assert spool.conflicts == 12
    assert main(["status", "--database", database]) == 0
    assert "12 times two contents under one key: restored store or two boxes of one id" in capsys.readouterr().out


def test_a_conflict_that_comes_again_is_a_duplicate(database: str, store: Store) -> None:
    first, _, written = [store.commit([event(1), event(1, message="other")]) for _ in range(3)]
    assert (first.records, first.conflicts, first.again) == (1, 1, 0)
    assert (written.records, written.conflicts, written.again) == (0, 0, 2)
    assert rows(database, OTHERS) == [(1, 3, "other")]


def test_contents_of_one_batch_are_told_apart(database: str, store: Store) -> None:
    written = store.commit([event(1), event(1, message="b"), event(1), event(1, message="c"), event(2)])
    assert (written.records, written.conflicts, written.again) == (2, 2, 1)
    assert rows(database, FIRST) == [(1, "m"), (2, "m")]
    assert rows(database, OTHERS) == [(1, 1, "b"), (1, 1, "c")]


def test_stamps_that_were_corrected_are_no_conflict(database: str, store: Store) -> None:
    early = record("detections", "box", 1) | {
        "clock": {"source": "rtc", "synchronised": False, "uncertainty_s": 1e6}, "captured_at": "1970-01-01T00:00:05.000000Z",
    }  # fmt: skip
    body = msgspec.json.encode(early)
    clock = Clock(source="ntp", synchronised=True, uncertainty_s=0.02)
    topic = "holonode/v1/box/detections"
    late = shifted(body, 1_777_000_000_000_000_000, clock).replace(b'"historical":false', b'"historical":true')
    for payload in (body, late, body, late):
        assert store.commit([read(topic, payload)]).conflicts == 0
    assert rows(database, "SELECT extract(year FROM at)::integer, record #>> '{clock,source}' FROM records") == [(2026, "ntp")]
    # Another record of this key with a clock that is set corrects nothing of it.
    other = msgspec.json.encode(record("detections", "box", 1) | {"label": "dust"})
    assert store.commit([read(topic, other)]).conflicts == 1
    assert rows(database, "SELECT record ->> 'label' FROM records") == [("birch",)]


def test_the_stamps_of_a_conflict_are_corrected_as_well(database: str, store: Store) -> None:
    topic, clock = "holonode/v1/box/detections", {"source": "rtc", "synchronised": False, "uncertainty_s": 1e6}
    first = record("detections", "box", 1)
    other = first | {"label": "dust", "clock": clock, "captured_at": "1970-01-01T00:00:05.000000Z"}
    later = shifted(msgspec.json.encode(other), 10**18, Clock(source="ntp", synchronised=True, uncertainty_s=0.02))
    for payload in (msgspec.json.encode(first), msgspec.json.encode(other), later, msgspec.json.encode(other)):
        store.commit([read(topic, payload)])
    assert rows(database, "SELECT extract(year FROM at)::integer, times FROM conflicts") == [(2001, 3)]


def test_a_record_under_the_number_of_a_message_that_was_none_is_the_first(database: str, store: Store) -> None:
    assert store.commit([event(1, severity="puce")]).marks == (Mark("box", "s", 1),)
    written = store.commit([event(1), event(1, message="b")])
    assert (written.records, written.conflicts) == (1, 1)
    assert rows(database, FIRST) == [(1, "m")]


def test_keys_of_before_there_were_digests_are_compared_with_what_is_there(database: str, store: Store) -> None:
    interval = record("intervals", "box", 5) | {"volume_m3": 1e22, "dead_time_s": 1.0}
    topic = "holonode/v1/box/intervals"
    store.commit([*(event(seq) for seq in range(1, 5)), read(topic, msgspec.json.encode(interval))])
    with connect(database) as connection:
        connection.execute("UPDATE received SET digest = NULL")
        connection.execute("DELETE FROM records WHERE seq = 4")
    # PostgreSQL writes numbers in its own way; they are the same.
    again = [
        event(1),
        event(2, message="other"),
        event(2),
        event(4, message="taken"),
        read(topic, msgspec.json.encode(interval)),
    ]
    written = store.commit(again)
    assert (written.records, written.conflicts, written.again) == (1, 1, 3)
    assert rows(database, OTHERS) == [(2, 1, "other")]
    assert rows(database, "SELECT seq FROM received WHERE digest IS NULL ORDER BY 1") == [(3,)]
    assert store.commit([event(3, message="b"), event(3)]).conflicts == 1


def test_a_box_that_was_there_before_the_database_hears_to_where_its_numbers_are_taken(store: Store) -> None:
    store.commit([event(seq) for seq in range(100, 200)])
    # Nobody knows of 1 to 99; put back to 150, the box numbers on.
    assert store.commit([event(151, message="after")]).marks == (Mark("box", "s", 199, first=151),)
    assert store.commit([event(250)]).marks == (Mark("box", "s", 250, first=250),)


def test_collectors_that_meet_over_the_same_keys_keep_each_content_once(database: str) -> None:
    def work(messages: list[str]) -> None:
        with contextlib.closing(Store(database)) as store:
            for first in range(1, 101, 10):
                batch = [event(seq, message=message) for seq in range(first, first + 10) for message in messages]
                while True:
                    with contextlib.suppress(Exception):
                        store.commit(batch)
                        break

    threads = [threading.Thread(target=work, args=(list(order),)) for order in ("abc", "cab", "bca", "cba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(database, "SELECT count(*), count(DISTINCT seq) FROM records") == [(100, 100)]
    both = "SELECT seq, record ->> 'message' AS message FROM records UNION ALL SELECT seq, record ->> 'message' FROM conflicts"
    assert rows(database, f"SELECT count(*), count(DISTINCT (seq, message)) FROM ({both}) b") == [(300, 300)]


def test_a_collector_answers_a_conflict_with_the_mark_and_says_so(
    database: str, running: Broker, started: Callable[..., CollectorProcess]
) -> None:
    collector = started()
    publish(running, [event_payload(seq) for seq in range(1, 21)])
    eventually(lambda: rows(database, "SELECT committed_to FROM spools") == [(20,)])
    listener = Subscriber(running.port, topic="holonode/v1/+/ack")
    eventually(lambda: "as listener" in (running.folder / "log").read_text())
    publish(running, [event_payload(seq, message="after") for seq in range(9, 12)])
    assert listener.until("ack", seq=20) == {"spool_id": "s", "seq": 20, "first": 1}
    listener.close()
    eventually(lambda: rows(database, "SELECT count(*) FROM conflicts") == [(3,)])
    status, output, told = collector.finish()
    assert status == 0
    assert msgspec.json.decode(output)["conflicts"] == 3
    assert told.count("box: two contents under one key") == 1
