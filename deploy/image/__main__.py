"""Build the image: `python -m deploy.image BUNDLE --out FILE`; as root, whose files the root's are."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.image.debian import FILES, configure, kernel_release, packages, unpack
from deploy.image.disk import ROOT_LABEL, make_disk
from deploy.image.initramfs import initramfs
from deploy.image.release import lay_out
from deploy.sbom import with_packages
from device.errors import HolonodeError

COMMAND_LINE = f"root=LABEL={ROOT_LABEL} ro console=tty0 console=ttyAMA0"


def main() -> int:
    """Build it and say how long each part took."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    parser.add_argument("bundle", type=Path, help="of `make bundle`, for aarch64 and the suite's Python")
    parser.add_argument("--out", type=Path, required=True, help="the image")
    parser.add_argument("--suite", default="trixie", help="Debian's release (default: %(default)s)")
    parser.add_argument("--room-mb", type=int, default=256, help="left on the root before it grows (default: %(default)s)")
    args = parser.parse_args()
    try:
        build(args.bundle, args.out.absolute(), args.suite, args.room_mb)
    except HolonodeError as error:
        print(f"deploy.image: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def build(bundle: Path, out: Path, suite: str, room_mb: int) -> None:
    """An image of this bundle on Debian's `suite`."""
    if os.geteuid() != 0:
        raise HolonodeError("files of the root belong to root", remedy="Run it as root or under fakeroot.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".image-") as work:
        root, boot = Path(work, "root"), Path(work, "boot")
        root.mkdir()
        _timed(f"Debian {suite}", lambda: unpack(root, suite))
        _timed("configuration", lambda: configure(root))
        _timed("release", lambda: lay_out(root, bundle))
        _timed("boot partition", lambda: _boot(root, boot))
        release = (root / "opt/holonode/current/manual/sbom.cdx.json").read_bytes()
        out.with_suffix(".cdx.json").write_bytes(with_packages(release, packages(root), suite))
        made = Path(work, "image")
        _timed("disk", lambda: make_disk(made, boot, root, room_mb))
        made.replace(out)
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB, {out.stat().st_blocks * 512 / 1e6:.0f} MB of them used")


def _boot(root: Path, boot: Path) -> None:
    """Kernel, initramfs, a loader for UEFI, and what the owner fills in."""
    shutil.copytree(FILES / "boot", boot)
    release = kernel_release(root)
    shutil.copy(root / f"boot/vmlinuz-{release}", boot / "vmlinuz")
    (boot / "initramfs").write_bytes(initramfs(root, release))
    (boot / "EFI/BOOT").mkdir(parents=True)
    shutil.copy(root / "usr/lib/systemd/boot/efi/systemd-bootaa64.efi", boot / "EFI/BOOT/BOOTAA64.EFI")
    (boot / "loader/entries").mkdir(parents=True)
    (boot / "loader/loader.conf").write_text("timeout 0\n")
    (boot / "loader/entries/holonode.conf").write_text(
        f"title Holonode\nlinux /vmlinuz\ninitrd /initramfs\noptions {COMMAND_LINE}\n"
    )


def _timed(what: str, do: Callable[[], None]) -> None:
    began = time.monotonic()
    do()
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
