"""HDF5 and MAT v7.3: shape, type, filters and storage are judged first; nothing outside the file is read.

External links and soft links are not followed; datasets whose data lie in other files (external storage, virtual datasets) are
listed and not read, nor are references, text, and compounds.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.installation import how_to_install
from device.recordings.sources import ArraySource, Listing, Unreadable

__all__ = ["hdf5_listing"]

_MOST_OBJECTS = 10_000
"""More than any recording has; a file of a million small datasets is not walked through."""
_FILTERS = {1: "deflate", 2: "shuffle", 3: "checksums", 4: "szip", 5: "nbit", 6: "scale-offset", 32000: "LZF"}


def hdf5_listing(path: Path, *, matlab: bool) -> Listing:
    """The arrays of an HDF5 file; `matlab` turns axes round, for MATLAB writes columns first."""
    h5py = _library(path)
    sources: list[ArraySource] = []
    others: list[Unreadable] = []
    seen = 0

    def collect(name: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(item, h5py.Dataset):
            reason = _why_not(item, h5py)
            if reason:
                others.append(Unreadable(name, reason))
            else:
                sources.append(_source(path, name, item, turned=matlab))
        return True if seen >= _MOST_OBJECTS else None

    with h5py.File(path, "r") as file:
        file.visititems(collect)
    if seen >= _MOST_OBJECTS:
        raise InputError(
            "the file holds too many objects to look through", where=path, expected=f"fewer than {_MOST_OBJECTS:,}"
        )
    return Listing(tuple(sources), tuple(others))


def _library(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError("reading HDF5 (and MAT v7.3) needs h5py", where=path, remedy=how_to_install("formats")) from error
    return h5py


def _why_not(item: Any, h5py: Any) -> str | None:
    """Why a dataset is not read; None where it may be."""
    if item.is_virtual or item.external:
        return "its data lie in other files, which are not read"
    if item.shape is None or item.dtype.kind not in "iuf" or item.dtype.metadata:
        return "no plain numbers"
    if item.attrs.get("MATLAB_class") in (b"logical", b"char", b"cell", b"struct") or item.attrs.get("MATLAB_empty"):
        return "no numbers of MATLAB"
    plist = item.id.get_create_plist()
    for k in range(plist.get_nfilters()):
        code = plist.get_filter(k)[0]
        if not h5py.h5z.filter_avail(code):
            return f"compressed by a filter that is not installed ({_FILTERS.get(code, code)})"
    return None


@dataclass(frozen=True)
class _Dataset:
    """A dataset, read one frame at a time."""

    path: Path
    name: str
    stored_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_bytes: int
    chunk_bytes: int
    """What has to be unpacked at least to see one number."""
    turned: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored_shape[::-1] if self.turned else self.stored_shape

    def held_bytes(self, axis: int | None) -> int:
        count = math.prod(self.shape)
        frames = max(self.shape[axis], 1) if axis is not None else 1
        return count // frames * self.dtype.itemsize + self.chunk_bytes

    def slices(self, axis: int | None) -> Iterator[NDArray[Any]]:
        with self._opened() as data:
            if axis is None:
                yield self._own(data[()])
                return
            stored_axis = len(self.stored_shape) - 1 - axis if self.turned else axis
            before = (slice(None),) * stored_axis
            for k in range(self.shape[axis]):
                yield self._own(data[(*before, k)])

    def _own(self, array: Any) -> NDArray[Any]:
        return np.asarray(array).T if self.turned else np.asarray(array)

    @contextmanager
    def _opened(self) -> Generator[Any]:
        import h5py

        with h5py.File(self.path, "r") as file:
            yield file[self.name]


def _source(path: Path, name: str, item: Any, *, turned: bool) -> _Dataset:
    dtype = np.dtype(item.dtype)
    chunk_bytes = math.prod(item.chunks) * dtype.itemsize if item.chunks else 0
    return _Dataset(path, name, tuple(item.shape), dtype, int(item.id.get_storage_size()), chunk_bytes, turned)
