"""kill -9 of boxes, broker and collectors at random moments; what was committed on a box must be in PostgreSQL, once.

`python -m tests.faults.kill_delivery --service-kills 1000 --producer-kills 200 --broker-kills 100 --collector-kills 100` is
the whole campaign, an hour. A real mosquitto with its persistence, two collectors, a real PostgreSQL, and two boxes whose records a collector
confirms: the simulated sampler (`holonode run`), and a light producer, a process with the service's own outbox and link that
commits events as fast as they are confirmed and starts in a fraction of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from deploy.fleet.database import connect
from deploy.fleet.schema import migrate
from device.config import DeliveryConfig, MqttConfig
from device.identifiers import random_ulid
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Info
from device.records import Event, iso_time
from device.storage.outbox import Outbox
from tests.brokers import Broker
from tests.collectors import CollectorProcess
from tests.postgres import Cluster, rows
from tests.services import ROOT, Service

RETRY_S = 2
"""After which a box sends again what nobody confirmed."""

_FIRST_INTERVAL = " particles ("
"""What the service prints of an interval that is committed."""

_TOGETHER, _MOST_WAITING = 5, 500


@dataclass(frozen=True)
class Outcome:
    """What a campaign found."""

    kills: dict[str, int]
    committed: dict[str, int]
    """Records, by box."""
    lost: int
    doubled: int
    """Under one number, or one record under two."""
    altered: int
    """In PostgreSQL and not what the box holds."""
    unconfirmed: int
    """Rows that their box still waits for at the end."""

    def __str__(self) -> str:
        killed = ", ".join(f"{what} {times} times" for what, times in sorted(self.kills.items()))
        committed = ", ".join(f"{number} records on {device}" for device, number in self.committed.items())
        return (
            f"killed {killed}; committed {committed}; in PostgreSQL {self.lost} lost, "
            f"{self.doubled} doubled, {self.altered} altered; {self.unconfirmed} unconfirmed"
        )

    @property
    def sound(self) -> bool:
        return all(self.committed.values()) and not (self.lost or self.doubled or self.altered or self.unconfirmed)


@dataclass
class Producer:
    """The light box as a process."""

    store: Path
    url: str
    confirm: str = "collector"
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "tests.faults.kill_delivery", "--produce", str(self.store), "--url", self.url,
            "--confirm", self.confirm,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)

    def await_work(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=120)
            self._process = None


def produce(store: Path, url: str, confirm: str) -> None:
    """Commit events until killed; says so when it begins."""
    with linked(store, "producer", url, confirm) as (outbox, link):

        def build(first: int) -> list[Event]:
            since = iso_time(datetime.now(UTC))
            return [
                Event(
                    device_id="producer", spool_id=outbox.spool_id, seq=seq, id=random_ulid(), code="test", severity="info",
                    message="m", since=since,
                )
                for seq in range(first, first + _TOGETHER)
            ]  # fmt: skip

        print("at work", flush=True)
        while True:
            if outbox.depth() < _MOST_WAITING:
                outbox.commit(build)
                link.notify()
            time.sleep(0.01)


@contextlib.contextmanager
def linked(store: Path, device_id: str, url: str, confirm: str = "collector") -> Generator[tuple[Outbox, MqttLink]]:
    info = Info(
        device_id=device_id, software={}, instrument={}, instrument_id="i", calibration_id=None, models={}, pipeline_id="p",
        config={}, config_hash="c",
    )  # fmt: skip
    outbox = Outbox(store, device_id)
    settings = {"confirm": confirm, "retry_s": RETRY_S, "history_per_s": 5000}
    delivery = msgspec.convert(settings, DeliveryConfig)
    link = MqttLink(
        MqttConfig(url=url), parse_url(url), outbox, info, delivery=delivery, on_warning=lambda _code, _message: None
    )
    link.start()
    try:
        yield outbox, link
    finally:
        link.stop(0.5)
        outbox.close()


def drain(store: Path, device_id: str, url: str, confirm: str = "collector", timeout_s: float = 120) -> int:
    """Wait until a box's rows are confirmed; returns how many are not in time."""
    with linked(store, device_id, url, confirm) as (outbox, link):
        until = time.monotonic() + timeout_s
        while outbox.depth() and time.monotonic() < until:
            link.notify()
            time.sleep(0.05)
        return outbox.depth()


