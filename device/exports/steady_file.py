"""A file for a library that can't bear a full disk: HDF5 ends the whole process where a write fails as it closes."""

from __future__ import annotations

import io
from pathlib import Path

__all__ = ["SteadyFile"]


class SteadyFile(io.RawIOBase):
    """Open for writing and reading; the first error is kept, later writes go nowhere, and `check` raises it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None

    def check(self) -> None:
        """The error that was kept."""
        if self._error is not None:
            raise self._error

    def write(self, data: object) -> int:
        """All of it, or so it says."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        written = 0
        while self._error is None and written < len(view):
            try:
                written += self._file.write(view[written:])
            except OSError as error:
                self._error = error
        if self._error is not None:
            self._file.seek(len(view) - written, io.SEEK_CUR)
        return len(view)

    def readinto(self, buffer: object) -> int:
        """What is there; zeros beyond."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        found = self._file.readinto(view) or 0
        view[found:] = bytes(len(view) - found)
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """As of a file."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def close(self) -> None:
        """Release the file."""
        self._file.close()
        super().close()
