"""kill -9 of the nodes of a clustered broker: `python -m tests.faults.broker_cluster nats --kills 20`, and with `rabbitmq`.

Three real nodes. A box (the service's outbox and link) publishes through the first, a collector takes records through the second
and goes on through the third; one node after the other, at random, is killed and started again. What the box committed must be in
PostgreSQL, once. `--confirm collector`: the box keeps a record until a collector has it. `--confirm broker`: until the broker has
acknowledged it, so that what the cluster acknowledges and loses shows as lost.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

from deploy.fleet.database import connect
from deploy.fleet.schema import migrate
from tests import clusters, postgres
from tests.collectors import CollectorProcess
from tests.faults.kill_delivery import Outcome, Producer, drain, judge
from tests.postgres import rows

_SETTLE_S = 120
"""In which a cluster must take records again."""

_FLOWING = 100
"""Records after which they flow again."""


def campaign(kind: str, kills: int, confirm: str, folder: Path, database: str, seed: int = 1) -> Outcome:
    """Kill so many nodes, one at a time, and look at what is in PostgreSQL."""
    rng = random.Random(seed)
    cluster = clusters.nats(folder) if kind == "nats" else clusters.rabbitmq(folder)
    box = Producer(folder / "box", cluster.nodes[0].url, confirm)
    urls = ",".join(node.url for node in cluster.nodes[1:])
    collector = CollectorProcess(database, urls, kind, more=("--protocol", "3.1.1"))
    with contextlib.closing(cluster):
        cluster.start()
        collector.start()
        box.start()
        try:
            _await_records(database, 1)
            pauses_s = sorted(_kill_one(cluster, database, rng) for _ in range(kills))
            box.kill()
            waiting = drain(box.store, "producer", box.url, confirm)
            _await_quiet(database)
        finally:
            box.kill()
            collector.kill()
    if pauses_s:
        print(
            f"after a kill, records came again in {pauses_s[len(pauses_s) // 2]:.1f} s (median), {pauses_s[-1]:.1f} s (longest)"
        )
    judged = judge(box.store, "producer", database)
    for line in judged.evidence:
        print(line)
    wrong = (len(judged.lost), len(judged.doubled), len(judged.altered))
    return Outcome({"node": kills}, {"producer": judged.committed}, *wrong, waiting)


def _kill_one(cluster: clusters.Cluster, database: str, rng: random.Random) -> float:
    """Kill a node, start it again a little later; returns the seconds until records of after that come, and lets them for a while."""
    node, killed = rng.choice(cluster.nodes), time.monotonic()
    node.kill()
    time.sleep(rng.uniform(0.0, 5.0))
    node.start()
    node.await_port()
    _await_records(database, _FLOWING)
    pause_s = time.monotonic() - killed
    time.sleep(rng.uniform(0.0, 3.0))
    return pause_s


def _count(database: str) -> int:
    return int(str(rows(database, "SELECT count(*) FROM records")[0][0]))


def _await_records(database: str, more: int) -> None:
    """Until so many more have come."""
    before, until = _count(database), time.monotonic() + _SETTLE_S
    while _count(database) < before + more:
        assert time.monotonic() < until, f"no record came for {_SETTLE_S} s"
        time.sleep(0.1)


def _await_quiet(database: str) -> None:
    """Until nothing has come for a while: what the broker still has is on its way."""
    count = -1
    while count != (count := _count(database)):
        time.sleep(5.0)


def main() -> int:
    """Run one and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("nats", "rabbitmq"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--confirm", choices=("collector", "broker"), default="collector")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if reason := clusters.missing(args.kind) or postgres.missing():
        print(reason, file=sys.stderr)
        return 3
    cluster = postgres.Cluster.made()
    began = time.monotonic()
    try:
        cluster.start()
        database = cluster.new_database()
        with connect(database) as connection:
            migrate(connection)
        with tempfile.TemporaryDirectory() as folder:
            outcome = campaign(args.kind, args.kills, args.confirm, Path(folder) / "cluster", database, args.seed)
    finally:
        cluster.remove()
    print(f"{args.kind}, confirmed by the {args.confirm}: {outcome} ({time.monotonic() - began:.0f} s)")
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
