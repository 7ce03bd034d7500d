"""Recorded holograms: files, folders and globs to frames.

MAT (v4, v5; v7.3 with h5py), NPY, NPZ, HDF5 (h5py), PNG, TIFF (multi-page, 1 to 16-bit, 32-bit, float), JPEG, BMP. A file that
can't be trusted (truncated, empty, wrong shape, NaN, constant, too large) is one InputError that says so; it never stops the
others. How each kind is read: `device.recordings`.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.recordings.budget import MemoryBudget, size
from device.recordings.mosaic import levelled, mosaic_of
from device.recordings.options import ReadOptions
from device.recordings.sources import MIN_SIDE_PX, Listing, chosen, describe, frames_axis, images

__all__ = ["ReadOptions", "RecordedFrame", "expand", "read_each", "read_frames"]

Array = NDArray[Any]


@dataclass(frozen=True)
class RecordedFrame:
    """One frame of a file."""

    pixels: NDArray[np.float32]
    """float32 [height, width], linear, in the file's own counts."""
    white: float | None
    """Count at which the file's integer type saturates; None for floating point."""
    name: str
    """File name, with #page where a file holds several."""
    index: int
    """Number in its file, from 0."""
    notes: tuple[str, ...] = ()
    """What was done to it on reading."""
    array: str | None = None
    """Which of the file's arrays it is of; None for pictures."""


@dataclass(frozen=True)
class _Page:
    """What a file held, before it is looked at."""

    pixels: Array
    white: float | None = None
    """None: that of its integer type."""
    notes: tuple[str, ...] = ()
    array: str | None = None


_Pages = Iterator[_Page | InputError]


def _natural(path: Path) -> list[int | str]:
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", str(path))]


def expand(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that inputs name: files, folders (their holograms, in natural order), globs."""
    files: list[Path] = []
    for given in inputs:
        path = Path(given).expanduser()
        if path.is_dir():
            found = sorted((p for p in path.iterdir() if p.suffix.lower() in _READERS), key=_natural)
            if not found:
                raise InputError("no holograms in this folder", where=path, expected="files ending in " + _KNOWN)
        elif path.exists():
            found = [path]
        else:
            # Path.glob takes no absolute patterns.
            found = sorted((Path(p) for p in glob.glob(str(path), recursive=True)), key=_natural)  # noqa: PTH207
            if not found:
                raise InputError("no such file or folder", where=path, remedy="Check the path; globs need quotes in a shell.")
        files.extend(found)
    return files


def read_frames(path: Path, options: ReadOptions | None = None) -> Iterator[RecordedFrame]:
    """Every frame of a file, in order; InputError where one can't be trusted."""
    for found in read_each(path, options):
        if isinstance(found, InputError):
            raise found
        yield found


def read_each(path: Path, options: ReadOptions | None = None) -> Iterator[RecordedFrame | InputError]:
    """Every frame of a file, in order, an InputError in the place of one that can't be trusted.

    Frames are read one at a time where the file's kind lets them be. Whatever a decoder does to a damaged or hostile file is
    that file's fault alone: it comes out as an InputError, after the frames before it.
    """
    options = options or ReadOptions()
    try:
        pages = _reader(path)(path, options, MemoryBudget.of(options.memory_mb))
        first, second = next(pages, None), next(pages, None)
        if first is None:
            yield InputError("the file holds no frame", where=path)
            return
        several = second is not None
        for index, page in enumerate(_again(first, second, pages)):
            name = f"{path.name}#{index}" if several else path.name
            yield page if isinstance(page, InputError) else _frame_or_fault(page, path, name, index, options)
    except InputError as error:
        yield error
    except MemoryError:
        yield _too_large(path)
    except OSError as error:
        # With a name it is the system's word about the file; without one a decoder's about its content.
        yield _closed(path, error) if error.filename else _unreadable(path, error)
    except Exception as error:  # noqa: BLE001  decoders raise whatever a damaged stream leads them to
        yield _unreadable(path, error)


def _again(first: _Page | InputError, second: _Page | InputError | None, others: _Pages) -> _Pages:
    yield first
    if second is not None:
        yield second
    yield from others


def _reader(path: Path) -> Callable[[Path, ReadOptions, MemoryBudget], _Pages]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            "unknown kind of file", where=path, expected="a name ending in " + _KNOWN, got=path.suffix or "no ending"
        )
    if not path.is_file():
        raise InputError("no such file", where=path)
    if path.stat().st_size == 0:
        raise InputError("the file is empty", where=path, remedy="Copy it again from where it was recorded.")
    return reader


