"""Arrays of a file: which one is the hologram, and along which axis its frames lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.recordings.budget import MemoryBudget
from device.recordings.options import ReadOptions, parsed_axis

__all__ = [
    "MIN_SIDE_PX",
    "ArraySource",
    "Listing",
    "Readable",
    "StreamSource",
    "Unreadable",
    "chosen",
    "describe",
    "frames_axis",
    "images",
]

Array = NDArray[Any]
MIN_SIDE_PX = 16
_HOLOGRAM = frozenset((
    "hologram", "holograms", "holography", "holo", "hol", "h", "i", "intensity", "intensities", "frame", "frames", "image",
    "images", "img", "raw", "data", "signal",
))  # fmt: skip
"""What people call it, numbers behind the word left out."""
_SOMETHING_ELSE = frozenset((
    "bg", "bgd", "bkg", "background", "backgrounds", "dark", "darks", "darkfield", "flat", "flats", "flatfield", "gain", "mask",
    "masks", "pixel_mask", "phase", "amplitude", "amp", "reference", "ref", "weight", "weights", "std", "error", "errors",
    "variance", "truth", "label", "labels", "gt_phase", "gt_amplitude", "x", "y", "z",
))  # fmt: skip
"""What people call what lies beside it."""


class Readable(Protocol):
    """Something that gives bytes."""

    def read(self, count: int, /) -> bytes:
        """Up to so many, fewer at the end alone."""
        ...


class ArraySource(Protocol):
    """An array that is declared and not yet read."""

    @property
    def name(self) -> str:
        """Within its file."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """As its author sees it."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its numbers."""
        ...

    @property
    def stored_bytes(self) -> int:
        """What it takes in the file."""
        ...

    def held_bytes(self, axis: int | None) -> int:
        """What is in memory at a time, beside the frames, when it is read along an axis."""
        ...

    def slices(self, axis: int | None) -> Iterator[Array]:
        """Its frames along an axis in order; None: the whole as one."""
        ...


@dataclass(frozen=True)
class Unreadable:
    """Something in a file that is not an array of numbers, or not to be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a file holds."""

    sources: tuple[ArraySource, ...]
    others: tuple[Unreadable, ...] = ()

    def __str__(self) -> str:
        known = [f"{s.name} {describe(s.shape)} {s.dtype}" for s in self.sources]
        return ", ".join(known + [f"{o.name} ({o.reason})" for o in self.others]) or "nothing"


@dataclass(frozen=True)
class StreamSource:
    """An array whose bytes lie one after the other, packed or not (NPY, NPZ, MAT)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_bytes: int
    order: Literal["C", "F"]
    """C: the last axis runs fastest; F: the first."""
    opened: Callable[[], AbstractContextManager[Readable]]
    """At its first byte."""
    packed: np.dtype[Any] | None = None
    """The type its numbers are stored as, where that is a smaller one (MAT)."""

    def held_bytes(self, axis: int | None) -> int:
        """One frame where frames lie one after the other, else all of it."""
        count = math.prod(self.shape)
        return (
            count // max(self.shape[axis], 1) if axis is not None and self._one_by_one(axis) else count
        ) * self.dtype.itemsize

    def slices(self, axis: int | None) -> Iterator[Array]:
        """See `ArraySource`; EOFError where bytes are missing, ValueError where there are more than declared."""
        with self.opened() as stream:
            if axis is None:
                yield self._taken(stream, self.shape)
            elif self._one_by_one(axis):
                frame = tuple(n for k, n in enumerate(self.shape) if k != axis)
                for _ in range(self.shape[axis]):
                    yield self._taken(stream, frame)
            else:
                yield from np.moveaxis(self._taken(stream, self.shape), axis, 0)
            # The reader of a packed stream checks its sum at the end.
            if stream.read(1):
                raise ValueError(f"more data than the {describe(self.shape)} {self.dtype} that were declared")

    def _one_by_one(self, axis: int) -> bool:
        """Whether the axis runs slowest."""
        slower = self.shape[:axis] if self.order == "C" else self.shape[axis + 1 :]
        return math.prod(slower) == 1

    def _taken(self, stream: Readable, shape: Sequence[int]) -> Array:
        packed = self.packed or self.dtype
        wanted = math.prod(shape) * packed.itemsize
        data = stream.read(wanted)
        if len(data) < wanted:
            raise EOFError(f"the data end early: {len(data)} of {wanted} bytes")
        return np.frombuffer(data, packed).astype(self.dtype, copy=False).reshape(tuple(shape), order=self.order)


def chosen(listing: Listing, options: ReadOptions, where: object) -> ArraySource:
    """The hologram among the arrays of a file: the one that was named, else the one that can only be meant.

    InputError that lists what there is where none or more than one can be meant.
    """
    if options.array is not None:
        return _named(listing, options.array, where)
    images = [source for source in listing.sources if _looks_like_image(source.shape)]
    if not images:
        raise InputError("no image in this file", where=where, expected="an array [height, width]", got=listing)
    if len(images) == 1:
        return images[0]
    rest = [source for source in images if not _known(source.name, _SOMETHING_ELSE)]
    for candidates in ([source for source in rest if _known(source.name, _HOLOGRAM)], rest):
        if len(candidates) == 1:
            return candidates[0]
    raise InputError(
        "the file holds several arrays, and any may be the hologram", where=where, expected="one, or the name of one", got=listing,
        remedy=f"Name it, for example: --array {images[0].name}",
    )  # fmt: skip


def _named(listing: Listing, name: str, where: object) -> ArraySource:
    wanted = name.strip("/")
    exact = [source for source in listing.sources if source.name == wanted]
    found = exact or [source for source in listing.sources if source.name.rpartition("/")[2] == wanted]
    if len(found) == 1:
        return found[0]
    refused = next((other for other in listing.others if other.name == wanted), None)
    if refused is not None:
        raise InputError(f"the array {name} can't be read: {refused.reason}", where=where, got=listing)
    raise InputError(f"no array is called {name}", where=where, expected="one of those in the file", got=listing)


def _known(name: str, words: frozenset[str]) -> bool:
    """Whether a name, or the last part of its path, or its group's, is one of these words."""
    last = name.rpartition("/")[2].lower()
    return last in words or last.rstrip("0123456789_") in words


