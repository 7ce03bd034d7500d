"""`make test-power`: the supply of emulated boxes is cut at random moments, again and again; their records go into PostgreSQL.

The whole image with its simulated sampler, and the same image running only `producer`, which starts in a fraction of the time.
A real broker, two real collectors that confirm what they have committed, a real PostgreSQL: after each cut every record that
the box's disk says was committed is there, once, or waits on the disk. A cut comes when the disk holds writes that no flush made
sure of, and loses of them what chance has it. `--sampler-cuts 30 --producer-cuts 100` is the whole campaign, hours; each cut is a
line of `--results`, and sittings add up.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deploy.fleet.database import connect
from deploy.fleet.schema import migrate
from tests.boot import producer
from tests.boot.boots import read_store, say
from tests.boot.disks import copy_disk, dump, installed, onto_root
from tests.boot.machine import HOST, Machine, end_in_order
from tests.boot.settings import DEVICE_ID, prepared
from tests.brokers import Broker
from tests.collectors import CollectorProcess
from tests.faults.kill_delivery import Judged, judge
from tests.postgres import Cluster, rows

_AT_WORK = "resuming after record"
_STORE = "/var/lib/holonode/store"
_PYTHON = "/opt/holonode/current/venv/bin/python"


@dataclass
class Fleet:
    """Everything that stays up."""

    folder: Path
    cluster: Cluster
    database: str = ""
    broker: Broker = field(init=False)
    collectors: list[CollectorProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = self.cluster.new_database()
        with connect(self.database) as connection:
            migrate(connection)
        self.broker = Broker(self.folder / "broker")
        self.broker.start()
        self.collectors = [CollectorProcess(self.database, self.broker.url, name) for name in ("one", "two")]
        for collector in self.collectors:
            collector.start()

    def arrived(self, device_id: str) -> int:
        """Records of a box in the database."""
        return int(str(rows(self.database, "SELECT count(*) FROM records WHERE device_id = %s", device_id)[0][0]))

    def close(self) -> None:
        """Stop all."""
        for collector in self.collectors:
            collector.kill()
        self.broker.stop()


@dataclass(frozen=True)
class Box:
    """One kind of box."""

    device_id: str
    """As its records say."""
    disk: Path
    """As it is while the box is off."""
    most_wait_s: float
    """From publishing, or from power on, to a cut."""


def sampler(image: Path, folder: Path, port: int) -> Box:
    """The whole, with simulated parts."""
    return Box(DEVICE_ID, prepared(image, folder / "sampler.img", port=port, confirm="collector"), most_wait_s=40.0)


_FIRST_PROGRAM = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -o remount,rw /
modprobe virtio_net
modprobe virtio_rng
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
{python} /root/producer.py {store} {url}
echo the producer has ended
sleep 1000000
"""
"""In systemd's place: the disk, the network, the producer."""


def light(image: Path, folder: Path, port: int) -> Box:
    """The same disk, on which the first program starts the producer and nothing else."""
    disk = copy_disk(image, folder / "producer.img")
    onto_root(disk, "/root/producer.py", Path(producer.__file__).read_text())
    onto_root(disk, "/usr/sbin/init", _FIRST_PROGRAM.format(python=_PYTHON, store=_STORE, url=f"mqtt://{HOST}:{port}"))
    return Box(producer.DEVICE_ID, disk, most_wait_s=15.0)


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One cut, and what was found after it; a line of the results."""

    release: str
    """That ran."""
    sitting: int
    """Its seed: each begins with a new box and an empty database."""
    box: str
    publishing_after_s: float | None
    """From power on; None: cut before."""
    unflushed: int
    """Writes that the disk held and nothing had made sure of."""
    lost_writes: int
    """Of these, by the disk."""
    committed: int
    """Records since the sitting began."""
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    altered: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether every committed record is in the database or waits, once and as it was committed."""
        return bool(self.committed) and not (self.lost or self.doubled or self.altered)


def campaign(box: Box, cuts: int, fleet: Fleet, folder: Path, sitting: int) -> Iterator[Cut]:
    """Cut one box's supply so many times, and judge each time; the disk of a cut that went wrong is kept and ends it."""
    rng, release = random.Random(f"{sitting} {box.device_id}"), installed(box.disk)
    machine = Machine(box.disk, folder / f"machine-{box.device_id}")
    with contextlib.closing(machine):
        for number in range(1, cuts + 1):
            machine.start()
            publishing_after_s = None
            # Some cuts hit the start, most hit commits and deliveries.
            if number == 1 or rng.random() < 0.8:
                publishing_after_s = _publishing(machine, box, fleet)
            time.sleep(rng.uniform(0.0, box.most_wait_s))
            unflushed, lost_writes = machine.cut(rng)
            judged = _judged(box, fleet, folder)
            cut = Cut(
                release=release, sitting=sitting, box=box.device_id, publishing_after_s=publishing_after_s, unflushed=unflushed,
                lost_writes=lost_writes, committed=judged.committed, lost=judged.lost, doubled=judged.doubled, altered=judged.altered,
            )  # fmt: skip
            yield cut
            if not cut.sound:
                return


