"""First boots where something is missing or wrong: the box waits or goes without, says so, and doesn't start again and again.

`python -m tests.boot.starts IMAGE [--only CASE]`; each is a first boot of its own in an emulated machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from deploy.image.disk import ROOT_OFFSET_BYTES
from tests.boot.boots import READY, say
from tests.boot.machine import Machine, end_in_order
from tests.boot.settings import SIMULATED, prepared
from tests.brokers import Subscriber, broker, free_port

_RESTART = "holonode.service: Scheduled restart job"
_MOST_RESTARTS = 3
"""In the time that a case is looked at: one that backs off is no storm."""


@dataclass(frozen=True)
class Start:
    """One case."""

    what: str
    """That is wrong."""
    said: str
    """Pattern of what the box says of it, on its console."""
    ready: bool = True
    """Whether the unit gets ready all the same."""
    settings: str = SIMULATED
    """In place of the simulated box's."""
    spoil: Callable[[Path], None] | None = None
    """What is done to its disk beforehand."""
    clock: str = "utc"
    """Of its hardware clock."""
    broker: bool = True
    """Whether there is one."""


def _root(disk: Path) -> str:
    return f"{disk}?offset={ROOT_OFFSET_BYTES}"


def _debugfs(disk: Path, *requests: str) -> str:
    done = subprocess.run(
        ["debugfs", "-w", "-f", "-", _root(disk)], check=True, capture_output=True, text=True, input="\n".join(requests)
    )
    return done.stdout


def fill(disk: Path) -> None:
    """Leave a few blocks on the root, which then can't grow."""
    with disk.open("r+b") as file:
        file.truncate(disk.stat().st_size - (1 << 30))
    said = subprocess.run(["dumpe2fs", "-h", _root(disk)], check=True, capture_output=True, text=True).stdout
    free, reserved = (
        int(line.split()[-1])
        for line in sorted(said.splitlines())
        if line.startswith(("Free blocks:", "Reserved block count:"))
    )
    filler = disk.with_name("filler")
    with filler.open("wb") as file:
        for _ in range((free - reserved) * 4096 // (1 << 20) - 2):
            file.write(os.urandom(1 << 20))
    _debugfs(disk, f"write {filler} /var/filler")
    filler.unlink()


def damage_models(disk: Path) -> None:
    """One byte of every model of the release is another."""
    folder = "/opt/holonode/current/venv/lib"
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["debugfs", "-R", f"rdump {folder} {scratch}", _root(disk)], check=True, capture_output=True)
        requests: list[str] = []
        for model in Path(scratch).rglob("models/artefacts/*.tflite"):
            content = bytearray(model.read_bytes())
            content[len(content) // 2] ^= 1
            model.write_bytes(content)
            inside = f"{folder}/{model.relative_to(Path(scratch, 'lib'))}"
            requests += [f"rm {inside}", f"write {model} {inside}"]
        assert requests, "the release has no model"
        _debugfs(disk, *requests)


_NO_CAMERA = SIMULATED.replace('[camera]\ndriver = "twin"', '[camera]\ndriver = "v4l2"\ndevice = "/dev/video9"')

STARTS = {
    "broker-away": Start("no broker answers", "broker", broker=False),
    "disk-full": Start("the disk is full", r"the start waits for the store.*No space left", ready=False, spoil=fill),
    "clock-1970": Start("the clock says 1970", r"(?i:clock)", clock="1970-01-02"),
    "no-camera": Start("there is no camera", r"(?i:/dev/video9)", settings=_NO_CAMERA, ready=False),
    "damaged-model": Start("models are damaged", r"(?i:sha256|digest|manifest|damaged)", spoil=damage_models),
}


def judged(name: str, image: Path, folder: Path, watch_s: float) -> bool:
    """Whether a case held; prints what was seen."""
    case = STARTS[name]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_listener(folder / "broker")) if case.broker else free_port()
        disk = prepared(image, folder / "disk.img", port=port, settings=case.settings)
        if case.spoil is not None:
            case.spoil(disk)
        machine = stack.enter_context(contextlib.closing(Machine(disk, folder / "machine")))
        machine.start(clock=case.clock)
        machine.until_said("first boot: ")
        ready_s = machine.until_said(READY) if case.ready else float("nan")
        machine.until_said(r"(?m)holonode\[\d+\].*" + case.said)
        until = time.monotonic() + watch_s
        while time.monotonic() < until and machine.is_running:
            time.sleep(1)
        lines = [line for line in machine.said.splitlines() if re.search(r"holonode\[\d+\].*" + case.said, line)]
        restarts = machine.said.count(_RESTART)
        say(f"{name}: READY after {ready_s:.0f} s, {restarts} restarts in {machine.on_s:.0f} s; it said:")
        for line in dict.fromkeys(line.partition("]: ")[2] for line in lines[:5]):
            say(f"    {line}")
        return machine.is_running and restarts <= _MOST_RESTARTS


@contextlib.contextmanager
def _listener(folder: Path) -> Generator[int]:
    with broker(folder) as outside, contextlib.closing(Subscriber(outside.port)):
        yield outside.port


def main() -> int:
    """Run the cases and print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.starts", description=__doc__)
    parser.add_argument("image", type=Path, help="of `make image`")
    parser.add_argument("--only", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--watch-s", type=float, default=300, help="how long each is looked at after it told (default: 300)")
    args = parser.parse_args()
    end_in_order()
    failed: list[str] = []
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            try:
                held = judged(name, args.image, Path(folder), args.watch_s)
            except AssertionError as error:
                say(f"{name}: {error}")
                held = False
        if not held:
            failed.append(name)
    say("failed: " + ", ".join(failed) if failed else f"{len(args.only)} of {len(args.only)} held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
