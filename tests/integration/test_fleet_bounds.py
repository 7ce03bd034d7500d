"""What one box publishes stops no other: quotas, views that can be read whatever is there, faults told apart, on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import paho.mqtt.client as paho
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.fleet import rejections
from deploy.fleet.cli import main
from deploy.fleet.database import connect
from deploy.fleet.intake import Arrival, Rejection, read
from deploy.fleet.schema import migrate, steps
from deploy.fleet.status import UnknownSchema, look
from deploy.fleet.store import Mark, Store
from device.errors import TransientError
from tests.brokers import broker
from tests.collectors import CollectorProcess
from tests.faults.bends import good, record
from tests.faults.bent_records import unreadable
from tests.integration.test_fleet_collect import await_subscription, eventually
from tests.integration.test_fleet_collect import event as event_payload
from tests.integration.test_fleet_store import event
from tests.postgres import Cluster, rows


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with contextlib.closing(Store(database)) as made:
        yield made


def taken(kind: str, seq: int, device: str = "box", **changes: Any) -> Arrival | Rejection:
    return read(f"holonode/v1/{device}/{kind}", msgspec.json.encode(record(kind, device, seq) | changes))


_POISON: tuple[tuple[str, dict[str, Any]], ...] = (
    ("detections", {"qc": 10**12}), ("detections", {"qc": "good"}), ("detections", {"qc": {}}), ("detections", {"x_um": "NaN"}),
    ("detections", {"esd_um": 1e300}), ("detections", {"esd_um": [1]}), ("detections", {"score": None}), ("intervals", {"counts": []}),
    ("intervals", {"counts": {"total": {"n": 3_000_000_000}, "birch": 3, "x": {"n": 1.5}}}), ("intervals", {"counts": "many"}),
    ("intervals", {"concentration": [1]}), ("intervals", {"concentration": {"a": {"value": "b"}, "b": 7}}), ("intervals", {"ended_at": "infinity"}),
    ("intervals", {"ended_at": "2026-02-30T00:00:00Z"}), ("intervals", {"ended_at": "9999-12-31T23:59:59Z"}), ("intervals", {"ended_at": 5}),
    ("intervals", {"volume_m3": True}), ("events", {"message": {"a": 1}}), ("events", {"value": "infinity"}),
    ("detections", {"model": [1]}), ("detections", {"model": {"classifier": 7, "x": [1], "y": {"name": {}}}}),
)  # fmt: skip


@pytest.fixture
def poisoned(cluster: Cluster) -> str:
    """A database with what collectors of before took, brought up to date."""
    address = cluster.new_database()
    with connect(address) as connection:
        migrate(connection, steps()[:3])
        for seq, (kind, changes) in enumerate(_POISON, 1):
            for schema in ("1", "3"):
                body = record(kind, f"old-{schema}", seq) | changes
                body["schema"] = body["schema"][:-1] + schema
                connection.execute(
                    "INSERT INTO records (device_id, spool_id, seq, kind, at, record) VALUES (%s, 's', %s, %s, '2026-05-04Z', %s)",
                    (f"old-{schema}", seq, kind, json.dumps(body)),
                )
        for at in ("0001-01-01Z", "9999-12-31 23:59:59Z", "4000-01-01Z BC", "infinity"):
            connection.execute(
                "INSERT INTO records (device_id, spool_id, seq, kind, at, record) VALUES ('odd', 's', 1, 'events', %s, '{}')",
                (at,),
            )
        connection.execute(
            "INSERT INTO records (device_id, spool_id, seq, kind, at, record) VALUES ('odd', 's', 2, 'events', now(), %s)",
            (json.dumps({"schema": "holonode.event/" + "x" * 10_000}),),
        )
        # As JSON of a number that double precision doesn't hold, which Python doesn't write.
        connection.execute(
            """UPDATE records SET record = jsonb_set(record, '{z_um}', '1e-400') WHERE kind = 'detections' AND seq = 1"""
        )
        connection.execute(
            """UPDATE records SET record = jsonb_set(record, '{y_um}', '1e4000') WHERE kind = 'detections' AND seq = 2"""
        )
        migrate(connection)
    return address


def test_views_and_queries_can_be_read_whatever_collectors_of_before_took(poisoned: str) -> None:
    with contextlib.closing(Store(poisoned)) as store:
        store.commit([read(message.topic, message.payload) for message in (good("good", seq) for seq in range(1, 31))])
    # Not the views: the table itself holds times that Python has no value for.
    assert [problem.split()[0] for problem in unreadable(poisoned)] == ["records"]
    # Nobody's good records are missing, and what is no value is NULL.
    assert rows(poisoned, "SELECT count(*), sum(qc) FROM detections WHERE device_id = 'good'") == [(10, 10)]
    assert rows(poisoned, "SELECT count(*) FROM detections WHERE device_id = 'old-1' AND qc IS NULL") == [(3,)]
    assert rows(poisoned, "SELECT n FROM counts WHERE n > 2e9") == [(3_000_000_000,)]
    # A schema that isn't known is in no view, and whole.
    for view in ("detections", "intervals", "events", "counts", "concentrations"):
        assert rows(poisoned, f"SELECT count(*) FROM {view} WHERE device_id IN ('old-3', 'odd')") == [(0,)]
    assert rows(poisoned, "SELECT count(*) FROM records WHERE device_id IN ('old-3', 'odd')") == [(len(_POISON) + 5,)]
    with connect(poisoned) as connection:
        unknown = look(connection).unknown_schemas
    assert {one.schema[:20] for one in unknown} >= {"holonode.detection/3", "holonode.interval/3", "holonode.event/3"}
    assert sum(one.records for one in unknown) == len(_POISON) + 1


def test_a_reader_and_a_collector_of_before_go_on(cluster: Cluster, database: str) -> None:
    name = database.rsplit("/", 1)[-1]
    with connect(database) as connection:
        for role, group in (("reads", "holonode_reader"), ("collects", "holonode_collector")):
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {role} LOGIN IN ROLE {group}; EXCEPTION WHEN duplicate_object THEN NULL; END $$".encode()
            )
    # The statements of step 3's collectors.
    old = cluster.address(name, "collects")
    for statement in (
        "INSERT INTO received (device_id, spool_id, seq, at, synchronised) VALUES ('box', 's', 3, now(), true) ON CONFLICT DO NOTHING RETURNING seq",
        "INSERT INTO records (device_id, spool_id, seq, kind, at, record) VALUES ('box', 's', 3, 'events', now(), '{}') RETURNING seq",
        "INSERT INTO rejected AS r (topic, sha256, reason, payload) VALUES ('holonode/v1/box/events', 'a', 'b', 'c')"
        " ON CONFLICT (topic, sha256) DO UPDATE SET times = r.times + 1, last_at = now() RETURNING times",
    ):
        assert rows(old, statement) in ([(3,)], [(1,)])
    with contextlib.closing(Store(old)) as store:
        assert store.commit([event(1), event(1, message="other"), event(2, severity="puce")]).conflicts == 1
    assert list(unreadable(cluster.address(name, "reads"))) == []
    assert list(unreadable(cluster.address(name, "collects"))) != []  # what a collector needs not read


def test_a_newer_schema_is_kept_whole_confirmed_and_seen(
    database: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    written = store.commit(
        [taken("events", 1), taken("events", 2, schema="holonode.event/3", message={"de": "neu"}, since=None)]
    )
    assert (written.records, written.rejected, written.marks) == (2, 0, (Mark("box", "s", 2),))
    assert [note.cause for note in written.notes] == ["unknown schema"]
    assert rows(database, "SELECT record -> 'message' FROM records WHERE unknown_schema = 'holonode.event/3'") == [
        ({"de": "neu"},)
    ]
    assert rows(database, "SELECT seq FROM events") == [(1,)]
    with connect(database) as connection:
        assert look(connection).unknown_schemas == (UnknownSchema(device_id="box", schema="holonode.event/3", records=1),)
    assert main(["status", "--database", database]) == 0
    assert "1 records of holonode.event/3" in capsys.readouterr().out


def test_a_box_that_floods_with_what_is_no_record_has_a_quota_of_its_own(
    database: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_sent = rejections.QUOTA_ROWS + 250
    for first in range(0, rows_sent, 250):
        batch = [read("holonode/v1/loud/events", b"no record %d" % k) for k in range(first, first + 250)]
        store.commit([*batch, event(1 + first // 250)])
    large = [read("holonode/v1/large/events", b'{"a":"%d' % k + b"x" * 250_000) for k in range(100)]
    huge = read("holonode/v1/huge/events", b"x" * (20 * 2**20))
    store.commit([*large, huge, huge, read("holonode/v1/quiet/events", b"{")])
    # What is kept already is counted there, whatever the quota.
    store.commit([read("holonode/v1/loud/events", b"no record 1")])
    with connect(database) as connection:
        fleet = look(connection)
    told = {one.device_id: one for one in fleet.refused}
    assert fleet.rejected == rows_sent + 100 + 2 + 1 + 1
    assert (told["loud"].kept, told["loud"].not_kept, told["loud"].messages) == (rejections.QUOTA_ROWS, 250, rows_sent + 1)
    assert told["large"].kept + told["large"].not_kept == 100
    assert 60 < told["large"].kept < 70
    assert (told["quiet"].kept, told["quiet"].not_kept) == (1, 0)
    assert rows(database, "SELECT size, length(payload), times FROM rejected WHERE device_id = 'huge'") == [
        (20 * 2**20, 4096, 2)
    ]
    assert rows(database, "SELECT count(*) FROM records") == [(5,)]
    assert main(["status", "--database", database]) == 0
    assert f"loud  {rows_sent + 1} messages rejected, 250 beyond its quota not kept" in capsys.readouterr().out
    # What the owner deletes makes room.
    with connect(database) as connection:
        connection.execute("DELETE FROM rejected WHERE device_id = 'loud'")
    store.commit([read("holonode/v1/loud/events", b"no record again")])
    assert rows(database, "SELECT count(*) FROM rejected WHERE device_id = 'loud'") == [(1,)]


def test_a_record_that_the_database_refuses_is_found_among_many_and_put_aside(database: str, store: Store) -> None:
    """Whatever the reason is: here a constraint, and an error of the server's own."""
    with connect(database) as connection:
        connection.execute("ALTER TABLE records ADD CHECK (record ->> 'code' <> 'unloved')")
        connection.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken page' USING ERRCODE = 'XX001'; END $$"
        )
        connection.execute(
            "CREATE TRIGGER fail BEFORE INSERT ON records FOR EACH ROW WHEN (new.record ->> 'code' = 'cursed') EXECUTE FUNCTION fail()"
        )
    codes = {5: "unloved", 77: "cursed", 78: "cursed"}
    written = store.commit([event(seq, code=codes.get(seq, "test")) for seq in range(1, 101)])
    assert (written.records, written.rejected, written.marks) == (97, 3, (Mark("box", "s", 100),))
    assert sorted(str(row[0]) for row in rows(database, "SELECT reason FROM rejected"))[0] == "PostgreSQL: broken page"


