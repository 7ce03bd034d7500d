"""Tables and rows on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import psycopg
import pytest

from deploy.fleet.cli import main
from deploy.fleet.database import connect
from deploy.fleet.intake import Arrival, Rejection, read
from deploy.fleet.schema import Migration, migrate, steps
from deploy.fleet.status import SequenceGap, look
from deploy.fleet.store import Mark, Store
from device.errors import CheckError, InputError, TransientError
from device.meaning import meaning
from device.records import Concentration, Detection
from device.storage.outbox import Outbox
from tests import stores
from tests.earlier import as_earlier
from tests.faults.bends import record
from tests.postgres import Cluster, rows


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with contextlib.closing(Store(database)) as made:
        yield made


def event(seq: int, device: str = "box", spool: str = "s", **changes: Any) -> Arrival | Rejection:
    record = {
        "device_id": device, "spool_id": spool, "seq": seq, "schema": "holonode.event/1", "id": f"{device}{spool}{seq}",
        "code": "test", "severity": "info", "message": "m", "since": "2026-05-04T00:00:00.000000Z",
    } | changes  # fmt: skip
    return read(f"holonode/v1/{device}/events", msgspec.json.encode(record))


def test_steps_are_applied_once_however_many_try(cluster: Cluster) -> None:
    address = cluster.new_database()
    applied: list[int] = []

    def run() -> None:
        with connect(address) as connection:
            applied.extend(step.number for step in migrate(connection))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert applied == [step.number for step in steps()]
    assert rows(address, "SELECT number, sha256 FROM migrations ORDER BY 1") == [(s.number, s.sha256) for s in steps()]


def test_a_step_that_fails_leaves_nothing_of_it(cluster: Cluster) -> None:
    address = cluster.new_database()
    bad = Migration(len(steps()) + 1, "0009_bad.sql", "CREATE TABLE half (a integer); SELECT 1 / 0;")
    with connect(address) as connection, pytest.raises(CheckError, match="0009_bad"):
        migrate(connection, [*steps(), bad])
    assert rows(address, "SELECT to_regclass('half'), max(number) FROM migrations") == [(None, len(steps()))]


def test_an_edited_step_and_a_newer_database_are_refused(database: str) -> None:
    edited = [replace(steps()[0], sql="SELECT 1"), *steps()[1:]]
    with connect(database) as connection:
        with pytest.raises(CheckError, match="0001_records"):
            migrate(connection, edited)
        with pytest.raises(InputError, match="newer"):
            migrate(connection, steps()[:-1])


def test_every_kind_of_record_is_there_as_it_came_and_in_the_views(database: str, store: Store, tmp_path: Path) -> None:
    stores.filled(tmp_path, crops=False)
    outbox = Outbox(tmp_path / "store", "box-1")
    waiting = outbox.pending(100)
    outbox.close()
    store.commit([read(f"holonode/v1/box-1/{row.kind}", row.body) for row in waiting])
    kept = rows(database, "SELECT seq, kind, record FROM records ORDER BY seq")
    assert kept == [(row.seq, row.kind, msgspec.json.decode(row.body)) for row in waiting]
    assert rows(database, "SELECT label, count(*) FROM detections GROUP BY 1 ORDER BY 1") == [
        ("birch", 3), ("dust", 1), ("pennate-diatom", 1), ("unknown", 1),
    ]  # fmt: skip
    assert rows(database, "SELECT count(*), count(volume_m3) FROM intervals") == [(4, 4)]
    assert rows(database, "SELECT bool_and(low <= value AND value <= high) FROM concentrations") == [(True,)]
    assert rows(database, "SELECT code FROM events") == [("window_full",)]


def test_what_comes_again_is_kept_once_and_confirmed_again(database: str, store: Store) -> None:
    first = store.commit([event(1), event(2), event(2)])
    again = store.commit([event(2), event(1)])
    assert (first.records, first.again, again.records, again.again) == (2, 1, 0, 2)
    assert first.marks == again.marks == (Mark("box", "s", 2),)
    assert rows(database, "SELECT count(*) FROM records") == [(2,)]


def test_the_mark_stops_at_a_gap_and_jumps_when_it_is_filled(database: str, store: Store) -> None:
    seen = [
        [(mark.first, mark.seq) for mark in store.commit([event(seq) for seq in batch]).marks]
        for batch in ((2,), (1, 3), (5, 6), (9,), (4,))
    ]
    # What lies behind the gap is confirmed with where its run begins.
    assert seen == [[(2, 2)], [(1, 3)], [(1, 3), (5, 6)], [(1, 3), (9, 9)], [(1, 6)]]
    with connect(database) as connection:
        (spool,) = look(connection).spools
    assert (spool.committed_to, spool.highest, spool.missing, spool.gaps) == (6, 9, 2, (SequenceGap(7, 8),))


def test_a_gap_before_very_many_costs_no_batch_more_than_its_share(database: str, store: Store) -> None:
    with connect(database) as connection:
        connection.execute("INSERT INTO received SELECT 'box', 's', seq, now(), true FROM generate_series(2, 25000) seq")
    marks = [store.commit([event(1)]).marks[0].seq for _ in range(4)]
    assert marks == [10_000, 20_000, 25_000, 25_000]


def test_several_collectors_agree_on_the_mark(database: str) -> None:
    """Whoever commits last has seen what all committed."""
    rng = random.Random(5)
    numbers = [(f"box-{k % 3}", seq) for seq in range(1, 201) for k in range(3)]
    rng.shuffle(numbers)
    marks: list[Mark] = []

    def work(share: list[tuple[str, int]]) -> None:
        store = Store(database)
        while share:
            batch, share = share[:7], share[7:]
            marks.extend(store.commit([event(seq, device) for device, seq in batch]).marks)
        store.close()

    threads = [threading.Thread(target=work, args=(numbers[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(m.device_id, m.seq) for m in marks if m.seq == 200} == {("box-0", 200), ("box-1", 200), ("box-2", 200)}
    assert rows(database, "SELECT device_id, committed_to FROM spools ORDER BY 1") == [(f"box-{k}", 200) for k in range(3)]
    assert rows(database, "SELECT count(*), count(DISTINCT (device_id, seq)) FROM records") == [(600, 600)]


def test_a_box_that_has_set_its_clock_since_corrects_its_record_once(database: str, store: Store, tmp_path: Path) -> None:
    stores.filled(tmp_path, crops=False)
    outbox = Outbox(tmp_path / "store", "box-1")
    row = next(row for row in outbox.pending(100) if row.kind == "detections")
    outbox.close()

    def stamped(at: str, synchronised: bool) -> Arrival | Rejection:
        clock = {"source": "rtc", "synchronised": synchronised, "uncertainty_s": 1.0}
        body = msgspec.json.decode(row.body) | {"captured_at": at, "clock": clock}
        return read("holonode/v1/box-1/detections", msgspec.json.encode(body))

    for at, synchronised in (("1970", False), ("1971", False), ("2026", True), ("1972", False), ("2027", True)):
        store.commit([stamped(f"{at}-05-04T00:00:00.000000Z", synchronised)])
    query = "SELECT extract(year FROM at)::integer, left(record ->> 'captured_at', 4) FROM detections"
    assert rows(database, query) == [(2026, "2026")]


def test_what_postgresql_cannot_hold_is_put_aside_and_the_rest_goes_on(database: str, store: Store) -> None:
    written = store.commit([event(1), event(2, message="a\0b"), event(3), event(4, severity="puce")])
    assert (written.records, written.rejected, written.marks) == (2, 2, (Mark("box", "s", 4),))
    assert rows(database, "SELECT seq FROM records ORDER BY 1") == [(1,), (3,)]
    reasons = [str(row[0]) for row in rows(database, "SELECT reason FROM rejected ORDER BY reason")]
    assert "severity" in reasons[0] or "severity" in reasons[1]
    store.commit([event(4, severity="puce")])
    assert rows(database, "SELECT sum(times), count(*) FROM rejected") == [(3, 2)]


@pytest.mark.parametrize(
    "poison",
    [
        event(2, severity="pu\0ce"),
        Rejection("holonode/v1/" + "\U0001f4a3" * 15_000 + "/events", b"", "no topic of records"),
        Rejection("holonode/v1/a\0b/events", b"\0", "\ud800\0" * 5000),
        replace(cast("Arrival", event(2)), body='{"a":' * 20_000 + "1" + "}" * 20_000),
        replace(cast("Arrival", event(2)), body='{"a": 1e400000}'),
    ],
)
def test_nothing_that_comes_is_tried_for_ever(database: str, store: Store, poison: Arrival | Rejection) -> None:
    written = store.commit([event(1), poison, event(3)])
    assert (written.records, written.rejected) == (2, 1)
    assert rows(database, "SELECT count(*) FROM rejected WHERE length(payload) > 0 OR reason <> ''") == [(1,)]


def test_a_collector_may_add_and_correct_but_not_delete_or_read_what_is_not_its_own(cluster: Cluster, database: str) -> None:
    name = database.rsplit("/", 1)[-1]
    with connect(database) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE worker LOGIN IN ROLE holonode_collector; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    address = cluster.address(name, "worker")
    with contextlib.closing(Store(address)) as working:
        first = cast("Arrival", event(1))
        assert working.commit([first, event(2, severity="puce"), event(2, severity="puce")]).records == 1
        assert working.commit([replace(first, at=first.at.replace(year=2027), synchronised=True)]).again == 1
    assert rows(database, "SELECT extract(year FROM at)::integer FROM records") == [(2027,)]
    with connect(address) as connection:
        for forbidden in ("DELETE FROM records", "UPDATE received SET seq = 9", "UPDATE rejected SET payload = ''", "TRUNCATE received", "DROP TABLE spools", "UPDATE records SET seq = 1",
                          "DELETE FROM rejected", "INSERT INTO migrations VALUES (99, '', '')"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
        with pytest.raises(InputError, match="owner"):
            migrate(connection, [*steps(), Migration(9, "0009_more.sql", "CREATE TABLE more (a integer)")])


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("", 2, "HOLONODE_FLEET_DATABASE"),
        ("nonsense", 2, "not an address"),
        ("postgresql://a:secret@127.0.0.1/x", 2, "must not hold a password"),
        ("postgresql://a:secret@[127/x", 2, "not an address"),
        ("postgresql://a@127.0.0.1:1/x", 1, "can't be reached"),
    ],
)
def test_a_wrong_database_is_told_in_one_paragraph(
    address: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--database", address]) == status
    told = capsys.readouterr().err
    assert said in told
    assert "secret" not in told
    assert told.count("\n") == 1


def test_a_database_without_tables_says_what_to_run(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    address = cluster.new_database()
    assert main(["status", "--database", address]) == 2
    assert "holonode-fleet migrate" in capsys.readouterr().err
    assert main(["migrate", "--database", address]) == 0
    assert capsys.readouterr().out.split() == [step.name for step in steps()]
    assert main(["status", "--database", address, "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out) == {"spools": [], "rejected": 0, "refused": [], "unknown_schemas": []}


def test_a_server_that_is_gone_is_waited_for(store: Store, cluster: Cluster) -> None:
    store.commit([event(1)])
    cluster.stop()
    try:
        with pytest.raises(TransientError):
            store.commit([event(2)])
    finally:
        cluster.start()
    assert store.commit([event(2)]).marks == (Mark("box", "s", 2),)


# -- two versions of records ----------------------------------------------------------------------------------------------


def detection(seq: int, earlier: bool) -> Arrival:
    body = record("detections", "box", seq) | {"models": {"classifier": {"name": "b", "version": "1.2.0", "sha256": "cc"}}}
    encoded = msgspec.json.encode(body)
    taken = read("holonode/v1/box/detections", as_earlier(encoded) if earlier else encoded)
    assert isinstance(taken, Arrival)
    return taken


def test_detections_of_both_versions_stand_in_one_view_with_their_models(database: str, store: Store) -> None:
    assert store.commit([detection(1, earlier=True), detection(2, earlier=False)]).records == 2
    assert rows(database, "SELECT seq, models, esd_um, qc FROM detections ORDER BY seq") == [
        (seq, {"classifier": {"name": "b", "version": "1.2.0", "sha256": "cc"}}, 20.5, 1) for seq in (1, 2)
    ]
    assert rows(database, "SELECT seq, role, name, version, sha256 FROM models ORDER BY seq") == [
        (seq, "classifier", "b", "1.2.0", "cc") for seq in (1, 2)
    ]
    with connect(database) as connection:
        assert look(connection).unknown_schemas == ()


def test_what_a_collector_of_before_took_for_unknown_is_known_after_the_step(cluster: Cluster) -> None:
    address = cluster.new_database()
    with connect(address) as connection:
        migrate(connection, steps()[:4])
        for seq, schema in ((1, None), (2, "holonode.detection/2"), (3, "holonode.detection/3")):
            body = detection(seq, earlier=seq == 1).body
            connection.execute(
                "INSERT INTO records (device_id, spool_id, seq, kind, at, record, unknown_schema)"
                " VALUES ('box', 's', %s, 'detections', '2026-05-04Z', %s, %s)",
                (seq, body, schema),
            )
        assert next(step.number for step in migrate(connection)) == 5
        assert [one.schema for one in look(connection).unknown_schemas] == ["holonode.detection/3"]
    assert rows(address, "SELECT seq, models #>> '{classifier,name}' FROM detections ORDER BY seq") == [(1, "b"), (2, "b")]


def test_every_column_says_what_it_means_however_often_the_tables_are_brought_up_to_date(database: str) -> None:
    columns = """SELECT c.relname, a.attname, col_description(c.oid, a.attnum) FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'holonode'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND a.attnum > 0 ORDER BY 1, 2"""
    found = rows(database, columns)
    assert [row for row in found if not row[2]] == []
    said = {(table, column): text for table, column, text in found}
    assert said["detections", "esd_um"] == f"{meaning(Detection, 'esd_um')} [um]"
    assert said["concentrations", "low"] == meaning(Concentration, "low")
    with connect(database) as connection:
        connection.execute("COMMENT ON COLUMN detections.esd_um IS 'another'")
        assert migrate(connection) == []
    assert rows(database, columns) == found
