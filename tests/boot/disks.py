"""Disk images of machines: files in and out, and what is on a disk whose supply was cut.

A killed emulator is no power cut: what the guest has written is in the host's cache. So every write and flush is logged
(QEMU's blklogwrites, the format of the kernel's Documentation/admin-guide/device-mapper/log-writes.rst), and the disk after
a cut is made of the log: all that was written before the last flush, and of the rest what chance has it.
"""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.image.disk import BOOT_OFFSET_BYTES, ROOT_OFFSET_BYTES

__all__ = ["Write", "after_cut", "copy_disk", "dump", "installed", "logged", "onto_boot", "onto_root", "promised", "take_boot"]

_MAGIC = 0x6A736677736872
_FLUSH = 1
_SUPERBLOCK, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")


@dataclass(frozen=True)
class Write:
    """One entry of a log."""

    offset_bytes: int
    """On the disk."""
    length_bytes: int
    """Of its data."""
    flush: bool
    """Everything before it is on the disk for good."""
    at: int
    """Where its data begins in the log."""

    @property
    def end(self) -> int:
        """Where the next entry begins in the log."""
        return self.at + self.length_bytes


def copy_disk(source: Path, target: Path) -> Path:
    """A copy that takes no more room than what is used."""
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)
    return target


def promised(log: Path) -> int:
    """How many entries a log had when its superblock was written last, at the last flush or later."""
    return _superblock(log)[0]


def _superblock(log: Path) -> tuple[int, int]:
    """Entries, bytes of a sector."""
    with log.open("rb") as file:
        head = file.read(_SUPERBLOCK.size)
    if not any(head):
        return 0, 512  # written at the first flush
    magic, _, entries, sector_bytes = _SUPERBLOCK.unpack(head)
    assert magic == _MAGIC, "no log of writes"
    return entries, sector_bytes


def logged(log: Path, begin: int = 0) -> Iterator[Write]:
    """What a log holds from an entry's end on (0: from the first); it ends where the emulator was stopped."""
    length = log.stat().st_size
    _, sector_bytes = _superblock(log)
    at = begin or sector_bytes
    with log.open("rb") as file:
        while at + sector_bytes <= length:
            file.seek(at)
            sector, sectors, flags, _ = _ENTRY.unpack(file.read(_ENTRY.size))
            if not (sectors or flags):
                return
            at += sector_bytes
            write = Write(sector * sector_bytes, sectors * sector_bytes, bool(flags & _FLUSH), at)
            if write.end > length:
                return
            yield write
            at = write.end


def after_cut(before: Path, log: Path, rng: random.Random) -> tuple[int, int]:
    """Make `before` what it is after the cut; returns how many writes were not flushed, and how many of these are lost.

    Of those not flushed each is on the disk, or not, or up to one of its sectors.
    """
    writes = list(logged(log))
    assert len(writes) >= promised(log), "the log has a gap: nobody can say what the disk holds"
    sure = max((n for n, write in enumerate(writes) if write.flush), default=-1) + 1
    lost = 0
    with before.open("r+b") as disk, log.open("rb") as data:
        for number, write in enumerate(writes):
            kept = write.length_bytes
            if number >= sure and (chance := rng.random()) < 2 / 3:
                kept = 0 if chance < 1 / 3 else rng.randrange(0, write.length_bytes // 512 + 1) * 512
                lost += kept < write.length_bytes
            data.seek(write.at)
            disk.seek(write.offset_bytes)
            disk.write(data.read(kept))
    return len(writes) - sure, lost


def onto_boot(disk: Path, files: Mapping[str, str | Path]) -> None:
    """Write files onto the boot partition."""
    for name, content in files.items():
        target = ["mcopy", "-o", "-i", f"{disk}@@{BOOT_OFFSET_BYTES}"]
        if isinstance(content, Path):
            subprocess.run([*target, str(content), f"::{name}"], check=True)
        else:
            subprocess.run([*target, "-", f"::{name}"], check=True, input=content.encode())


def onto_root(disk: Path, name: str, content: str) -> None:
    """Write a program onto the root, in place of one that is there."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(content)
        file.flush()
        requests = f"rm {name}\nwrite {file.name} {name}\nset_inode_field {name} mode 0100755\n"
        root = f"{disk}?offset={ROOT_OFFSET_BYTES}"
        subprocess.run(["debugfs", "-w", "-f", "-", root], check=True, capture_output=True, text=True, input=requests)


def installed(disk: Path) -> str:
    """Name of the release that a disk's `current` leads to."""
    request = ["debugfs", "-R", "stat /opt/holonode/current", f"{disk}?offset={ROOT_OFFSET_BYTES}"]
    said = subprocess.run(request, check=True, capture_output=True, text=True).stdout
    found = re.search(r'Fast link dest: "releases/(.+)"', said)
    assert found, said
    return found[1]


def take_boot(disk: Path, name: str) -> bytes:
    """A file of the boot partition."""
    return subprocess.run(["mtype", "-i", f"{disk}@@{BOOT_OFFSET_BYTES}", f"::{name}"], check=True, capture_output=True).stdout


def dump(disk: Path, path: str, folder: Path) -> Path:
    """A folder of the root as it is when its journal has been replayed, in `folder`; the disk itself stays as it is."""
    copy = copy_disk(disk, folder / "looked-at")
    root = f"{copy}?offset={ROOT_OFFSET_BYTES}"
    subprocess.run(["e2fsck", "-fy", root], check=False, capture_output=True)
    into = folder / "dump"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump {path} {into}", root], check=True, capture_output=True)
    copy.unlink()
    return into / Path(path).name
