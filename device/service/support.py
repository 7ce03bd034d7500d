"""A support bundle: what somebody far away needs to see what is wrong, without a secret in it."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import platform
import zipfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec

from device import __version__
from device.identifiers import random_ulid

__all__ = ["FOLDER", "LogTail", "bundle_path", "write_bundle"]

FOLDER = "support"
"""In the store's folder."""
_MOST_BUNDLES = 3
"""Kept; the oldest make room."""
_MOST_LINES = 500
_LONGEST_LINE = 2000


class LogTail(logging.Handler):
    """The last lines that were logged or said."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self._lines.append(self.format(record)[:_LONGEST_LINE])

    def add(self, line: str) -> None:
        """One that was said."""
        self._lines.append(line[:_LONGEST_LINE])

    def text(self) -> str:
        """All of them."""
        return "".join(f"{line}\n" for line in list(self._lines))


def bundle_path(folder: Path, bundle_id: str) -> Path:
    """Where the bundle of an id lies in the store."""
    return folder / FOLDER / f"{bundle_id}.zip"


def write_bundle(folder: Path, parts: Mapping[str, object], log_tail: str, records: list[bytes]) -> Path:
    """Write `support-<ULID>.zip` into the store: a JSON file for each of `parts`, records.jsonl, log.txt, versions.json."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in {**parts, "versions": _versions()}.items():
            bundle.writestr(f"{name}.json", msgspec.json.format(msgspec.json.encode(content)))
        bundle.writestr("records.jsonl", b"".join(record + b"\n" for record in records))
        bundle.writestr("log.txt", log_tail)
    path = bundle_path(folder, f"support-{random_ulid()}")
    path.parent.mkdir(exist_ok=True)
    older = sorted(path.parent.glob("support-*.zip"))
    for old in older[: max(len(older) - _MOST_BUNDLES + 1, 0)]:
        old.unlink(missing_ok=True)
    partial = path.parent / ".partial"
    partial.write_bytes(packed.getvalue())
    partial.replace(path)
    return path


def _versions() -> dict[str, object]:
    packages = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {
        "holonode": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }
