"""MAT v5 and v4. Of v5 the declarations are read first and nothing but arrays of numbers is unpacked, one frame at a time.

Layout: "MAT-File Format", The MathWorks: a header of 128 bytes, then elements, each a tag (type and length) and its data; a
compressed element is a zlib stream that holds a matrix element. A matrix holds its flags, dimensions, name and numbers, which
may be stored as a smaller type than they are.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from device.recordings.sources import ArraySource, Listing, Readable, StreamSource, Unreadable

__all__ = ["is_hdf5", "mat_listing"]

_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHERS = {
    1: "a cell array",
    2: "a structure",
    3: "an object",
    4: "text",
    5: "a sparse matrix",
    16: "a function",
    17: "an object",
}
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_LONGEST_NAME = 4096
_MOST_AXES = 32


def is_hdf5(path: Path) -> bool:
    """Whether a MAT file is of version 7.3: HDF5 behind a header that says version 2."""
    with path.open("rb") as file:
        return file.read(128)[124:126] in (b"\x00\x02", b"\x02\x00")


def mat_listing(path: Path) -> Listing:
    """The arrays of a MAT file of version 4 or 5; EOFError, ValueError, zlib.error where it is damaged."""
    with path.open("rb") as file:
        header = file.read(128)
        if 0 in header[:4]:
            return _version_4(path)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if order is None:
            raise ValueError("no header of a MAT file")
        end = path.stat().st_size
        sources: list[ArraySource] = []
        others: list[Unreadable] = []
        at = 128
        while at + 8 <= end:
            file.seek(at)
            kind, length = struct.unpack(order + "II", file.read(8))
            if at + 8 + length > end:
                raise EOFError(f"an element ends at byte {at + 8 + length}, the file at {end}")
            if kind in (_MATRIX, _COMPRESSED):
                found = _listed(path, at, length, order)
                if isinstance(found, Unreadable):
                    others.append(found)
                elif found is not None:
                    sources.append(found)
            at += 8 + length
    return Listing(tuple(sources), tuple(others))


@dataclass
class _Unpacked:
    """A zlib stream, unpacked no further than it is read."""

    file: IO[bytes]
    left: int
    """Packed bytes not yet taken."""

    def __post_init__(self) -> None:
        self._stream = zlib.decompressobj()

    def read(self, count: int, /) -> bytes:
        """Up to so many bytes; fewer at the end alone."""
        out = bytearray()
        while len(out) < count and not self._stream.eof:
            packed = self._stream.unconsumed_tail
            if not packed:
                packed = self.file.read(min(self.left, 65_536))
                self.left -= len(packed)
                if not packed:
                    break
            out += self._stream.decompress(packed, count - len(out))
        return bytes(out)


@dataclass
class _Limited:
    """The numbers of a matrix and no more."""

    stream: Readable
    left: int

    def read(self, count: int, /) -> bytes:
        """Up to so many bytes. At the end the rest of the element is read, so that its sum is checked."""
        data = self.stream.read(min(count, self.left))
        self.left -= len(data)
        if not self.left:
            self.stream.read(16)
        return data


@dataclass(frozen=True)
class _Matrix:
    """What a matrix element says before its numbers."""

    name: str
    shape: tuple[int, ...]
    number: str
    stored: str
    length: int


@contextmanager
def _element(path: Path, at: int) -> Generator[Readable]:
    """The inside of a matrix element, unpacked where it is packed."""
    with path.open("rb") as file:
        file.seek(at)
        first = file.read(8)
        packed = _COMPRESSED in (first[0], first[3])
        length = int.from_bytes(first[4:8], "little" if first[0] else "big")
        stream: Readable = _Unpacked(file, length) if packed else file
        if packed:
            stream.read(8)
        yield stream


def _listed(path: Path, at: int, length: int, order: str) -> StreamSource | Unreadable | None:
    with _element(path, at) as stream:
        found = _declared(stream, order)
    if not isinstance(found, _Matrix):
        return found
    opened = _opener(path, at, order, found.length)
    return StreamSource(found.name, found.shape, np.dtype(found.number), length, "F", opened, np.dtype(order + found.stored))


def _opener(path: Path, at: int, order: str, length: int) -> Callable[[], Any]:
    @contextmanager
    def opened() -> Generator[Readable]:
        with _element(path, at) as stream:
            _declared(stream, order)
            yield _Limited(stream, length)

    return opened


def _declared(stream: Readable, order: str) -> _Matrix | Unreadable | None:
    """Name, shape and kinds of a matrix, its stream left at its first number; None for MATLAB's own nameless parts."""
    _, _, flags_data = _small(stream, order, 16)
    flags = struct.unpack(order + "I", flags_data[:4])[0]
    kind = flags & 0xFF
    if kind not in _NUMBERS and kind not in (1, 2, 3, 4, 5):
        return Unreadable("", _OTHERS.get(kind, "of an unknown kind"))
    _, count, dims = _small(stream, order, 4 * _MOST_AXES)
    shape = struct.unpack(f"{order}{count // 4}i", dims[:count])
    _, count, name_data = _small(stream, order, _LONGEST_NAME)
    name = name_data[:count].decode("latin1")
    if any(n < 0 for n in shape):
        raise ValueError(f"{name} has a shape of {shape}")
    if kind not in _NUMBERS:
        return Unreadable(name, _OTHERS[kind]) if name else None
    if flags & (_COMPLEX | _LOGICAL):
        return Unreadable(name, "complex numbers" if flags & _COMPLEX else "true and false")
    stored, length = _tag(stream, order)
    if stored not in _STORED:
        return Unreadable(name, f"numbers of an unknown kind ({stored})")
    if length != math.prod(shape) * np.dtype(_STORED[stored]).itemsize:
        raise ValueError(f"{name} says {length} bytes for {shape} numbers of {np.dtype(_STORED[stored]).itemsize}")
    return _Matrix(name, shape, _NUMBERS[kind], _STORED[stored], length)