def test_a_rejected_message_that_cannot_be_put_aside_leaves_that_it_was_there(database: str, store: Store) -> None:
    with connect(database) as connection:
        connection.execute("ALTER TABLE rejected ADD CHECK (topic NOT LIKE '%unloved%')")
    batch = [
        event(1),
        read("holonode/v1/unloved/events", b"{"),
        read("holonode/v1/box/events", b"{"),
        event(2, severity="puce"),
    ]
    written = store.commit([*batch, event(3)])
    assert (written.records, written.rejected, written.marks) == (2, 3, (Mark("box", "s", 3),))
    assert rows(database, "SELECT topic FROM rejected ORDER BY 1") == [
        ("",),
        ("holonode/v1/box/events",),
        ("holonode/v1/box/events",),
    ]
    # It takes no record along, and needs none beside it.
    assert store.commit([event(4), read("holonode/v1/unloved/events", b"[")]).records == 1
    assert store.commit([read("holonode/v1/unloved/events", b"!")]).rejected == 1
    assert rows(database, "SELECT seq FROM records ORDER BY 1") == [(1,), (3,), (4,)]


def test_what_is_the_fault_of_the_database_is_blamed_on_no_record(database: str, store: Store) -> None:
    with connect(database) as connection:
        connection.execute("ALTER TABLE records ADD CHECK (seq < 0) NOT VALID")
    with pytest.raises(TransientError):
        store.commit([event(1), event(2)])
    with connect(database) as connection:
        connection.execute("ALTER TABLE records DROP CONSTRAINT records_seq_check")
        connection.execute("ALTER TABLE records RENAME TO elsewhere")
    with pytest.raises(TransientError):
        store.commit([event(1), event(2)])
    with connect(database) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO records")
    assert store.commit([event(1), event(2)]).records == 2
    assert rows(database, "SELECT count(*) FROM rejected") == [(0,)]


