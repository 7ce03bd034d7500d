"""A thousand boxes into one collector and into four: `python -m tests.benchmarks.fleet_load`; five minutes.

Simulated boxes, real connections: each is an MQTT 5 client of its own with records of a real sampler's size and form, into a real
mosquitto, real collectors and a real PostgreSQL that waits for its disk. Everything shares this machine. For each number of boxes
and collectors two loads: a flood (each box sends as fast as the broker acknowledges), which gives the rate, and a steady load of
so many records a second, which gives the time from publish to commit (PostgreSQL's own commit time stamps). The baseline is a
plain paho subscriber on the same flood that counts and does nothing else.
"""

from __future__ import annotations

import argparse
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from deploy.fleet.database import connect
from deploy.fleet.schema import migrate
from device.identifiers import random_ulid
from device.records import iso_time, to_json
from device.storage.outbox import Outbox
from tests.brokers import Broker
from tests.collectors import CollectorProcess
from tests.postgres import Cluster, rows
from tests.services import ROOT
from tests.stores import START, detection

_WINDOW = 4
"""Records of one box in flight."""
_LONGEST_S = 180
_NOBODY_LISTENS = 16
_FEATURES = {
    "area_um2": 287.2576, "perimeter_um": 64.97305, "circularity": 0.8551, "aspect_ratio": 1.05882, "mean_phase_rad": 0.24441,
    "phase_std_rad": 0.1923, "mean_amplitude": 0.50904, "min_amplitude": 0.33193, "optical_path_volume_um3": 10.0043,
    "touches_edge": 0.0,
}  # fmt: skip
"""What the simulated sampler measures of a particle."""
_BROKER = ("allow_anonymous true", "max_inflight_messages 1000", "max_connections -1", "set_tcp_nodelay true")


class Load(msgspec.Struct, frozen=True):
    """What the boxes send together."""

    url: str
    boxes: int
    records: int
    rate_per_s: float = 0.0
    """0: as fast as the broker acknowledges."""
    spool_id: str = "s"


class Sent(msgspec.Struct, frozen=True):
    """What the boxes say when they have sent it."""

    began: float
    """Seconds of the wall clock."""
    took_s: float
    bytes_each: int
    refused: int


# -- the boxes ------------------------------------------------------------------------------------------------------------


