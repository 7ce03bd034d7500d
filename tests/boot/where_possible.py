"""`make test-boot` for machines of which nobody knows whether they can: `python -m tests.boot.where_possible`.

Root's rights, the tools (fetched where they are missing) and Debian's archive for the image's architecture are looked for first.
Where one is not to be had, one line says which and the exit status is 0; from then on whatever fails has failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.boot.boots import say

_ROOT = Path(__file__).resolve().parents[2]
_ROOM_BYTES = 12 << 30
"""For the packages, the image, the disk of a machine and its copies."""


def lacking() -> str:
    """What there isn't; empty where the image can be built and booted."""
    if os.geteuid() != 0:
        return "root's rights"
    if (free := shutil.disk_usage(_ROOT).free) < _ROOM_BYTES:
        return f"room: {free / 1e9:.0f} GB free, {_ROOM_BYTES / 1e9:.0f} GB are needed"
    if wrong := _wrong("make", "--no-print-directory", "image-tools"):
        return f"tools: {wrong}"
    asked = (
        "mmdebstrap",
        "--quiet",
        "--simulate",
        "--variant=extract",
        "--architectures=arm64",
        "--include=base-files",
        "trixie",
    )
    if wrong := _wrong(*asked, "/dev/null"):
        return f"Debian's archive: {wrong}"
    return ""


def _wrong(*command: str) -> str:
    """The last that a program said, where it failed."""
    try:
        done = subprocess.run(
            command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False, timeout=900,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stdout.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def main() -> int:
    """0 where it passed, or where it can't be tried."""
    argparse.ArgumentParser(prog="python -m tests.boot.where_possible", description=__doc__).parse_args()
    if what := lacking():
        say(f"the image is not booted here, for want of {what}")
        return 0
    began_s = time.monotonic()
    status = subprocess.run(["make", "--no-print-directory", "test-boot"], cwd=_ROOT, check=False).returncode
    say(f"image built and booted: {'passed' if status == 0 else 'FAILED'} after {(time.monotonic() - began_s) / 60:.1f} min")
    return status


if __name__ == "__main__":
    sys.exit(main())