@pytest.mark.parametrize("body", ['{"a":' * 20_000 + "1" + "}" * 20_000, '{"a": 1e400000}', '{"a": "\\u0000"}', "{"])
def test_what_passed_the_intake_unseen_is_put_aside_by_the_store(database: str, store: Store, body: str) -> None:
    poison = replace(cast("Arrival", event(2)), body=body)
    written = store.commit([event(1), poison, *(event(seq) for seq in range(3, 20))])
    assert (written.records, written.rejected, written.again) == (18, 1, 0)
    assert rows(database, "SELECT payload FROM rejected") == [(body.encode(),)]


def test_the_database_says_of_a_wrong_value_what_python_says_nothing_of(database: str) -> None:
    """Casts that can't fail: whatever JSON can hold."""
    odd = ("1", "1e400", "1e-16000", "-1e30", "1e31", '"NaN"', '"2026-05-04T00:00:00Z"', '"2028-02-29T00:00:00Z"', '"2027-02-29T00:00:00Z"', "null", "[]", "{}", "true", "0.5",
           '"2026-13-01T00:00:00Z"', '"2262-01-01T00:00:00Z"', "99999999999999999999", '"2026-05-04T24:00:00Z"')  # fmt: skip
    query = "SELECT number_of(v), whole_of(v), flag_of(v), object_of(v), time_of(v)::text FROM unnest(%s::jsonb[]) v"
    with psycopg.connect(database, options="-c search_path=holonode -c timezone=UTC") as connection:
        found = connection.execute(query, (list(odd),)).fetchall()
    values = dict(zip(odd, found, strict=True))
    assert [row[0] for row in found] == [1.0, None, 0.0, -1e30, *[None] * 9, 0.5, None, None, 99999999999999999999.0, None]
    assert [text for text, row in values.items() if row[1] is not None] == ["1", "1e-16000"][:1]
    assert [text for text, row in values.items() if row[2] is not None] == ["1"]
    assert [text for text, row in values.items() if row[4] is not None] == ['"2026-05-04T00:00:00Z"', '"2028-02-29T00:00:00Z"']
    assert all(row[3] == {} for row in found)


