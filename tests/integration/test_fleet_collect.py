"""Collectors between a real broker and a real PostgreSQL, through what both do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.brokers import Broker, Subscriber, broker, free_port
from tests.collectors import CollectorProcess
from tests.postgres import Cluster, rows


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def started(database: str, running: Broker) -> Iterator[Callable[..., CollectorProcess]]:
    """Start a collector, and wait until it is subscribed."""
    made: list[CollectorProcess] = []

    def start(name: str = "one", address: str = database, batch: int = 500) -> CollectorProcess:
        collector = CollectorProcess(address, running.url, name, batch)
        made.append(collector)
        seen = connections(running, name)
        collector.start()
        await_subscription(running, name, seen)
        return collector

    yield start
    for collector in made:
        collector.kill()


def connections(running: Broker, name: str) -> int:
    return (running.folder / "log").read_text().count(f"as holonode-collector-{name} ")


def await_subscription(running: Broker, name: str, before: int) -> None:
    eventually(lambda: connections(running, name) > before)
    time.sleep(0.2)  # the subscription follows the connection


def eventually(holds: Callable[[], object], timeout_s: float = 120) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)


def event(seq: int, device: str = "box", **changes: object) -> bytes:
    record = {
        "device_id": device, "spool_id": "s", "seq": seq, "schema": "holonode.event/1", "id": f"{device}{seq}", "code": "test",
        "severity": "info", "message": "m", "since": "2026-05-04T00:00:00.000000Z",
    }  # fmt: skip
    return msgspec.json.encode(record | changes)


def publish(running: Broker, payloads: list[bytes], device: str = "box") -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", running.port)
    client.loop_start()
    for sent in [client.publish(f"holonode/v1/{device}/events", payload, qos=1) for payload in payloads]:
        sent.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def kept(database: str) -> list[int]:
    return [int(str(row[0])) for row in rows(database, "SELECT seq FROM records ORDER BY device_id, seq")]


def test_records_are_confirmed_after_the_commit_and_poison_does_not_stop_them(
    database: str, running: Broker, started: Callable[..., CollectorProcess]
) -> None:
    listener = Subscriber(running.port, topic="holonode/v1/+/ack")
    collector = started()
    publish(running, [event(1), b"{not json", event(2, severity="puce"), event(3, colour="green")])
    assert listener.until("ack", seq=3, spool_id="s")
    listener.close()
    assert kept(database) == [1, 3]
    assert rows(database, "SELECT record ->> 'colour' FROM records WHERE seq = 3") == [("green",)]
    assert rows(database, "SELECT count(*), sum(times) FROM rejected") == [(2, 2)]
    status, output, _ = collector.finish()
    assert status == 0
    totals = msgspec.json.decode(output)
    assert (totals["records"], totals["rejected"]) == (2, 2)


def test_what_is_not_committed_stays_with_the_broker(
    cluster: Cluster, database: str, running: Broker, started: Callable[..., CollectorProcess]
) -> None:
    collector = started()
    cluster.stop()
    try:
        publish(running, [event(seq) for seq in range(1, 51)])
        time.sleep(0.5)
        # Killed with the batch in its hands, ended in order with it: neither acknowledges.
        collector.kill()
        collector = started()
        status, output, told = collector.finish()
        assert status == 0
        assert msgspec.json.decode(output)["records"] == 0
    finally:
        cluster.start()
    collector = started()
    eventually(lambda: len(kept(database)) == 50)
    assert "Records wait at the broker." in told


def test_a_collector_outlives_both_the_broker_and_the_database(
    cluster: Cluster, database: str, running: Broker, started: Callable[..., CollectorProcess]
) -> None:
    collector = started()
    publish(running, [event(1)])
    eventually(lambda: kept(database) == [1])
    running.stop()
    cluster.stop()
    time.sleep(0.3)
    cluster.start()
    running.start()
    # mosquitto 2.0 forgets shared subscriptions when it ends: what comes before the collector is back has no subscriber.
    await_subscription(running, "one", 1)
    publish(running, [event(2)])
    eventually(lambda: kept(database) == [1, 2])
    status, _, told = collector.finish()
    assert status == 0
    assert "lost" in told
    assert "Connected to the broker." in told


def test_collectors_share_the_work(database: str, running: Broker, started: Callable[..., CollectorProcess]) -> None:
    several = [started(name, batch=10) for name in ("one", "two", "three")]
    publish(running, [event(seq) for seq in range(1, 601)])
    eventually(lambda: rows(database, "SELECT committed_to FROM spools") == [(600,)])
    shares = [msgspec.json.decode(collector.finish()[1])["records"] for collector in several]
    assert sum(shares) == 600
    assert min(shares) > 0


def test_one_that_is_away_keeps_its_share_until_it_leaves(
    database: str, running: Broker, started: Callable[..., CollectorProcess]
) -> None:
    staying, going = started("staying"), started("going")
    going.finish()
    publish(running, [event(seq) for seq in range(1, 21)])
    eventually(lambda: len(kept(database)) == 10)
    time.sleep(0.5)
    assert len(kept(database)) == 10
    leaving = CollectorProcess(database, running.url, "going", more=("--leave",))
    leaving.start()
    status, output, told = leaving.finish(None)
    assert "gives up its place" in told
    assert "lost" not in told
    assert (status, msgspec.json.decode(output)["records"]) == (0, 10)
    publish(running, [event(seq) for seq in range(21, 41)])
    eventually(lambda: len(kept(database)) == 40)
    assert msgspec.json.decode(staying.finish()[1])["records"] == 30


def test_two_of_a_name_are_told(database: str, running: Broker, started: Callable[..., CollectorProcess]) -> None:
    first, second = started("twin"), started("twin")
    eventually(lambda: connections(running, "twin") > 12)
    told = first.finish()[2] + second.finish()[2]
    assert "does another collector have the name twin?" in told


def test_a_broker_without_shared_subscriptions_is_collected_from_and_of_several_the_one_that_answers(
    database: str, running: Broker
) -> None:
    urls = f"mqtt://127.0.0.1:{free_port()},{running.url}"
    collectors = [CollectorProcess(database, urls, name, more=("--protocol", "3.1.1")) for name in ("one", "two")]
    for collector in collectors:
        collector.start()
    for collector in collectors:
        await_subscription(running, collector.name, 0)
    publish(running, [event(seq) for seq in range(1, 31)])
    eventually(lambda: kept(database) == list(range(1, 31)))
    # A session of 3.1.1 is kept as well: what comes meanwhile waits.
    first = msgspec.json.decode(collectors[0].finish()[1])
    second = msgspec.json.decode(collectors[1].finish()[1])
    publish(running, [event(31)])
    collectors[1].start()
    eventually(lambda: kept(database)[-1] == 31)
    assert collectors[1].finish()[0] == 0
    assert first["records"] + second["records"] == 30
    assert first["again"] + second["again"] >= 30


def test_what_is_wrong_with_the_database_is_said_before_a_record_comes(cluster: Cluster, running: Broker) -> None:
    empty = CollectorProcess(cluster.new_database(), running.url)
    empty.start()
    status, _, told = empty.finish(None)
    assert status == 2
    assert "holonode-fleet migrate" in told
    away = CollectorProcess(f"postgresql://keeper@127.0.0.1:{free_port()}/fleet", running.url, "away")
    away.start()
    await_subscription(running, "away", 0)
    status, _, told = away.finish()
    assert status == 0
    assert "can't be reached" in told
    assert f"Collects from {running.url} as away." in told


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1", "not a broker's URL"), ("mqtt://a:secret@127.0.0.1", "credentials"), ("", "no broker named"),
        ("mqtt://127.0.0.1,mqtts://127.0.0.1", "with TLS or none"), ("mqtt://a:secret@127.0.0.1:x", "not a broker's URL"), ("mqtt://a:secret@[127/", "not a broker's URL"),
    ],
)  # fmt: skip
def test_a_wrong_broker_is_told(database: str, url: str, said: str) -> None:
    collector = CollectorProcess(database, url)
    collector.start()
    status, _, told = collector.finish(None)
    assert status == 2
    assert said in told
    assert "secret" not in told
    assert "Traceback" not in told
