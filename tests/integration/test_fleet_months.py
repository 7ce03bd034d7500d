"""Typed records by month on a real PostgreSQL: brought over from before, pruned as a whole, each key still once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from psycopg import sql

from deploy.fleet import backfill, schema
from deploy.fleet import store as stores
from deploy.fleet.cli import main
from deploy.fleet.database import connect
from deploy.fleet.intake import Arrival, read
from deploy.fleet.prune import prune, prune_payloads
from deploy.fleet.schema import migrate, steps
from deploy.fleet.store import Store
from device.errors import CheckError
from tests.earlier import as_earlier
from tests.faults.bends import record
from tests.integration.test_fleet_hours import assert_recounted
from tests.postgres import Cluster, rows

_SIZES = "SELECT device_id, day, label, size_class, n FROM day_sizes WHERE n <> 0 ORDER BY 1, 2, 3, 4"
_RECOUNT_SIZES = """SELECT device_id, (at AT TIME ZONE 'UTC')::date, label, size_class_of(esd_um), count(*) FROM detections
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""
_COLUMNS = "SELECT seq, at, id, interval_id, label, score, esd_um, x_um, y_um, z_um, qc FROM detections ORDER BY seq"


def arrival(seq: int, kind: str = "detections", *, earlier: bool = False, **changes: Any) -> Arrival:
    body = record(kind, "box", seq) | {"id": f"{kind}{seq}"} | changes
    encoded = msgspec.json.encode(body)
    found = read(f"holonode/v1/box/{kind}", as_earlier(encoded) if earlier else encoded)
    assert isinstance(found, Arrival)
    return found


def unset(seq: int) -> Arrival:
    clock = {"source": "rtc", "synchronised": False, "uncertainty_s": 9.0}
    return arrival(seq, clock=clock, captured_at="1970-01-01T00:00:00.000000Z")


def mixed() -> list[Arrival]:
    kinds = ("detections", "intervals", "events", "detections")
    found = [arrival(seq, kinds[seq % 4], earlier=seq % 5 == 0) for seq in range(1, 80)]
    unknown = arrival(80, schema="holonode.detection/7", label="x" * 3000)
    return [*found, unknown, unset(81), arrival(82, esd_um=8.0, score=None)]


def sent_back(database: str, days: int, where: str = "true") -> None:
    """As if a collector had written them so long ago."""
    with connect(database) as connection:
        connection.execute(
            f"SELECT make_month(date_trunc('month', now() - interval '{days} days'), date_trunc('month', now() - interval '{days} days')"
            " + interval '1 month')".encode()
        )
        connection.execute(f"UPDATE records SET received_at = now() - interval '{days} days' WHERE {where}".encode())


def parts(database: str) -> list[str]:
    return [
        str(name) for (name,) in rows(database, "SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')")
    ]


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with contextlib.closing(Store(database)) as made:
        yield made


