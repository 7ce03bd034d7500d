"""Whether the files of the release that runs are those that were laid out: a card rots, and files can be changed.

It goes by the records that lie beside the packages (RECORD, PEP 376). Who may change a file as root may change its record, too.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import sys
from pathlib import Path

from device.health.installed import NOT_NEEDED
from device.messaging.payloads import Check
from device.releases import Layout

__all__ = ["release_files_check"]

_NAME = "release files"
_NAMED = 3


def release_files_check(packages: Path | None = None) -> Check:
    """packages: an environment's site-packages; None: of the release that runs, where this is an installed one."""
    packages = packages or _running()
    if packages is None:
        return Check(name=_NAME, status="ok", message=NOT_NEEDED)
    rows = [row for record in packages.glob("*.dist-info/RECORD") for row in _rows(record, packages)]
    bad = sorted(name for name, digest in rows if digest and _digest(packages / name) != digest)
    if not bad:
        return Check(name=_NAME, status="ok", value=len(rows), message="as they were laid out")
    named = ", ".join(bad[:_NAMED]) + (", ..." if len(bad) > _NAMED else "")
    return Check(
        name=_NAME, status="failed", value=len(bad), message=f"of {len(rows)} are missing or changed: {named}",
        remedy="Change the card or disk, and who may write there; then install.sh --uninstall (settings and data stay) and install again",
    )  # fmt: skip


def _running() -> Path | None:
    prefix = Path(sys.prefix).resolve()
    if Layout().releases not in prefix.parents:
        return None
    return prefix / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def _rows(record: Path, packages: Path) -> list[tuple[str, str]]:
    """Every file of a package, relative to site-packages, with its digest; its record has none, unless it can't be read."""
    try:
        with record.open(encoding="utf-8", newline="") as file:
            return [(row[0], row[1]) for row in csv.reader(file) if len(row) == 3]
    except (OSError, UnicodeDecodeError, csv.Error):
        return [(str(record.relative_to(packages)), "of a readable record")]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return "unreadable"
    return "sha256=" + base64.urlsafe_b64encode(found).rstrip(b"=").decode()