def _frame_or_fault(page: _Page, path: Path, name: str, index: int, options: ReadOptions) -> RecordedFrame | InputError:
    try:
        return _frame(page, path, name, index, options)
    except InputError as error:
        return error
    except MemoryError:
        return _too_large(path)


def _frame(page: _Page, path: Path, name: str, index: int, options: ReadOptions) -> RecordedFrame:
    array, notes = page.pixels, list(page.notes)
    white = page.white
    if white is None and np.issubdtype(array.dtype, np.integer):
        white = float(np.iinfo(array.dtype).max)
    if np.iscomplexobj(array):
        raise InputError("the array is complex", where=path, expected="intensities", got=str(array.dtype))
    array, colour_note = _grey(np.squeeze(array) if array.ndim > 3 else array)
    if colour_note:
        notes.append(colour_note)
    while array.ndim > 2 and 1 in array.shape:
        array = np.squeeze(array, axis=array.shape.index(1))
    if array.ndim != 2 or min(array.shape) < MIN_SIDE_PX:
        raise InputError(
            "the array is not an image", where=f"{path} ({name})", expected=f"[height, width] of at least {MIN_SIDE_PX} px a side",
            got=f"shape {tuple(array.shape)}",
        )  # fmt: skip
    # What a float32 can't hold is refused as infinite.
    with np.errstate(over="ignore"):
        pixels = np.ascontiguousarray(array, dtype=np.float32)
    _check_light(pixels, f"{path} ({name})")
    pattern = mosaic_of(pixels) if options.level_mosaic and not colour_note else None
    if pattern is not None:
        pixels = levelled(pixels, pattern)
        notes.append(_mosaic_note(pattern, options))
    pixels.setflags(write=False)
    return RecordedFrame(pixels, white, name, index, tuple(notes), page.array)


def _grey(array: Array) -> tuple[Array, str | None]:
    """One channel of an image, and what was done to more of them."""
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        return array, None
    colours = array[..., :3]
    if bool((colours[..., :1] == colours).all()):
        return colours[..., 0], None
    return colours.mean(axis=2, dtype=np.float32), "colour image converted to grey: mean of the three channels"


def _check_light(pixels: NDArray[np.float32], where: str) -> None:
    """InputError where these can't be intensities of a hologram."""
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        bad = int((~np.isfinite(pixels)).sum())
        raise InputError("the frame holds NaN or infinity", where=where, got=f"{bad} of {pixels.size} pixels")
    if highest == lowest:
        raise InputError(
            "the frame is constant", where=where, expected="a hologram", got=f"every pixel {highest:g}",
            remedy="A lamp that was off or a sensor that is saturated looks like this.",
        )  # fmt: skip
    if lowest < 0:
        raise InputError(
            "the frame holds negative intensities", where=where, expected="0 or more", got=f"{lowest:g}",
            remedy="A background-subtracted or phase image is not a hologram.",
        )  # fmt: skip


def _mosaic_note(pattern: NDArray[np.float64], options: ReadOptions) -> str:
    shares = " ".join(f"{share:.2f}" for share in pattern.ravel() / pattern.max())
    said = f"raw mosaic of a colour sensor ({shares}): its four lattices were levelled"
    if options.bayer is None:
        return said + "; an instrument file says which filters it has (sensor.bayer)"
    if options.bayer == "none":
        return said + ", though the instrument file says that it has no filters (sensor.bayer)"
    return f"{said} (bayer {options.bayer})"


