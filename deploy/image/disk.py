"""One file with a partition table, the boot partition (FAT) and the root (ext4); no loop device, nothing mounted."""

from __future__ import annotations

import subprocess
from pathlib import Path

from device.errors import HolonodeError

__all__ = ["BOOT_LABEL", "BOOT_OFFSET_BYTES", "ROOT_LABEL", "ROOT_OFFSET_BYTES", "make_disk", "run"]

BOOT_LABEL, ROOT_LABEL = "HOLOBOOT", "holonode"

_MIB = 1 << 20
_SECTOR_BYTES = 512
BOOT_OFFSET_BYTES = 1 * _MIB
_BOOT_BYTES = 127 * _MIB
ROOT_OFFSET_BYTES = BOOT_OFFSET_BYTES + _BOOT_BYTES
_TABLE_BYTES = 1 * _MIB
"""Of the copy of the partition table at the end."""


def make_disk(image: Path, boot: Path, root: Path, room_mb: int) -> None:
    """Lay two folders down as `image`, with so much room left on the root; the first boot grows it to the whole card."""
    used_mb = int(run("du", "--summarize", "--block-size=1M", str(root)).split()[0])
    # ext4 keeps some 2 % for inodes and journal, and 5 % for root.
    root_bytes = int((used_mb + room_mb) * 1.08 + 64) * _MIB
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(ROOT_OFFSET_BYTES + root_bytes + _TABLE_BYTES)
    table = (
        "label: gpt\n"
        f"start={BOOT_OFFSET_BYTES // _SECTOR_BYTES}, size={_BOOT_BYTES // _SECTOR_BYTES}, type={_ESP}, name=boot\n"
        f"start={ROOT_OFFSET_BYTES // _SECTOR_BYTES}, size={root_bytes // _SECTOR_BYTES}, type={_ROOT_ARM64}, name=root\n"
    )
    run("sfdisk", "--quiet", str(image), said=table)
    run(
        "mkfs.vfat", "-F", "32", "-s", "1", "-n", BOOT_LABEL, "--offset", str(BOOT_OFFSET_BYTES // _SECTOR_BYTES), str(image),
        str(_BOOT_BYTES // 1024),
    )  # fmt: skip
    for entry in sorted(boot.iterdir()):
        run("mcopy", "-s", "-i", f"{image}@@{BOOT_OFFSET_BYTES}", str(entry), "::")
    run(
        "mkfs.ext4", "-q", "-F", "-L", ROOT_LABEL, "-E", f"offset={ROOT_OFFSET_BYTES}", "-d", str(root), str(image),
        f"{root_bytes // 1024}k",
    )  # fmt: skip


# Discoverable Partitions Specification, by which systemd-repart knows them
_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_ROOT_ARM64 = "b921b045-1df0-41c3-af44-4c6f280d3fae"


def run(*command: str, said: str = "") -> str:
    """What a program prints; HolonodeError with its own words where it fails."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=said)
    except FileNotFoundError as error:
        raise HolonodeError(f"{command[0]} is not installed", remedy="deploy/install-image-tools.sh installs it.") from error
    if done.returncode != 0:
        raise HolonodeError(f"{command[0]} failed", got=(done.stderr or done.stdout).strip()[-2000:])
    return done.stdout