@dataclass
class World:
    """Everything that runs."""

    folder: Path
    cluster: Cluster
    rng: random.Random
    database: str = ""
    broker: Broker = field(init=False)
    service: Service | None = None
    producer: Producer = field(init=False)
    collectors: list[CollectorProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = self.cluster.new_database()
        with connect(self.database) as connection:
            migrate(connection)
        self.broker = Broker(self.folder / "broker")
        self.broker.start()
        self.producer = Producer(self.folder / "producer", self.broker.url)
        self.collectors = [CollectorProcess(self.database, self.broker.url, name) for name in ("one", "two")]
        for collector in self.collectors:
            collector.start()

    def run(self, order: Sequence[str]) -> None:
        """Kill one after the other; each is started again at once."""
        if "service" in order:
            self.service = self.service or Service.configured(
                self.folder / "sampler", self.broker.url, mqtt=f'[delivery]\nconfirm = "collector"\nretry_s = {RETRY_S}'
            )
            self._start_service()
        if "producer" in order:
            self.producer.start()
        for what in order:
            getattr(self, f"_kill_{what}")()

    def _start_service(self) -> None:
        assert self.service is not None
        self.service.start(PYTHONFAULTHANDLER="1")

    def _kill_service(self) -> None:
        assert self.service is not None
        # Some kills hit the start-up, most hit commits and publishes.
        if self.rng.random() < 0.75:
            self._await_interval(self.service)
        time.sleep(self.rng.uniform(0.0, 1.0))
        self.service.kill()
        self._start_service()

    def _await_interval(self, service: Service) -> None:
        """One that hangs tells where: faulthandler writes every thread's stack at SIGABRT."""
        try:
            service.until_said(_FIRST_INTERVAL, 180)
        except AssertionError:
            _, said = service.finish(signal.SIGABRT)
            raise AssertionError(said) from None

    def _kill_producer(self) -> None:
        if self.rng.random() < 0.8:
            self.producer.await_work()
        time.sleep(self.rng.uniform(0.0, 0.6))
        self.producer.kill()
        self.producer.start()

    def _kill_broker(self) -> None:
        time.sleep(self.rng.uniform(0.0, 0.5))
        self.broker.stop(kill=True)
        self.broker.start()

    def _kill_collector(self) -> None:
        time.sleep(self.rng.uniform(0.0, 1.0))
        collector = self.rng.choice(self.collectors)
        collector.kill()
        collector.start()

    def settle(self) -> list[tuple[Path, str, int]]:
        """Kill the boxes once more and let all of their rows out: (store, device id, rows unconfirmed) of each."""
        self.producer.kill()
        boxes = [(self.producer.store, "producer")] if self.producer.store.exists() else []
        if self.service is not None:
            self.service.kill()
            boxes.append((self.folder / "sampler" / "store", "test-box"))
        return [(store, device, drain(store, device, self.broker.url)) for store, device in boxes]

    def close(self) -> None:
        self.producer.kill()
        if self.service is not None:
            self.service.stop()
        for collector in self.collectors:
            collector.kill()
        self.broker.stop()


def campaign(kills: dict[str, int], folder: Path, cluster: Cluster, seed: int = 1, together: int = 100) -> Iterator[Outcome]:
    """Kill in a random order; after each so many, let everything out and look at what is in PostgreSQL, from the first record on."""
    rng = random.Random(seed)
    order = [what for what, times in kills.items() for _ in range(times)]
    rng.shuffle(order)
    with contextlib.closing(World(folder, cluster, rng)) as world:
        for done in range(0, len(order), together):
            world.run(order[done : done + together])
            yield _outcome(Counter(order[: done + together]), world.settle(), world.database)


def _outcome(kills: dict[str, int], boxes: Sequence[tuple[Path, str, int]], database: str) -> Outcome:
    found = {device: judge(store, device, database) for store, device, _ in boxes}
    for device, judged in found.items():
        for line in judged.evidence:
            print(f"{device}: {line}", flush=True)
    lost, doubled, altered = (
        sum(len(getattr(judged, what)) for judged in found.values()) for what in ("lost", "doubled", "altered")
    )
    committed = {device: judged.committed for device, judged in found.items()}
    return Outcome(kills, committed, lost, doubled, altered, sum(waiting for *_, waiting in boxes))


@dataclass(frozen=True)
class Judged:
    """What a box committed against what is in PostgreSQL; a line for each record that is wrong, with what is there of it."""

    committed: int
    """Numbers given."""
    lost: tuple[str, ...]
    """Neither there nor waiting on the box."""
    doubled: tuple[str, ...]
    """Under one number, or one record under two."""
    altered: tuple[str, ...]
    """There, and not what the box holds, or nothing that it knows of."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """All of it."""
        return (*self.lost, *self.doubled, *self.altered)


def judge(store: Path, device_id: str, database: str) -> Judged:
    """Of one box, whose store nobody has open."""
    with contextlib.closing(sqlite3.connect(store / "outbox.sqlite")) as outbox:
        # Every number below the next was committed once, whether its row is still there or not.
        following = int(outbox.execute("SELECT value FROM meta WHERE key = 'next_seq'").fetchone()[0])
        held = {seq: _content(msgspec.json.decode(body)) for seq, body in outbox.execute("SELECT seq, body FROM records")}
        waiting = {seq for (seq,) in outbox.execute("SELECT seq FROM waiting")}
    query = "SELECT spool_id, seq, record, received_at FROM records WHERE device_id = %s"
    there = [(str(spool), int(str(seq)), _content(record), at) for spool, seq, record, at in rows(database, query, device_id)]
    seqs = Counter(seq for _, seq, _, _ in there)
    # A record under two numbers would be doubled as well, whatever the key says.
    ids = Counter(str(record["id"]) for _, _, record, _ in there)
    wrong: dict[str, list[str]] = {"doubled": [], "altered": []}
    for spool, seq, record, at in there:
        told = f"record {seq} of spool {spool}, received {at}: {record}; on the box: {held.get(seq, 'no row')}"
        if seqs[seq] > 1 or ids[str(record["id"])] > 1:
            wrong["doubled"].append(f"doubled: {told}")
        if not 0 < seq < following or held.get(seq) not in (None, record):
            wrong["altered"].append(f"altered: {told}; its next number: {following}")
    gone = sorted(set(range(1, following)) - seqs.keys() - waiting)
    lost = tuple(f"lost: record {seq}; on the box: {held.get(seq, 'no row')}" for seq in gone)
    return Judged(following - 1, lost, *map(tuple, wrong.values()))


def _content(record: Any) -> dict[str, Any]:
    """All but whether it came late, which is said on the way."""
    return {name: value for name, value in record.items() if name != "historical"}


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service-kills", type=int, default=4, help="of the simulated sampler")
    parser.add_argument("--producer-kills", type=int, default=20, help="of the light producer")
    parser.add_argument("--broker-kills", type=int, default=4)
    parser.add_argument("--collector-kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--produce", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--confirm", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.produce:
        produce(args.produce, args.url, args.confirm)
    kills = {
        "service": args.service_kills, "producer": args.producer_kills, "broker": args.broker_kills,
        "collector": args.collector_kills,
    }  # fmt: skip
    cluster = Cluster.made()
    try:
        cluster.start()
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            sound = True
            for outcome in campaign(kills, Path(folder), cluster, args.seed):
                print(f"{outcome} ({time.monotonic() - began:.0f} s)", flush=True)
                sound = sound and outcome.sound
    finally:
        cluster.remove()
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