def properties(**named: Any) -> Properties:
    made = Properties(PacketTypes.PUBLISH)
    for name, value in named.items():
        setattr(made, name, value)
    return made


def test_what_a_box_says_beside_its_message_ends_no_collector(database: str, tmp_path: Path) -> None:
    """Over U+FEFF in a property the MQTT client's own parser raises, over a hundred thousand properties it takes minutes."""
    odd = [
        properties(UserProperty=("a\ufeff", "b")), properties(ContentType="\ufeff"), properties(ResponseTopic="x/\ufeff"), properties(CorrelationData=b"\0" * 60_000),
        properties(UserProperty=("name", "x" * 65_000)), properties(PayloadFormatIndicator=1, MessageExpiryInterval=4_000_000_000),
    ]  # fmt: skip
    many = properties()
    many.UserProperty = [("", "")] * 100_000
    with broker(tmp_path / "broker") as running:
        collector = CollectorProcess(database, running.url)
        collector.start()
        try:
            await_subscription(running, "one", 0)
            client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
            client.connect("127.0.0.1", running.port)
            client.loop_start()
            for seq, beside in enumerate([*odd, many], 1):
                client.publish("holonode/v1/box/events", event_payload(seq), qos=1, properties=beside).wait_for_publish(20)
            client.publish("holonode/v1/other/events", event_payload(1, "other"), qos=1).wait_for_publish(20)
            client.disconnect()
            client.loop_stop()
            eventually(lambda: rows(database, "SELECT count(*) FROM records WHERE device_id = 'other'") == [(1,)])
            assert rows(database, "SELECT count(*) FROM records WHERE device_id = 'box'") == [(len(odd) + 1,)]
            assert collector.finish()[0] == 0
        finally:
            collector.kill()
