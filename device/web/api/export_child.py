"""The process that makes one export: told on stdin what, says on stdout `null` or the error."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from device.config import Config
from device.errors import HolonodeError
from device.exports.source import Period

__all__ = ["Wanted", "main"]


class Wanted(Struct, frozen=True, kw_only=True):
    """One export."""

    config: Config
    format: str
    since: str | None
    until: str | None
    work: str
    """A folder of its own, for the files and for the copy of the store."""
    file: str
    """The ZIP to make."""
    name: str
    """Of the folder inside it."""


def main() -> int:
    """0, whatever came of it."""
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)
    said: dict[str, Any] | None = None
    try:
        _made(wanted)
    except HolonodeError as error:
        told = {
            "message": error.what,
            "where": error.where,
            "expected": error.expected,
            "got": error.got,
            "remedy": error.remedy,
        }
        said = {key: None if value is None else str(value)[:1000] for key, value in told.items()}
    sys.stdout.buffer.write(msgspec.json.encode(said))
    return 0


def _made(wanted: Wanted) -> None:
    from device.exports.whole import export  # noqa: PLC0415  the service, which reads `Wanted` here, never exports

    work, target = Path(wanted.work), Path(wanted.file)
    export(wanted.config, wanted.format, Period(wanted.since, wanted.until), work)
    partial = target.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as packed:
        for path in sorted(work.iterdir()):
            packed.write(path, f"{wanted.name}/{path.name}")
            path.unlink()  # of files and their copies, one at a time is on the disk twice
    partial.replace(target)


if __name__ == "__main__":
    sys.exit(main())