def _tag(stream: Readable, order: str) -> tuple[int, int]:
    """Type and length of a part with data of its own; a small part, whose data lie in its tag, holds no image."""
    kind, length = struct.unpack(order + "II", _whole(stream, 8))
    return (kind & 0xFFFF, kind >> 16) if kind >> 16 else (kind, length)


def _small(stream: Readable, order: str, most: int) -> tuple[int, int, bytes]:
    """Type, length and data of a part that is short."""
    first = _whole(stream, 8)
    kind, length = struct.unpack(order + "II", first)
    if kind >> 16:
        return kind & 0xFFFF, min(kind >> 16, 4), first[4:]
    if length > most:
        raise ValueError(f"a part of {length} bytes where at most {most} belong")
    return kind, length, _whole(stream, -(-length // 8) * 8)


def _whole(stream: Readable, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError(f"the data end early: {len(data)} of {count} bytes")
    return data


def _version_4(path: Path) -> Listing:
    """Version 4 packs nothing: what it declares has to be in the file."""
    import scipy.io

    size = path.stat().st_size
    with path.open("rb") as file, warnings.catch_warnings():
        # A doubt of the reader's is a reason to refuse.
        warnings.simplefilter("error")
        declared = scipy.io.whosmat(file)
        if sum(math.prod(shape) for _, shape, _ in declared) > size:
            raise EOFError(f"more is declared than the {size} bytes of the file")
        file.seek(0)
        arrays = {k: np.asarray(v) for k, v in scipy.io.loadmat(file).items() if not k.startswith("__")}
    numbers = {k: v for k, v in arrays.items() if v.dtype.kind in "iuf"}
    others = tuple(Unreadable(k, f"{v.dtype}, no numbers") for k, v in arrays.items() if k not in numbers)
    return Listing(tuple(_Loaded(k, v) for k, v in numbers.items()), others)


@dataclass(frozen=True)
class _Loaded:
    """An array in memory."""

    name: str
    array: np.ndarray[Any, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def stored_bytes(self) -> int:
        return self.array.nbytes

    def held_bytes(self, axis: int | None) -> int:  # noqa: ARG002
        return self.array.nbytes

    def slices(self, axis: int | None) -> Iterator[np.ndarray[Any, Any]]:
        yield from [self.array] if axis is None else np.moveaxis(self.array, axis, 0)