def _unreadable(path: Path, error: object) -> InputError:
    return InputError(
        "the file can't be read: truncated or damaged", where=path, got=str(error) or type(error).__name__,
        remedy="Copy it again from where it was recorded.",
    )  # fmt: skip


def _closed(path: Path, error: OSError) -> InputError:
    return InputError(
        "the file can't be opened",
        where=path,
        got=error.strerror,
        remedy="Check that it is there and that this user may read it.",
    )


def _too_large(path: Path) -> InputError:
    return InputError(
        "the file takes more memory than there is", where=path, got=f"{size(path.stat().st_size)} in the file",
        remedy="Crop it, split it, or read it on a larger machine.",
    )  # fmt: skip


def _from_arrays(listing: Listing, path: Path, options: ReadOptions, budget: MemoryBudget) -> _Pages:
    source = chosen(listing, options, path)
    axis = frames_axis(source.shape, options, path)
    notes = (f"array {source.name} of {listing}",) if len(listing.sources) + len(listing.others) > 1 else ()
    if axis is not None and source.shape[axis] > 1:
        notes += (f"{source.shape[axis]} frames along axis {axis} of {describe(source.shape)} (--frames-axis)",)
    for array in images(source, axis, budget, path):
        yield _Page(array, notes=notes, array=source.name)


def _read_mat(path: Path, options: ReadOptions, budget: MemoryBudget) -> _Pages:
    from device.recordings.mat_files import is_hdf5, mat_listing

    if is_hdf5(path):
        yield from _read_hdf5(path, options, budget)
        return
    yield from _from_arrays(mat_listing(path), path, options, budget)


def _read_hdf5(path: Path, options: ReadOptions, budget: MemoryBudget) -> _Pages:
    from device.recordings.hdf5_files import hdf5_listing

    yield from _from_arrays(hdf5_listing(path, matlab=path.suffix.lower() == ".mat"), path, options, budget)


def _read_npy(path: Path, options: ReadOptions, budget: MemoryBudget) -> _Pages:
    from device.recordings.numpy_files import npy_listing

    yield from _from_arrays(npy_listing(path), path, replace(options, array=None), budget)


def _read_npz(path: Path, options: ReadOptions, budget: MemoryBudget) -> _Pages:
    from device.recordings.numpy_files import npz_listing

    yield from _from_arrays(npz_listing(path), path, options, budget)


def _read_picture(path: Path, options: ReadOptions, budget: MemoryBudget) -> _Pages:
    from device.recordings.pictures import picture_kind, picture_pixels
    from device.recordings.tiff_pixels import tiff_frames

    with path.open("rb") as file:
        kind = picture_kind(file.read(8))
    if kind == "TIFF":
        for frame in tiff_frames(path, budget, samples_are_frames=options.frames_axis in ("last", "2", "-1")):
            yield frame if isinstance(frame, InputError) else _Page(frame.pixels, frame.white, frame.notes)
        return
    if kind is None:
        raise ValueError("it begins like no PNG, JPEG, BMP or TIFF")
    budget.check_bytes(path.stat().st_size, path, "the file")
    yield _Page(picture_pixels(path.read_bytes(), kind, budget, path))


_READERS: dict[str, Callable[[Path, ReadOptions, MemoryBudget], _Pages]] = {
    ".mat": _read_mat, ".npy": _read_npy, ".npz": _read_npz, ".h5": _read_hdf5, ".hdf5": _read_hdf5,
    ".png": _read_picture, ".tif": _read_picture, ".tiff": _read_picture, ".jpg": _read_picture, ".jpeg": _read_picture,
    ".bmp": _read_picture,
}  # fmt: skip
_KNOWN = " ".join(sorted(_READERS))
