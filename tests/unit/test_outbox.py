"""The outbox keeps what it took, in order, and says when it can't take more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from device.errors import InputError, TransientError
from device.identifiers import random_ulid, record_ulid
from device.records import Event, from_json
from device.storage.outbox import Outbox

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def events(count: int):
    def build(first: int) -> list[Event]:
        return [
            Event(
                device_id="box", spool_id="s", seq=first + k, id=record_ulid(NOW, "box", "s", first + k), code="test", severity="info",
                message="m", since="2026-05-04T00:00:00.000000Z",
            )
            for k in range(count)
        ]  # fmt: skip

    return build


def opened(folder: Path, **options: object) -> Outbox:
    return Outbox(folder / "store", "box", **options)  # type: ignore[arg-type]


def test_records_come_out_in_order_until_they_are_delivered(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.commit(events(3))
    outbox.commit(events(2))
    assert [row.seq for row in outbox.pending(10)] == [1, 2, 3, 4, 5]
    assert [row.seq for row in outbox.pending(2, after_seq=3)] == [4, 5]
    outbox.delivered([1, 3])
    assert [row.seq for row in outbox.pending(10)] == [2, 4, 5]
    assert outbox.depth() == 3
    assert from_json(outbox.pending(1)[0].body, Event).seq == 2
    outbox.close()


def test_the_sequence_and_the_spool_go_on_after_a_restart(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.commit(events(4))
    first.delivered([1, 2, 3, 4])
    spool = first.spool_id
    first.close()
    second = opened(tmp_path)
    assert second.spool_id == spool
    assert second.next_seq == 5
    assert second.boot_id != first.boot_id
    second.prune(keep=0)
    assert second.next_seq == 5
    second.close()


def test_a_build_that_fails_keeps_nothing_and_burns_no_number(tmp_path: Path) -> None:
    outbox = opened(tmp_path)

    def broken(first: int) -> list[Event]:
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        outbox.commit(broken, {"window": "3"})
    assert outbox.next_seq == 1
    assert outbox.get_state("window") is None
    outbox.commit(events(1), {"window": "4"})
    assert outbox.get_state("window") == "4"
    outbox.close()


def test_a_second_service_is_refused_with_the_holder_named(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    with pytest.raises(InputError, match=r"another service uses this store .*process \d+"):
        opened(tmp_path)
    outbox.close()
    opened(tmp_path).close()


def test_another_devices_store_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(InputError, match="belongs to another device"):
        Outbox(tmp_path / "store", "other")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    content = b"this is not a database, but somebody's notes" * 50
    (folder / "outbox.sqlite").write_bytes(content)
    with pytest.raises(InputError, match="can't be opened"):
        opened(tmp_path)
    assert (folder / "outbox.sqlite").read_bytes() == content


def test_a_short_disk_drops_delivered_rows_first_then_refuses_and_counts(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.commit(events(2000))
    outbox.delivered(range(1, 1501))
    outbox._room.min_free_bytes = 2**62
    outbox.commit(events(1))
    assert [row.seq for row in outbox.pending(1)] == [1501]
    assert outbox.depth() == 501
    # Freed pages are used up first.
    while outbox._database.execute("PRAGMA freelist_count").fetchone()[0] >= 16:
        outbox.commit(events(20))
    with pytest.raises(TransientError, match="can't take new records"):
        outbox.commit(events(20))
    assert outbox.refused == 1
    depth, following = outbox.depth(), outbox.next_seq
    outbox._room.min_free_bytes = 0
    outbox.commit(events(1))
    assert outbox.refused == 0
    # The record, and behind it the event that tells of what was refused.
    assert outbox.depth() == depth + 2
    assert outbox.next_seq == following + 2
    told = from_json(outbox.pending(1, after_seq=following)[0].body, Event)
    assert (told.code, told.value, told.unit) == ("records_refused", 20.0, "records")
    outbox.close()


def test_there_is_no_shared_memory_file_and_syncs_are_full(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.commit(events(1))
    assert not (tmp_path / "store" / "outbox.sqlite-shm").exists()
    assert outbox._database.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert outbox._database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    outbox.close()


def test_ids_are_ulids_that_can_be_made_again_and_sort_by_time() -> None:
    made = record_ulid(NOW, "box", "spool", 7)
    assert len(made) == 26
    assert made == record_ulid(NOW, "box", "spool", 7)
    assert made != record_ulid(NOW, "box", "spool", 8)
    assert made < record_ulid(NOW.replace(year=2027), "box", "spool", 7)
    assert random_ulid() != random_ulid()


def test_what_is_out_for_confirmation_is_pending_again_when_nobody_confirms_it(tmp_path: Path) -> None:
    now = [0.0]
    outbox = opened(tmp_path, resend_after_s=60.0, monotonic=lambda: now[0])
    outbox.commit(events(5))
    outbox.published([1, 2, 3])
    assert [row.seq for row in outbox.pending(10)] == [4, 5]
    assert outbox.depth() == 5
    assert outbox.unconfirmed == 3
    now[0] = 61.0
    assert [row.seq for row in outbox.pending(2)] == [1, 2]
    outbox.published([1, 2])
    assert outbox.counters.resent == 2
    outbox.unpublished()
    assert [row.seq for row in outbox.pending(10)] == [1, 2, 3, 4, 5]
    outbox.close()


def test_a_collector_settles_only_what_it_was_sent(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.commit(events(6))
    outbox.published([1, 2, 5])
    assert outbox.confirmed_to("another-spool", 5) == 0
    assert outbox.confirmed_to(outbox.spool_id, 6) == 0
    assert outbox.counters.acks_refused == 1
    # 3 and 4 were never sent: whatever the collector says, they wait.
    assert outbox.confirmed_to(outbox.spool_id, 5) == 3
    assert [row.seq for row in outbox.pending(10)] == [3, 4, 6]
    assert outbox.confirmed_to(outbox.spool_id, 5) == 0
    assert outbox.depth() == 3
    outbox.close()


def test_a_collector_that_has_what_lies_behind_a_gap_settles_nothing_before_it(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.commit(events(6))
    outbox.published([1, 2, 3, 4, 5, 6])
    assert outbox.confirmed_to(outbox.spool_id, 5, first=4) == 2
    outbox.unpublished()
    assert [row.seq for row in outbox.pending(10)] == [1, 2, 3, 6]
    outbox.close()


def test_pruning_forgets_what_was_delivered_and_nothing_that_waits(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.commit(events(100))
    outbox.delivered(range(11, 101))
    outbox.commit(events(1))
    outbox.prune(keep=10)
    assert [row.seq for row in outbox.pending(20)] == [*range(1, 11), 101]
    assert len(outbox.ask(lambda store: store.last(1000))) < 30
    outbox.close()


def test_after_a_restart_a_late_acknowledgement_is_no_fault_and_settles_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.commit(events(4))
    first.published([1, 2, 3])
    first.close()
    second = opened(tmp_path)
    assert second.confirmed_to(second.spool_id, 3) == 0
    assert second.counters.acks_refused == 0
    assert [row.seq for row in second.pending(10)] == [1, 2, 3, 4]
    second.close()


def test_live_rows_and_history_are_told_apart(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.commit(events(3))
    first.close()
    second = opened(tmp_path)
    second.commit(events(2))
    assert [(row.seq, row.historical) for row in second.pending_history(10)] == [(1, True), (2, True), (3, True)]
    assert [(row.seq, row.historical) for row in second.pending_live(10)] == [(4, False), (5, False)]
    assert [row.seq for row in second.pending_history(10, after_seq=2)] == [3]
    second.begin_live()
    second.commit(events(1))
    assert [row.seq for row in second.pending_history(10)] == [1, 2, 3, 4, 5]
    assert [row.seq for row in second.pending_live(10)] == [6]
    assert [row.historical for row in second.pending(10)] == [True] * 5 + [False]
    second.close()


def test_the_oldest_that_waits_is_told_with_its_age(tmp_path: Path) -> None:
    from device.clock import BoxClock

    elapsed_s = [100.0]
    clock = BoxClock(machine_boot="a", elapsed_ns=lambda: round(elapsed_s[0] * 1e9))
    first = opened(tmp_path, clock=clock)
    assert first.oldest_waiting is None
    first.commit(events(1))
    elapsed_s[0] = 130.0
    first.commit(events(1))
    assert first.oldest_waiting is not None
    assert (first.oldest_waiting.seq, first.oldest_waiting.age_s) == (1, 30.0)
    first.delivered([1])
    assert first.oldest_waiting.seq == 2
    first.close()
    # After the machine has been off it has waited at least since that came on again.
    elapsed_s[0] = 7.0
    second = opened(tmp_path, clock=BoxClock(machine_boot="b", elapsed_ns=clock.elapsed_ns))
    assert second.oldest_waiting is not None
    assert (second.oldest_waiting.seq, second.oldest_waiting.age_s) == (2, 7.0)
    second.close()


def test_a_long_queue_costs_no_more_to_look_at_than_a_short_one(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    steps: list[int] = []

    def cost(look: Callable[[], object]) -> int:
        """Thousands of SQLite's instructions."""
        steps.clear()
        outbox._database.set_progress_handler(lambda: steps.append(1), 1000)
        look()
        outbox._database.set_progress_handler(None, 1000)
        return len(steps)

    for _ in range(10):
        outbox.commit(events(2000))
    outbox.begin_live()
    outbox.commit(events(5))
    looks = (
        lambda: outbox.pending_live(20), lambda: outbox.pending_history(20), lambda: outbox.pending(20, 10_000), outbox.depth,
        lambda: outbox.oldest_waiting, outbox.prune, lambda: outbox.delivered(range(1, 21)),
    )  # fmt: skip
    assert [cost(look) for look in looks] == [0] * len(looks)
    # The measure can tell: a full look is no cheap one.
    assert cost(lambda: outbox.pending(30_000)) > 50
    outbox.close()
