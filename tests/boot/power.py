"""`make test-power`: the supply of emulated boxes is cut at random moments, again and again; their records go into PostgreSQL.

The whole image with its simulated sampler, and the same image running only `producer`, which starts in a fraction of the time.
A real broker, two real collectors that confirm what they have committed, a real PostgreSQL: in the end every record that a box
committed is there, once. `--sampler-cuts 30 --producer-cuts 100` is the whole campaign, hours.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from deploy.fleet.database import connect
from deploy.fleet.schema import migrate
from deploy.image.disk import ROOT_OFFSET_BYTES
from tests.boot import producer
from tests.boot.boots import read_store, say
from tests.boot.disks import copy_disk, dump
from tests.boot.machine import HOST, Machine, end_in_order
from tests.boot.settings import DEVICE_ID, prepared
from tests.brokers import Broker
from tests.collectors import CollectorProcess
from tests.faults.kill_delivery import drain, judge
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
    command_line: str = ""
    """More words for its kernel."""


def sampler(image: Path, folder: Path, port: int) -> Box:
    """The whole, with simulated parts."""
    return Box(DEVICE_ID, prepared(image, folder / "sampler.img", port=port, confirm="collector"))


def light(image: Path, folder: Path, port: int) -> Box:
    """The same disk; its kernel's command line starts the producer and nothing that it doesn't need."""
    disk = copy_disk(image, folder / "producer.img")
    root = f"{disk}?offset={ROOT_OFFSET_BYTES}"
    subprocess.run(
        ["debugfs", "-w", "-R", f"write {producer.__file__} /root/producer.py", root], check=True, capture_output=True
    )
    masked = " ".join(f"systemd.mask={unit}" for unit in _UNNEEDED)
    run = f'systemd.run="{_PYTHON} /root/producer.py {_STORE} mqtt://{HOST}:{port}"'
    return Box(producer.DEVICE_ID, disk, f"{run} systemd.wants=systemd-networkd.service {masked}")


_UNNEEDED = (
    "holonode.service", "holonode-first-boot.service", "boot-firmware.mount", "systemd-repart.service", "systemd-growfs-root.service",
    "systemd-timesyncd.service", "systemd-resolved.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service",
    "modprobe@drm.service", "modprobe@fuse.service", "modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@loop.service",
    "ldconfig.service", "systemd-networkd-persistent-storage.service",
)  # fmt: skip


def campaign(box: Box, cuts: int, fleet: Fleet, folder: Path, rng: random.Random) -> bool:
    """Cut one box's supply so many times; whether nothing was lost, doubled or altered. Prints what happens."""
    machine = Machine(box.disk, folder / f"machine-{box.device_id}")
    lost_writes = 0
    with contextlib.closing(machine):
        for number in range(1, cuts + 1):
            machine.start(box.command_line)
            where = "starting"
            # Some cuts hit the start, most hit commits and deliveries.
            if number == 1 or rng.random() < 0.8:
                machine.until_said(_AT_WORK, 3000)
                before = fleet.arrived(box.device_id)
                while fleet.arrived(box.device_id) == before:
                    assert machine.is_running
                    time.sleep(0.5)
                where = f"publishing after {machine.on_s:.0f} s"
            time.sleep(rng.uniform(0.0, 30.0))
            on_s = machine.on_s
            _, lost = machine.cut(rng)
            lost_writes += lost
            say(f"{box.device_id}, cut {number} after {on_s:.0f} s ({where}): {lost} writes lost")
    committed, lost, doubled, altered, unconfirmed = _judged(box, fleet, folder)
    say(
        f"{box.device_id}: {cuts} cuts, {lost_writes} writes lost by the disk; {committed} records committed; in PostgreSQL "
        f"{lost} lost, {doubled} doubled, {altered} altered; {unconfirmed} unconfirmed"
    )
    return bool(committed) and not (lost or doubled or altered or unconfirmed)


def _judged(box: Box, fleet: Fleet, folder: Path) -> tuple[int, int, int, int, int]:
    """Committed, lost, doubled, altered, unconfirmed; what still waits on the disk goes out from a copy of the store."""
    store = dump(box.disk, str(Path(_STORE).parent), folder) / "store"
    spool_id = read_store(store.parent).spool_id
    spools = rows(fleet.database, "SELECT DISTINCT spool_id FROM records WHERE device_id = %s", box.device_id)
    assert spools == [(spool_id,)], f"the box numbered in {spools}, its disk says {spool_id}"
    copy = folder / f"drained-{box.device_id}"
    shutil.copytree(store, copy)
    unconfirmed = drain(copy, box.device_id, fleet.broker.url)
    # The copy knows that it is one, and says so under a spool of its own: no record of the box.
    rows(fleet.database, "DELETE FROM records WHERE device_id = %s AND spool_id <> %s RETURNING seq", box.device_id, spool_id)
    return (*judge(store, box.device_id, fleet.database), unconfirmed)


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.power", description=__doc__)
    parser.add_argument("image", type=Path, help="of `make image`")
    parser.add_argument("--sampler-cuts", type=int, default=30, help="of the whole")
    parser.add_argument("--producer-cuts", type=int, default=100, help="of the light producer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder that keeps consoles and disks")
    args = parser.parse_args()
    end_in_order()
    rng = random.Random(args.seed)
    cluster = Cluster.made()
    try:
        cluster.start()
        with tempfile.TemporaryDirectory() as scratch:
            folder = args.work or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(Fleet(folder, cluster)) as fleet:
                port = fleet.broker.port
                sound = True
                for make, cuts in ((light, args.producer_cuts), (sampler, args.sampler_cuts)):
                    if cuts:
                        sound &= campaign(make(args.image, folder, port), cuts, fleet, folder, rng)
    finally:
        cluster.remove()
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
