"""A million bent records among good ones of other boxes: `python -m tests.faults.bent_records --records 1000000`.

Off-line they go through the collectors' own intake and store into a real PostgreSQL, in batches as collectors make them, each
with good records of other boxes in it. Then, through a real mosquitto, more of them and some of tens of megabytes meet the
collector as a process. What counts: the collector never ends, every good record is there as it was, each bent one is stored or
rejected with its reason, and everything that a reader has (the views, the README's queries, `status`) can be read at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import psycopg
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.fleet.database import connect
from deploy.fleet.intake import Rejection, read
from deploy.fleet.schema import migrate
from deploy.fleet.status import Fleet, look
from deploy.fleet.store import Store
from tests.brokers import Broker
from tests.collectors import CollectorProcess
from tests.faults.bends import Message, bent, good
from tests.postgres import Cluster, rows
from tests.services import ROOT

VIEWS = ("detections", "intervals", "concentrations", "counts", "events", "models", "records", "conflicts", "rejected")
_BATCH, _GOOD_OF_IT = 500, 100
_GOOD_BOXES, _BENT_BOXES = 5, 20


@dataclass(frozen=True)
class Outcome:
    """What a campaign found."""

    bent: int
    good: int
    ends: int = 0
    """Of intake, store or the collector's process."""
    good_lost: int = 0
    unaccounted: int = 0
    """Bent ones that are neither stored nor rejected."""
    without_reason: int = 0
    unreadable: tuple[str, ...] = ()
    """Views and queries."""
    stored: int = 0
    again: int = 0
    conflicts: int = 0
    rejected: int = 0

    def __str__(self) -> str:
        return (
            f"{self.bent} bent among {self.good} good records: {self.ends} ends, {self.good_lost} good ones lost or altered, "
            f"{self.unaccounted} bent ones unaccounted for, {self.without_reason} without a reason, unreadable: "
            f"{', '.join(self.unreadable) or 'nothing'}; of the bent {self.stored} stored, {self.conflicts} kept beside another of their "
            f"key, {self.again} had come before, {self.rejected} rejected"
        )

    @property
    def sound(self) -> bool:
        return not (self.ends or self.good_lost or self.unaccounted or self.without_reason or self.unreadable)


@dataclass
class _Tally:
    """What the store said of the batches."""

    messages: int = 0
    good: int = 0
    records: int = 0
    again: int = 0
    conflicts: int = 0
    rejected: int = 0
    ends: int = 0
    without_reason: int = 0


def offline(database: str, records: int, seed: int) -> Outcome:
    """Straight into intake and store."""
    rng, tally, began = random.Random(seed), _Tally(), time.monotonic()
    with contextlib.closing(Store(database)) as store:
        for batch in _batches(rng, records):
            _settle(store, batch, tally)
            if tally.messages % 50_000 < len(batch):
                print(
                    f"{tally.messages} messages, {tally.messages / (time.monotonic() - began):.0f} a second",
                    file=sys.stderr,
                    flush=True,
                )
    there = _count(database)
    return Outcome(
        bent=tally.messages - tally.good, good=tally.good, ends=tally.ends, good_lost=_good_lost(database, tally.good),
        unaccounted=tally.messages - sum(there.values()) - tally.again + abs(tally.records - there["records"]) + abs(tally.rejected - there["rejected"]),
        without_reason=tally.without_reason, unreadable=tuple(unreadable(database)), stored=tally.records - tally.good, again=tally.again,
        conflicts=tally.conflicts, rejected=tally.rejected,
    )  # fmt: skip


def _batches(rng: random.Random, records: int) -> Iterator[list[Message]]:
    next_good: Counter[str] = Counter()
    for first in range(0, records, _BATCH - _GOOD_OF_IT):
        batch = [
            bent(rng, f"box-bent-{rng.randrange(_BENT_BOXES)}", 1000 + number)
            for number in range(first, min(first + _BATCH - _GOOD_OF_IT, records))
        ]
        for number in range(_GOOD_OF_IT):
            device = f"box-good-{number % _GOOD_BOXES}"
            next_good[device] += 1
            batch.append(good(device, next_good[device]))
        rng.shuffle(batch)
        yield batch