def _publishing(machine: Machine, box: Box, fleet: Fleet) -> float:
    """Wait until a record of this start is in the database; returns seconds from power on."""
    machine.until_said(_AT_WORK, 3000)
    before = fleet.arrived(box.device_id)
    while fleet.arrived(box.device_id) == before:
        assert machine.is_running
        time.sleep(0.5)
    return machine.on_s


def _judged(box: Box, fleet: Fleet, folder: Path) -> Judged:
    """By the disk as it is after the cut; what waits there is not lost yet, and is looked for again after the next cut."""
    store = dump(box.disk, str(Path(_STORE).parent), folder) / "store"
    spool_id = read_store(store.parent).spool_id
    spools = rows(fleet.database, "SELECT DISTINCT spool_id FROM records WHERE device_id = %s", box.device_id)
    assert spools == [(spool_id,)], f"the box numbered in {spools}, its disk says {spool_id}"
    return judge(store, box.device_id, fleet.database)


def told(cut: Cut) -> str:
    """For a person."""
    when = "starting" if cut.publishing_after_s is None else f"publishing after {cut.publishing_after_s:.0f} s"
    wrong = "".join(f"\n  {line}" for line in (*cut.lost, *cut.doubled, *cut.altered))
    return f"{cut.box} ({when}): {cut.unflushed} writes unflushed, {cut.lost_writes} lost; {cut.committed} committed{wrong}"


def summary(cuts: Sequence[Cut]) -> str:
    """Of one kind of box, over all sittings."""
    committed: dict[int, int] = {}
    for cut in cuts:
        committed[cut.sitting] = cut.committed
    starts = sorted(cut.publishing_after_s for cut in cuts if cut.publishing_after_s is not None)
    lost, doubled, altered = (sum(len(getattr(cut, what)) for cut in cuts) for what in ("lost", "doubled", "altered"))
    writes, hit = sum(cut.lost_writes for cut in cuts), sum(cut.lost_writes > 0 for cut in cuts)
    return (
        f"{cuts[0].box}: {len(cuts)} cuts in {len(committed)} sittings, {writes} writes lost by the disk in {hit} of them; "
        f"{sum(committed.values())} records committed; in PostgreSQL {lost} lost, {doubled} doubled, {altered} altered; "
        f"publishing after {starts[len(starts) // 2]:.0f} s (median), {starts[-1]:.0f} s (longest)"
    )


def _added_up(results: Path, release: str) -> bool:
    """Print what all sittings with this release found; whether all of it was sound."""
    cuts = [
        cut for line in results.read_bytes().splitlines() if (cut := msgspec.json.decode(line, type=Cut)).release == release
    ]
    for box in dict.fromkeys(cut.box for cut in cuts):
        say(summary([cut for cut in cuts if cut.box == box]))
    return all(cut.sound for cut in cuts)


def main() -> int:
    """Run a sitting of the campaign, and print what all of them found."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.power", description=__doc__)
    parser.add_argument("image", type=Path, help="of `make image`")
    parser.add_argument("--sampler-cuts", type=int, default=30, help="of the whole")
    parser.add_argument("--producer-cuts", type=int, default=100, help="of the light producer")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--results", type=Path, default=Path("build/power.jsonl"), help="a line a cut; sittings add up")
    parser.add_argument("--work", type=Path, help="folder that keeps consoles and disks")
    args = parser.parse_args()
    end_in_order()
    cluster = Cluster.made()
    try:
        cluster.start()
        with tempfile.TemporaryDirectory() as scratch:
            folder = args.work or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(Fleet(folder, cluster)) as fleet, args.results.open("ab") as results:
                port = fleet.broker.port
                for make, cuts in ((light, args.producer_cuts), (sampler, args.sampler_cuts)):
                    if not cuts:
                        continue
                    for cut in campaign(make(args.image, folder, port), cuts, fleet, folder, args.seed):
                        results.write(msgspec.json.encode(cut) + b"\n")
                        results.flush()
                        say(told(cut))
    finally:
        cluster.remove()
    return 0 if _added_up(args.results, installed(args.image)) else 1


if __name__ == "__main__":
    sys.exit(main())
