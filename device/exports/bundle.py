"""The folder that an export fills: every file whole or absent, read back, and listed with its SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from device.errors import CheckError, InputError
from device.exports.snapshot import PREFIX
from device.output import output_folder

__all__ = ["SUMS", "ExportBundle", "ExportedFile"]

SUMS = "SHA256SUMS"
"""Written last; `sha256sum -c SHA256SUMS` checks a copy. Without it an export is not complete."""

_PARTIAL = ".partial"


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    rows: int


@dataclass(frozen=True)
class _Begun:
    path: Path
    rows: int
    count: Callable[[Path], int]


class ExportBundle:
    """Files in the making: `with Bundle(out) as bundle` keeps them all, or none where it ends in an error."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self.folder = folder
        self.left_out: Counter[str] = Counter()
        """Records that the format has no place for, by reason."""
        self.written: list[ExportedFile] = []
        self._begun: dict[str, _Begun] = {}
        output_folder(folder)
        try:
            present = [p for p in folder.iterdir() if not (p.name.endswith(_PARTIAL) or p.name.startswith(PREFIX))]
        except OSError as error:
            raise _unwritable(folder, error) from error
        if present and not force:
            raise InputError(
                "the folder is not empty", where=folder, expected="a new folder", got=present[0].name,
                remedy="Choose another --out, or write into this one with --force.",
            )  # fmt: skip

    def begin(self, name: str) -> Path:
        """Where to write a file; `end` says that it is whole."""
        return self.folder / (name + _PARTIAL)

    def end(self, name: str, rows: int, count: Callable[[Path], int]) -> None:
        """The file is whole and holds so many rows, as `count`, which reads it, must find."""
        self._begun[name] = _Begun(self.begin(name), rows, count)

    def __enter__(self) -> ExportBundle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._finish()
        except OSError as failed:
            raise _unwritable(self.folder, failed) from failed
        finally:
            for left in self.folder.glob(f"*{_PARTIAL}"):
                left.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(self.folder, error) from error

    def _finish(self) -> None:
        """Read back and keep; the list comes last."""
        (self.folder / SUMS).unlink(missing_ok=True)
        for name, begun in self._begun.items():
            digest = _settled(begun.path)
            found = begun.count(begun.path)
            if found != begun.rows:
                raise CheckError(
                    "what was written reads back otherwise", where=name, expected=f"{begun.rows} rows", got=found,
                    remedy="The disk may be failing. Nothing was kept; export to another one.",
                )  # fmt: skip
            self.written.append(ExportedFile(name, begun.path.stat().st_size, digest, found))
        for name, begun in self._begun.items():
            begun.path.replace(self.folder / name)
        sums = self.folder / (SUMS + _PARTIAL)
        sums.write_text("".join(f"{one.sha256}  {one.name}\n" for one in self.written), encoding="ascii")
        _settled(sums)
        sums.replace(self.folder / SUMS)
        _sync_folder(self.folder)


def _settled(path: Path) -> str:
    """The SHA-256 of a file once it is on the disk, read from there as far as the system allows."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        "the export can't be written", where=folder, expected="a folder that can be written to", got=error.strerror or str(error),
        remedy="Nothing was kept. Choose a folder of yours with room, or a shorter period with --since and --until.",
    )  # fmt: skip