def _settle(store: Store, batch: list[Message], tally: _Tally) -> None:
    tally.messages += len(batch)
    tally.good += sum(not message.bend for message in batch)
    try:
        taken = [read(message.topic, message.payload) for message in batch]
        written = store.commit(taken)
    except Exception as error:  # noqa: BLE001 - what would end a collector is what is counted
        tally.ends += 1
        print(f"ended: {type(error).__name__}: {error}", file=sys.stderr)
        return
    tally.without_reason += sum(isinstance(one, Rejection) and not one.reason for one in taken)
    tally.records += written.records
    tally.again += written.again
    tally.conflicts += written.conflicts
    tally.rejected += written.rejected


def _count(database: str) -> dict[str, int]:
    """Where messages are, each counted as often as it came, but for those that had come before."""
    queries = {
        "records": "SELECT count(*) FROM records",
        "conflicts": "SELECT count(*) FROM conflicts",
        "rejected": "SELECT (SELECT coalesce(sum(times), 0) FROM rejected) + (SELECT coalesce(sum(not_kept), 0) FROM rejections)",
    }
    return {name: int(str(rows(database, query)[0][0])) for name, query in queries.items()}


def _good_lost(database: str, total: int, prefix: str = "box-good") -> int:
    """Good records that are not there, or not as they were."""
    there = 0
    with psycopg.connect(database, options="-c search_path=holonode") as connection, connection.cursor("all") as cursor:
        cursor.execute("SELECT device_id, seq, record FROM records WHERE device_id LIKE %s", (f"{prefix}-%",))
        for device_id, seq, record in cursor:
            right = msgspec.json.decode(good(device_id, seq).payload) | {"id": record["id"]}
            there += record == right
    return total - there


def unreadable(database: str) -> Iterator[str]:
    """Everything a reader has, read to its last row."""
    queries = {view: f"SELECT * FROM {view}" for view in VIEWS}
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "deploy" / "fleet" / "README.md").read_text(), re.DOTALL)
    queries |= {query.split("\n")[0]: query for block in blocks for query in block.split(";") if query.strip()}
    # In the sums, one value out of range would be everybody's.
    queries |= {
        "sums of detections": "SELECT sum(esd_um), stddev(esd_um), avg(z_um), sum(qc), max(at) FROM detections",
        "sums of intervals": "SELECT sum(volume_m3), stddev(volume_ml), sum(particles), max(ended_at) - min(started_at) FROM intervals",
        "sums of counts": "SELECT label, sum(n), stddev(high) FROM counts GROUP BY 1",
        "sums of concentrations": "SELECT sum(value), stddev(high) FROM concentrations",
    }
    for name, query in queries.items():
        try:
            with psycopg.connect(database, options="-c search_path=holonode") as connection, connection.cursor("all") as cursor:
                cursor.execute(query.encode())
                for _ in cursor:
                    pass
        except (psycopg.Error, ValueError, OverflowError) as error:
            yield f"{name} ({error})"
    try:
        _look(database)
    except psycopg.Error as error:
        yield f"status ({error})"


def _look(database: str) -> Fleet:
    with connect(database) as connection:
        return look(connection)


# -- through a real broker ------------------------------------------------------------------------------------------------