def test_a_database_of_before_is_brought_over_in_place_and_goes_on_where_it_stopped(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = cluster.new_database()
    monkeypatch.setattr(backfill, "_PAGES", 3)
    monkeypatch.setattr(backfill, "_VACUUM_EVERY", 2)
    views = {
        name: f"SELECT {columns} FROM {name} ORDER BY device_id, seq"
        for name, columns in (
            ("detections", "device_id, at, seq, id, interval_id, label, score, esd_um, x_um, y_um, z_um, qc, record, models"),
            ("intervals", "*"), ("events", "*"),
        )
    }  # fmt: skip
    with connect(address) as connection:
        migrate(connection, steps()[:7])
        stores._write(connection, mixed(), [])
        before = {name: rows(address, query) for name, query in views.items()}
        hours = rows(address, "SELECT * FROM hours ORDER BY 1, 2")
        migrate(connection, steps()[:8])
        with pytest.raises(CheckError, match="0009"):  # not before all are filled
            schema._apply(connection, steps()[8])
        # Interrupted: some are done.
        connection.execute("UPDATE records SET record = record WHERE seq % 3 = 0")
        assert [step.number for step in migrate(connection)] == [step.number for step in steps()[8:]]
    assert {name: rows(address, query) for name, query in views.items()} == before
    assert rows(address, "SELECT * FROM hours ORDER BY 1, 2") == hours
    assert rows(address, _SIZES) == rows(address, _RECOUNT_SIZES)
    with contextlib.closing(Store(address)) as working:
        again = working.commit([*mixed(), arrival(81), arrival(83)])
        assert (again.records, again.conflicts) == (1, 0)
    assert rows(address, "SELECT extract(year FROM at)::integer FROM detections WHERE seq = 81") == [(2026,)]
    assert rows(address, _SIZES) == rows(address, _RECOUNT_SIZES)
    assert rows(address, "SELECT count(*) FROM records_before") == [(82,)]
    assert_recounted(address)


def test_months_that_are_no_longer_kept_are_dropped_whole_and_their_keys_stay(database: str, store: Store) -> None:
    store.commit(mixed())
    sent_back(database, 400)
    sent_back(database, 100, "seq <= 8")
    store.commit([arrival(90)])
    sizes, hours = rows(database, _SIZES), rows(database, "SELECT * FROM hours ORDER BY 1, 2")
    with connect(database) as connection:
        old = [name for name in parts(database) if name.endswith("_detections")]
        assert prune(connection, "detections", 200) == len(
            [one for one in mixed() if one.kind == "detections" and one.key.seq > 8]
        )
        assert len([name for name in parts(database) if name.endswith("_detections")]) == len(old) - 1
        assert prune(connection, "detections", 200) == 0
        prune(connection, "intervals", 200)
        prune(connection, "events", 200)
    assert rows(database, "SELECT count(*) FROM records") == [(9,)]
    assert not [name for name in parts(database) if name.endswith("_before")]
    again = store.commit(mixed())
    assert (again.records, again.conflicts) == (0, 0)
    assert store.commit([arrival(50, "events", message="another")]).conflicts == 1
    assert (rows(database, _SIZES), rows(database, "SELECT * FROM hours ORDER BY 1, 2")) == (sizes, hours)


def test_what_came_is_given_up_and_its_columns_stay(database: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.commit(mixed())
    sent_back(database, 100)
    store.commit([arrival(90)])
    columns, sizes = rows(database, _COLUMNS), rows(database, _SIZES)
    size = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE relispartition AND relkind = 'r' AND right(relname, 10) = 'detections'"
    bytes_before = int(str(rows(database, size)[0][0]))
    command = ["prune", "--database", database, "--older-than-days", "60"]
    assert main([*command, "--payloads"]) == 0
    detections = [one for one in mixed() if one.kind == "detections" and not one.unknown_schema]
    assert capsys.readouterr().out == f"{len(detections)} detections given up\n"
    assert (rows(database, _COLUMNS), rows(database, _SIZES)) == (columns, sizes)
    assert int(str(rows(database, size)[0][0])) < bytes_before
    assert rows(database, "SELECT seq FROM records WHERE kind = 'detections' AND record IS NOT NULL ORDER BY 1") == [
        (80,),
        (90,),
    ]
    assert rows(database, "SELECT count(*) FROM records WHERE kind <> 'detections' AND record IS NULL") == [(0,)]
    assert main([*command, "--payloads"]) == 0
    assert capsys.readouterr().out == "0 detections given up\n"
    assert main([*command, "--payloads", "--kind", "events"]) == 2
    capsys.readouterr()
    assert main(["prune", "--database", database, "--keep", "payloads=60, events=700"]) == 0
    assert capsys.readouterr().out == "0 detections given up\n0 events deleted\n"
    # A duplicate is still one, and a corrected stamp moves it, with all that it says.
    again = store.commit([*mixed(), arrival(81)])
    assert (again.records, again.conflicts) == (0, 0)
    assert rows(database, "SELECT extract(year FROM at)::integer, record ->> 'label' FROM detections WHERE seq = 81") == [
        (2026, "birch")
    ]
    assert rows(database, _SIZES) == rows(database, _RECOUNT_SIZES)


@pytest.mark.parametrize(
    "keep", ["", ",", "detections", "detections=", "detections=x", "detections=-1", "detections=0", "crops=3"]
)
def test_how_long_is_told_in_days_or_nothing_goes(
    keep: str, database: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.commit(mixed())
    sent_back(database, 4000)
    assert main(["prune", "--database", database, "--keep", keep]) == 2
    assert "--keep" in capsys.readouterr().err
    assert rows(database, "SELECT count(*) FROM records") == [(82,)]


def test_collectors_make_the_months_ahead_and_without_them_nothing_is_refused(cluster: Cluster, database: str) -> None:
    with connect(database) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE worker LOGIN IN ROLE holonode_collector; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        for name in sorted(parts(database)):
            if name.count("_") == 2:
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    assert parts(database) == ["records_rest"]
    rows(
        database,
        "INSERT INTO records (device_id, spool_id, seq, kind, at, record) VALUES ('box', 's', 3, 'events', now(), '{}') RETURNING seq",
    )
    with contextlib.closing(Store(cluster.address(database.rsplit("/", 1)[-1], "worker"))) as working:
        assert working.commit(mixed()).records == 82
    # This month's records lie in the rest already, so it is left there; the next ones are made.
    assert len([name for name in parts(database) if name.count("_") == 2]) == 2
    assert rows(database, "SELECT count(*) FROM records_rest") == [(83,)]
    sent_back(database, 40)
    with connect(database) as connection:
        assert prune(connection, "events", 1) >= 1
        assert prune_payloads(connection, 1) >= 0
