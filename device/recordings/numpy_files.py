"""NPY and NPZ: headers first, frames one at a time; no Python objects."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from device.recordings.sources import ArraySource, Listing, StreamSource, Unreadable

__all__ = ["npy_listing", "npz_listing"]

_LONGEST_HEADER = 65_536


def npy_listing(path: Path) -> Listing:
    """The array of an NPY file; ValueError where it is not whole."""
    with path.open("rb") as file:
        found = _declared(file, path.stem)
        start, end = file.tell(), file.seek(0, io.SEEK_END)
    if isinstance(found, Unreadable):
        return Listing((), (found,))
    shape, dtype, order = found
    declared = math.prod(shape) * dtype.itemsize
    if declared > end - start:
        raise EOFError(f"{end - start} of {declared} bytes of data")
    return Listing((_source(path.stem, shape, dtype, order, end - start, lambda: path.open("rb")),))


def npz_listing(path: Path) -> Listing:
    """The arrays of an NPZ file; ValueError where members overlap."""
    sources: list[ArraySource] = []
    others: list[Unreadable] = []
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_apart(members, path.stat().st_size)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if member.is_dir() or name == member.filename:
                others.append(Unreadable(member.filename, "not an array"))
                continue
            with archive.open(member) as stream:
                try:
                    found = _declared(stream, name)
                except (ValueError, EOFError, zipfile.BadZipFile) as error:
                    # Damage beside the image is not the image's.
                    found = Unreadable(name, str(error))
            if isinstance(found, Unreadable):
                others.append(found)
            else:
                shape, dtype, order = found
                sources.append(_source(name, shape, dtype, order, member.compress_size, _member(path, member.filename)))
    return Listing(tuple(sources), tuple(others))


def _check_apart(members: list[zipfile.ZipInfo], file_bytes: int) -> None:
    """Members that share their bytes unpack to far more than the file holds."""
    end = 0
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset < end:
            raise ValueError(f"members of the archive overlap at {member.filename}")
        end = member.header_offset + member.compress_size
    if end > file_bytes:
        raise ValueError(f"members of the archive end at byte {end}, the file at {file_bytes}")


def _member(path: Path, name: str) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    @contextmanager
    def opened() -> Generator[IO[bytes]]:
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            yield stream

    return opened


def _declared(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any], Literal["C", "F"]] | Unreadable:
    """Shape, kind and order of an array, its stream left at the first byte of its data."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream, max_header_size=_LONGEST_HEADER)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream, max_header_size=_LONGEST_HEADER)
    else:
        return Unreadable(name, "named columns")
    shape, column_major, dtype = header
    if dtype.hasobject:
        return Unreadable(name, "Python objects, which are not read")
    if dtype.kind not in "iufc" or dtype.names:
        return Unreadable(name, f"{dtype}, no numbers")
    if any(n < 0 for n in shape):
        raise ValueError(f"a shape of {shape}")
    return tuple(int(n) for n in shape), dtype, "F" if column_major else "C"


def _source(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], order: Literal["C", "F"], stored_bytes: int, opener: Callable[[], AbstractContextManager[IO[bytes]]],
) -> StreamSource:  # fmt: skip
    @contextmanager
    def opened() -> Generator[IO[bytes]]:
        with opener() as stream:
            _declared(stream, name)
            yield stream

    return StreamSource(name, shape, dtype, stored_bytes, order, opened)
