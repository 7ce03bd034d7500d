"""A small initramfs: load what the disk needs, mount the root, hand over."""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.image.disk import ROOT_LABEL
from device.errors import InputError

__all__ = ["MODULES", "archive", "initramfs", "needed"]

MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod", "ext4")
"""What a disk of a virtual machine needs; those built into the kernel are no files."""

_INIT = f"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
root=""
while :; do
    root=$(findfs LABEL={ROOT_LABEL} 2>/dev/null) && break
    sleep 0.1
done
mount -o ro "$root" /root
mount -o move /dev /root/dev
umount /sys /proc
exec switch_root /root /sbin/init
"""


def initramfs(root: Path, release: str, modules: Sequence[str] = MODULES) -> bytes:
    """Of a root with a static busybox, for the kernel of this release; gzipped cpio."""
    busybox = root / "usr/bin/busybox"
    if not busybox.is_file():
        raise InputError("the initramfs needs a static busybox", where=busybox, remedy="Install busybox-static in the root.")
    files: list[tuple[str, int, bytes]] = [(name, stat.S_IFDIR | 0o755, b"") for name in _FOLDERS]
    files += [("init", stat.S_IFREG | 0o755, _INIT.encode()), ("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())]
    folder = root / "usr/lib/modules" / release
    for number, path in enumerate(needed(folder, modules)):
        body = path.read_bytes()
        name = f"modules/{number:02}-{path.name.removesuffix('.xz')}"
        files.append((name, stat.S_IFREG | 0o644, lzma.decompress(body) if path.suffix == ".xz" else body))
    return gzip.compress(archive(files), mtime=0)


_FOLDERS = ("bin", "dev", "modules", "proc", "root", "sys")


def needed(folder: Path, modules: Iterable[str]) -> list[Path]:
    """Files of these modules and of what they depend on, each after what it depends on; of depmod's modules.dep."""
    depends: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        depends[path] = others.split()
    by_name = {_name(path): path for path in depends}
    built_in = {_name(path) for path in (folder / "modules.builtin").read_text().splitlines()}
    ordered: dict[str, None] = {}

    def add(path: str) -> None:
        for other in depends[path]:
            add(other)
        ordered.setdefault(path)

    for module in modules:
        if module in by_name:
            add(by_name[module])
        elif module not in built_in:
            raise InputError(f"the kernel has no module {module}", where=folder)
    return [folder / path for path in ordered]


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def archive(files: Iterable[tuple[str, int, bytes]]) -> bytes:
    """Of (name, mode, content): cpio in the 'newc' form of the kernel's Documentation/driver-api/early-userspace/buffer-format."""
    out = bytearray()
    for inode, (name, mode, body) in enumerate([*files, ("TRAILER!!!", 0, b"")], start=1):
        fields = (inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + body
        out += bytes(-len(out) % 4)
    return bytes(out)