def _looks_like_image(shape: tuple[int, ...]) -> bool:
    sides = sorted(n for n in shape if n > 1)
    return len(sides) >= 2 and sides[-2] >= MIN_SIDE_PX


def frames_axis(shape: tuple[int, ...], options: ReadOptions, where: object) -> int | None:
    """The axis that counts frames; None where the array is one image.

    Of three axes, the one that counts frames is the odd one out beside two equal sides, or is shorter than half of either side.
    Where neither tells, a stack cut along the wrong axis would pass for frames: InputError says how to name it.
    """
    given = parsed_axis(options.frames_axis)
    if options.frames_axis == "none":
        return None
    if given is not None:
        if len(shape) < 3 or not -len(shape) <= given < len(shape):
            raise InputError("the array has no such axis of frames", where=where, expected=f"axis {given}", got=describe(shape))
        return given % len(shape)
    long = [k for k, n in enumerate(shape) if n > 1]
    if len(long) <= 2:
        return None
    if len(shape) == 4 and shape[3] in (3, 4) and shape[0] >= 1:
        return 0
    if len(long) != 3:
        raise InputError(
            "the array is not an image", where=where, expected="[height, width] or [frames, height, width]", got=describe(shape)
        )
    found = [k for k in (long[0], long[2]) if _counts_frames(k, long, shape)]
    if len(found) == 1:
        return found[0]
    readings = [
        f"{shape[k]} frames of {describe([shape[j] for j in long if j != k])} ({way})"
        for k, way in zip(long, ("first", "1", "last"), strict=True)
    ]
    raise InputError(
        "the shape doesn't tell which axis counts the frames", where=where, expected=" or ".join((readings[0], readings[2])), got=describe(shape),
        remedy="Say which: --frames-axis first or --frames-axis last.",
    )  # fmt: skip


def _counts_frames(axis: int, axes: Sequence[int], shape: tuple[int, ...]) -> bool:
    sides = [shape[k] for k in axes if k != axis]
    return (sides[0] == sides[1] != shape[axis]) or 2 * shape[axis] < min(sides)


def images(source: ArraySource, axis: int | None, budget: MemoryBudget, where: object) -> Iterator[Array]:
    """The frames of an array along an axis in order, each [height, width] or [height, width, colours]; InputError before anything
    is read where they would take too much."""
    unpacked = math.prod(source.shape) * source.dtype.itemsize
    budget.check_ratio(unpacked, source.stored_bytes, where)
    pixels = math.prod(source.shape) // (max(source.shape[axis], 1) if axis is not None else 1)
    budget.check_frame(pixels, source.held_bytes(axis), where)
    yield from source.slices(axis)


def describe(shape: Sequence[int]) -> str:
    """A shape in words."""
    return " x ".join(map(str, shape)) or "a single number"