def template() -> bytes:
    """A detection as a sampler writes it, with a place for what differs."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder), "@device@")
        record = detection(outbox, 1, START, random_ulid(), "birch")
        outbox.close()
    changes = {"spool_id": "@spool@", "id": "@id@", "captured_at": "@at@", "seq": 987_654_321, "features": _FEATURES}
    return to_json(msgspec.structs.replace(record, **changes))


@dataclass
class Box:
    """One connection."""

    number: int
    client: paho.Client
    seq: int = 0
    in_flight: int = 0
    refused: int = 0

    @property
    def device_id(self) -> str:
        return f"box-{self.number}"

    def send(self, form: bytes, spool_id: str) -> None:
        self.seq += 1
        self.in_flight += 1
        record = form
        for place, value in (
            (b"@device@", self.device_id), (b"@spool@", spool_id), (b"987654321", str(self.seq)), (b"@id@", random_ulid()),
            (b"@at@", iso_time(datetime.now(UTC))),
        ):  # fmt: skip
            record = record.replace(place, value.encode())
        self.client.publish(f"holonode/v1/{self.device_id}/detections", record, qos=1)

    def answered(self, reason: ReasonCode) -> None:
        self.in_flight -= 1
        self.refused += reason.is_failure or reason.value == _NOBODY_LISTENS


class Boxes:
    """All of them in one thread, on one selector."""

    def __init__(self, load: Load) -> None:
        self._load, self._form = load, template()
        self._selector = selectors.DefaultSelector()
        self.boxes = [self._connected(number) for number in range(load.boxes)]

    def _connected(self, number: int) -> Box:
        client = paho.Client(CallbackAPIVersion.VERSION2, f"box-{number}", protocol=MQTTProtocolVersion.MQTTv5)
        box = Box(number, client)
        standing: list[bool] = []
        client.on_connect = lambda _c, _u, _f, reason, _p: standing.append(not reason.is_failure)
        client.on_publish = lambda _c, _u, _m, reason, _p: box.answered(reason)
        host, port = self._load.url.removeprefix("mqtt://").split(":")
        client.connect(host, int(port), keepalive=600)
        while not standing:
            client.loop_read()
        assert standing == [True]
        line = client.socket()
        assert line is not None
        self._selector.register(line, selectors.EVENT_READ, box)
        return box

    def run(self) -> Sent:
        began, began_at = time.monotonic(), time.time()
        each = [len(range(number, self._load.records, self._load.boxes)) for number in range(self._load.boxes)]
        if self._load.rate_per_s:
            self._steadily(began)
        else:
            self._flood(each)
        while any(box.in_flight for box in self.boxes):
            self._serve(0.1)
        took_s = time.monotonic() - began
        for box in self.boxes:
            box.client.disconnect()
        return Sent(began_at, took_s, len(self._form), sum(box.refused for box in self.boxes))

    def _flood(self, each: list[int]) -> None:
        ready = self.boxes
        while any(box.seq < each[box.number] for box in self.boxes):
            for box in ready:
                while box.in_flight < _WINDOW and box.seq < each[box.number]:
                    box.send(self._form, self._load.spool_id)
            ready = self._serve(1.0)

    def _steadily(self, began: float) -> None:
        for k in range(self._load.records):
            due = began + k / self._load.rate_per_s
            while (left_s := due - time.monotonic()) > 0:
                self._serve(left_s)
            self.boxes[k % self._load.boxes].send(self._form, self._load.spool_id)

    def _serve(self, timeout_s: float) -> list[Box]:
        """Hear what the broker says, write what is left to write; those that heard something."""
        heard: list[Box] = []
        for key, _ in self._selector.select(timeout_s):
            box: Box = key.data
            box.client.loop_read()
            if box.client.want_write():
                box.client.loop_write()
            heard.append(box)
        return heard


def count(url: str, records: int) -> None:
    """The baseline: take so many and say when the last one came."""
    taken = 0
    client = paho.Client(CallbackAPIVersion.VERSION2, "counter", protocol=MQTTProtocolVersion.MQTTv5)

    def arrived(*_: object) -> None:
        nonlocal taken
        taken += 1
        if taken == records:
            print(time.time(), flush=True)
            client.disconnect()

    def standing(client: paho.Client, *_: object) -> None:
        client.subscribe("$share/collectors/holonode/v1/+/detections", qos=1)

    def subscribed(*_: object) -> None:
        print("counting", flush=True)

    client.on_connect, client.on_subscribe, client.on_message = standing, subscribed, arrived
    host, port = url.removeprefix("mqtt://").split(":")
    client.connect(host, int(port))
    client.loop_forever()


# -- the measurements -----------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Broker and database; collectors as a measurement needs them."""

    folder: Path
    cluster: Cluster
    database: str = ""
    broker: Broker = field(init=False)
    spools: int = 0
    brokers: int = 0

    def __post_init__(self) -> None:
        self.database = self.cluster.new_database()
        with connect(self.database) as connection:
            migrate(connection)

    def renew(self) -> None:
        """A broker without sessions: a collector that has ended would keep its share."""
        if self.brokers:
            self.broker.stop()
        self.brokers += 1
        self.broker = Broker(self.folder / f"broker-{self.brokers}", extra=_BROKER)
        self.broker.start()

    def send(self, boxes: int, records: int, rate_per_s: float = 0.0) -> tuple[Sent, str]:
        """(what the boxes say, the spool that their records are of)."""
        self.spools += 1
        load = Load(self.broker.url, boxes, records, rate_per_s, f"s{self.spools}")
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.fleet_load", "--send", msgspec.json.encode(load).decode()],
            check=True, capture_output=True, text=True, cwd=ROOT, timeout=_LONGEST_S + records,
        )  # fmt: skip
        sent = msgspec.json.decode(done.stdout, type=Sent)
        assert sent.refused == 0, f"{sent.refused} records were refused or had no subscriber"
        return sent, load.spool_id

    def counted_per_s(self, boxes: int, records: int) -> float:
        """The baseline's rate."""
        self.renew()
        command = [sys.executable, "-m", "tests.benchmarks.fleet_load", "--count", str(records), "--url", self.broker.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as counter:
            assert counter.stdout is not None
            assert counter.stdout.readline() == "counting\n"
            sent, _ = self.send(boxes, records)
            return records / (float(counter.stdout.readline()) - sent.began)

    def committed(self, spool_id: str, records: int) -> np.ndarray:
        """float64 [records, 2]: seconds of the wall clock when each was published and when it was committed."""
        until = time.monotonic() + _LONGEST_S
        while rows(self.database, "SELECT count(*) FROM received WHERE spool_id = %s", spool_id) != [(records,)]:
            assert time.monotonic() < until, "the collectors are behind"
            time.sleep(0.2)
        times = rows(
            self.database,
            "SELECT extract(epoch FROM at)::float8, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM records"
            " WHERE spool_id = %s",
            spool_id,
        )
        return np.array(times, dtype=np.float64)

    def collectors(self, number: int) -> list[CollectorProcess]:
        """Started and subscribed."""
        made = [CollectorProcess(self.database, self.broker.url, f"{number}-{k}") for k in range(number)]
        for collector in made:
            collector.start()
        log, until = self.broker.folder / "log", time.monotonic() + 30
        while any(f"as holonode-collector-{collector.name} " not in log.read_text() for collector in made):
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(0.5)  # the subscription follows the connection
        return made


@dataclass(frozen=True)
class Figures:
    """Of one number of boxes and of collectors."""

    boxes: int
    collectors: int
    flood_per_s: float
    of_counting: float
    """Of the baseline's rate."""
    steady_per_s: float
    late_ms: tuple[float, float, float, float]
    """From publish to commit: median, 95th, 99th percentile, longest."""

    def __str__(self) -> str:
        late = "  ".join(f"{value:7.0f}" for value in self.late_ms)
        return f"{self.boxes:6d}  {self.collectors:10d}  {self.flood_per_s:9.0f}  {self.of_counting:11.2f}  {self.steady_per_s:9.0f}  {late}"


HEADER = " boxes  collectors  flood 1/s  of counting  steady/s   p50 ms   p95 ms   p99 ms   max ms"


def measure(world: World, boxes: int, collectors: int, records: int, baseline_per_s: float, rate_per_s: float) -> Figures:
    """A flood and a steady load."""
    world.renew()
    running = world.collectors(collectors)
    try:
        sent, spool_id = world.send(boxes, records)
        flood_per_s = records / float(world.committed(spool_id, records)[:, 1].max() - sent.began)
        steady = round(min(rate_per_s * 10, records))
        _, spool_id = world.send(boxes, steady, rate_per_s)
        times = world.committed(spool_id, steady)
        late_ms = 1000 * (times[:, 1] - times[:, 0])
    finally:
        totals = [msgspec.json.decode(collector.finish()[1]) for collector in running]
    assert sum(total["records"] for total in totals) == records + steady, totals
    p50, p95, p99 = (float(value) for value in np.percentile(late_ms, (50, 95, 99)))
    return Figures(
        boxes, collectors, flood_per_s, flood_per_s / baseline_per_s, rate_per_s, (p50, p95, p99, float(late_ms.max()))
    )


def allow_files(wanted: int) -> None:
    """A descriptor for each connection, here and in the broker, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"{wanted} open files are needed and {hard} are allowed: ulimit -Hn")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--collectors", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--records", type=int, default=20_000, help="of a flood")
    parser.add_argument("--rate", type=float, default=500.0, help="records a second of the steady load")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        sent = Boxes(msgspec.json.decode(args.send, type=Load)).run()
        print(msgspec.json.encode(sent).decode())
        return 0
    if args.count:
        count(args.url, args.count)
        return 0
    allow_files(max(args.boxes) + 200)
    cluster = Cluster.made(fsync=True)
    cluster.settings["track_commit_timestamp"] = "on"
    try:
        cluster.start()
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), cluster)
            print(f"records of {len(template())} bytes; flood of {args.records}")
            print(HEADER)
            for boxes in args.boxes:
                baseline_per_s = world.counted_per_s(boxes, args.records)
                print(f"{boxes:6d}  {'counting':>10}  {baseline_per_s:9.0f}  {1:11.2f}", flush=True)
                for collectors in args.collectors:
                    print(measure(world, boxes, collectors, args.records, baseline_per_s, args.rate), flush=True)
            world.broker.stop()
    finally:
        cluster.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
