"""Whether a store is the one it was when it was last open, or a copy of it.

The witness is a small file beside the database, written anew at every opening and closing with a random epoch that the
database holds too. Its time of change is the kernel's and can't be set: whatever copies files gives the copy another one.
Beside it stand what the hardware says of itself, for images of a whole card. decisions/2026-11-27-copies-and-rot.md tells
what each of them sees and what none of them does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

__all__ = [
    "EPOCH", "FILE", "HARDWARE", "NEXT_EPOCH", "OF_THIS_FILE", "OPEN", "WITNESS", "Witness", "copied", "hardware", "read_witness", "write_witness",
]  # fmt: skip

FILE = "epoch"
EPOCH, NEXT_EPOCH, WITNESS, HARDWARE = "epoch", "next_epoch", "epoch_changed_ns", "hardware"
OPEN = "open"
"""Whether a process has the store; one that was killed leaves it, and its log."""
OF_THIS_FILE = frozenset((EPOCH, NEXT_EPOCH, WITNESS, HARDWARE, OPEN))
"""Keys of state that tell of a database file, not of what is in it."""

_LONGEST_BYTES = 2**16

_BOARD = (Path("/proc/device-tree/serial-number"), Path("/sys/class/dmi/id/product_uuid"))
"""A Raspberry Pi or Jetson; a PC, where this user may read it."""
_MACHINE_ID = Path("/etc/machine-id")
_CONTAINER_SIGNS = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/run/systemd/container"))
_OF_A_MEDIUM = ("device/cid", "device/wwid", "wwid", "device/serial")
"""Of a block device in sysfs: an SD card's own number, a disk's."""


@dataclass(frozen=True)
class Witness:
    """The file beside the database."""

    epoch: str
    changed_ns: int
    spools: str = ""
    """The store's spools, where its database can't tell them any more."""


def read_witness(folder: Path) -> Witness | None:
    """None where there is none that can be read."""
    try:
        with (folder / FILE).open("rb") as file:
            content = file.read(_LONGEST_BYTES)
            epoch, _, spools = content.decode("ascii", "replace").partition("\n")
            return Witness(epoch.strip(), os.fstat(file.fileno()).st_ctime_ns, spools.strip())
    except OSError:
        return None


def write_witness(folder: Path, epoch: str, spools: str) -> Witness | None:
    """Put another in its place, the old one or this one whatever happens; None where the folder takes none."""
    partial = folder / f"{FILE}.partial"
    try:
        with partial.open("wb") as file:
            file.write(f"{epoch}\n{spools}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / FILE)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        return None
    return read_witness(folder)


def hardware(folder: Path) -> dict[str, str]:
    """What this machine and the medium under the folder say of themselves; what doesn't is left out."""
    found = {"board": next(filter(None, map(_text, _BOARD)), ""), "medium": _medium(folder)}
    # A container gets another machine id whenever it is made anew, over the same store.
    if "container" not in os.environ and not any(sign.exists() for sign in _CONTAINER_SIGNS):
        found["machine"] = _text(_MACHINE_ID)
    return {name: value for name, value in found.items() if value}


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("ascii", "replace").strip("\0\n ")
    except OSError:
        return ""


def _medium(folder: Path) -> str:
    try:
        device = folder.stat().st_dev
        block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve(strict=True)
    except OSError:
        return ""
    # A partition stands inside its disk.
    for place in (block, block.parent):
        for name in _OF_A_MEDIUM:
            if said := _text(place / name):
                return said
    return ""


def copied(state: Callable[[str], str | None], folder: Path, here: dict[str, str]) -> str | None:
    """What tells that this store is a copy, or was put back from one; None where nothing does."""
    epoch = state(EPOCH)
    if epoch is None:
        return None
    witness, changed_ns = read_witness(folder), state(WITNESS)
    if witness is None:
        if changed_ns:
            return f"the file {FILE} beside its database is missing"
    elif witness.epoch != state(NEXT_EPOCH):  # a crash between the file and the database leaves this one
        if witness.epoch != epoch:
            return f"its database and the file {FILE} beside it are of different moments"
        if changed_ns and str(witness.changed_ns) != changed_ns:
            return "its files were written by something other than Holonode"
    before = _pairs(state(HARDWARE))
    other = [name for name in before if name in here and here[name] != before[name]]
    return f"it was last open on another {' and '.join(other)}" if other else None


def _pairs(text: str | None) -> dict[str, str]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, str])
    except msgspec.MsgspecError:
        return {}