def through_broker(database: str, folder: Path, records: int, seed: int, megabytes: tuple[int, ...] = (30,)) -> Outcome:
    """To the collector as a process: it may not end, and must answer to the last of it."""
    rng = random.Random(seed)
    running = Broker(folder, extra=("allow_anonymous true", "max_inflight_messages 1000"))
    running.start()
    collector = CollectorProcess(database, running.url, "bent")
    collector.start()
    try:
        while "as holonode-collector-bent " not in (running.folder / "log").read_text():
            time.sleep(0.1)
        time.sleep(0.5)  # the subscription follows the connection
        before = _count(database)
        sent = list(_published(running.port, rng, records, megabytes))
        goods = sum(not message.bend for message in sent)
        lost = _await_good(database, goods)
        status, output, _ = collector.finish()
    finally:
        collector.kill()
        running.stop()
    totals = msgspec.json.decode(output) if status == 0 else Counter[str]()
    there = {name: count - before[name] for name, count in _count(database).items()}
    expected = sum(_subscribed(message) for message in sent)
    return Outcome(
        bent=len(sent) - goods, good=goods, ends=int(status != 0), good_lost=lost, unaccounted=expected - sum(there.values()) - totals["again"],
        unreadable=tuple(unreadable(database)), stored=totals["records"] - goods, again=totals["again"], conflicts=totals["conflicts"],
        rejected=totals["rejected"],
    )  # fmt: skip


def _subscribed(message: Message) -> bool:
    return re.fullmatch(r"holonode/v1/[^/]*/(detections|intervals|events)", message.topic, re.DOTALL) is not None


def _published(port: int, rng: random.Random, records: int, megabytes: tuple[int, ...]) -> Iterator[Message]:
    """Each acknowledged by the broker before the next ones; those with topics that no broker takes are left out."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    huge = [Message("holonode/v1/wire-bent-0/events", b'{"a":"' + b"x" * (size * 2**20), "huge") for size in megabytes]
    messages = huge + [_without_controls(bent(rng, "wire-bent-1", 1000 + k)) for k in range(records)]
    for k, message in enumerate(messages):
        for one in (message, good("wire-good-0", k + 1)):
            with contextlib.suppress(ValueError, UnicodeEncodeError):
                beside = _beside(rng) if one.bend and rng.random() < 0.1 else None
                client.publish(one.topic, one.payload, 1, rng.random() < 0.05, beside).wait_for_publish(60)
                yield one
    client.disconnect()
    client.loop_stop()


def _beside(rng: random.Random) -> Properties:
    """What MQTT 5 lets a box say beside a message, its parser in the client notwithstanding."""
    made = Properties(PacketTypes.PUBLISH)
    name, value = rng.choice((
        ("ContentType", "\ufeff"), ("UserProperty", ("\ufeff", "")), ("ResponseTopic", "a/\ufeff"), ("UserProperty", ("a", "b" * 60_000)),
        ("UserProperty", [("", "")] * 3000), ("PayloadFormatIndicator", 1),
    ))  # fmt: skip
    setattr(made, name, value)
    return made


def _without_controls(message: Message) -> Message:
    """Without what MQTT itself forbids in topics: control characters, over which a broker hangs up."""
    return replace(message, topic="".join(character for character in message.topic if character >= " ")[:60_000])


def _await_good(database: str, expected: int, timeout_s: float = 120) -> int:
    until = time.monotonic() + timeout_s
    while (lost := _good_lost(database, expected, "wire-good")) and time.monotonic() < until:
        time.sleep(0.5)
    return lost


def main() -> int:
    """Run both and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000, help="bent ones off-line")
    parser.add_argument("--broker", type=int, default=2000, help="bent ones through a broker")
    parser.add_argument("--megabytes", type=int, nargs="*", default=[30, 60], help="of single messages through the broker")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    cluster = Cluster.made()
    sound = True
    try:
        cluster.start()
        address = cluster.new_database()
        with connect(address) as connection:
            migrate(connection)
        with tempfile.TemporaryDirectory() as folder:
            if args.records:
                outcome = offline(address, args.records, args.seed)
                print(f"off-line: {outcome}", flush=True)
                sound = sound and outcome.sound
            if args.broker:
                outcome = through_broker(address, Path(folder) / "broker", args.broker, args.seed, tuple(args.megabytes))
                print(f"through a broker: {outcome}", flush=True)
                sound = sound and outcome.sound
    finally:
        cluster.remove()
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
