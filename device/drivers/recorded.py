"""Recorded holograms: files, folders and globs to frames.

MAT (v5; v7.3 with h5py), NPY, NPZ, HDF5 (h5py), PNG, TIFF (multi-page, 8 to 16-bit, float), JPEG, BMP. A file that can't
be trusted (truncated, empty, wrong shape, NaN, constant) is one InputError that says so; it never stops the others.
"""

from __future__ import annotations

import glob
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError

__all__ = ["RecordedFrame", "expand", "read_frames"]

Array = NDArray[Any]
MIN_SIDE_PX = 16


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


def read_frames(path: Path) -> Iterator[RecordedFrame]:
    """Every frame of a file, in order; InputError where it can't be trusted."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            "unknown kind of file", where=path, expected="a name ending in " + _KNOWN, got=path.suffix or "no ending"
        )
    if not path.is_file():
        raise InputError("no such file", where=path)
    if path.stat().st_size == 0:
        raise InputError("the file is empty", where=path, remedy="Copy it again from where it was recorded.")
    pages = reader(path)
    for index, page in enumerate(pages):
        name = path.name if len(pages) == 1 else f"{path.name}#{index}"
        yield _frame(page, path, name, index)


def _frame(page: Array, path: Path, name: str, index: int) -> RecordedFrame:
    notes: list[str] = []
    white = float(np.iinfo(page.dtype).max) if np.issubdtype(page.dtype, np.integer) else None
    if np.iscomplexobj(page):
        raise InputError("the array is complex", where=path, expected="intensities", got=str(page.dtype))
    if page.ndim == 3 and page.shape[2] in (3, 4):
        colours = page[..., :3]
        if bool((colours[..., :1] == colours).all()):
            page = colours[..., 0]
        else:
            page = colours.astype(np.float32).mean(axis=2)
            notes.append("colour image converted to grey: mean of the three channels")
    if page.ndim == 3 and page.shape[2] == 1:
        page = page[..., 0]
    if page.ndim != 2 or min(page.shape) < MIN_SIDE_PX:
        raise InputError(
            "the array is not an image", where=f"{path} ({name})", expected=f"[height, width] of at least {MIN_SIDE_PX} px a side",
            got=f"shape {tuple(page.shape)}",
        )  # fmt: skip
    pixels = np.ascontiguousarray(page, dtype=np.float32)
    if not np.isfinite(pixels).all():
        bad = int((~np.isfinite(pixels)).sum())
        raise InputError("the frame holds NaN or infinity", where=f"{path} ({name})", got=f"{bad} of {pixels.size} pixels")
    if float(pixels.max()) == float(pixels.min()):
        raise InputError(
            "the frame is constant", where=f"{path} ({name})", expected="a hologram", got=f"every pixel {float(pixels.max()):g}",
            remedy="A lamp that was off or a sensor that is saturated looks like this.",
        )  # fmt: skip
    if float(pixels.min()) < 0:
        raise InputError(
            "the frame holds negative intensities", where=f"{path} ({name})", expected="0 or more", got=f"{float(pixels.min()):g}",
            remedy="A background-subtracted or phase image is not a hologram.",
        )  # fmt: skip
    pixels.setflags(write=False)
    return RecordedFrame(pixels, white, name, index, tuple(notes))


def _stack(array: Array, path: Path) -> list[Array]:
    """Frames of an array: one image, or a stack [frames, height, width]."""
    array = np.squeeze(array)
    if array.ndim == 4 or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        return [np.asarray(page) for page in array]
    if array.ndim not in (2, 3):
        raise InputError(
            "the array is not an image", where=path, expected="[height, width] or [frames, height, width]",
            got=f"shape {tuple(array.shape)}",
        )  # fmt: skip
    return [array]


def _largest(arrays: dict[str, Array], path: Path) -> Array:
    """The hologram among the arrays of a file: the one so called, else the only one, else the largest image."""
    images = {k: v for k, v in arrays.items() if np.issubdtype(v.dtype, np.number) and np.squeeze(v).ndim >= 2}
    if not images:
        found = ", ".join(f"{k} {tuple(v.shape)}" for k, v in arrays.items()) or "nothing"
        raise InputError("no image in this file", where=path, expected="an array [height, width]", got=found)
    for key, value in images.items():
        if key.lower() in ("holography", "hologram", "intensity", "frame", "frames", "image"):
            return value
    return max(images.values(), key=lambda a: a.size)


def _unreadable(path: Path, error: object) -> InputError:
    return InputError(
        "the file can't be read: truncated or damaged", where=path, got=str(error) or type(error).__name__,
        remedy="Copy it again from where it was recorded.",
    )  # fmt: skip


def _read_mat(path: Path) -> list[Array]:
    import scipy.io

    try:
        with path.open("rb") as file:
            # MATLAB 7.3 writes HDF5 behind a header that says version 2.
            if file.read(128)[124:126] in (b"\x00\x02", b"\x02\x00"):
                return _read_hdf5(path)
            file.seek(0)
            arrays = scipy.io.loadmat(file)
    except InputError:
        raise
    except Exception as error:  # scipy raises whatever a damaged stream leads it to (zlib.error, ValueError, struct.error)
        raise _unreadable(path, error) from error
    named = {k: np.asarray(v) for k, v in arrays.items() if not k.startswith("__")}
    return _stack(_largest(named, path), path)


def _read_hdf5(path: Path) -> list[Array]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "reading HDF5 (and MAT v7.3) needs h5py", where=path, remedy="Install the extra: pip install 'holonode[formats]'."
        ) from error
    arrays: dict[str, Array] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    array = _largest(arrays, path)
    # MATLAB writes columns first.
    return _stack(array.T if path.suffix.lower() == ".mat" else array, path)


def _read_numpy(path: Path) -> list[Array]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = loaded if isinstance(loaded, np.ndarray) else {k: loaded[k] for k in loaded.files}
        return _stack(arrays if isinstance(arrays, np.ndarray) else _largest(arrays, path), path)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zlib.error, struct.error) as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # zipfile.BadZipFile, without importing zipfile for it
        raise _unreadable(path, error) from error


def _read_image(path: Path) -> list[Array]:
    import cv2

    data = path.read_bytes()
    reason = _incomplete(data, path.suffix.lower())
    if reason:
        raise _unreadable(path, reason)
    buffer = np.frombuffer(data, np.uint8)
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            _, pages = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED)
        else:
            image = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
            pages = [] if image is None else [image]
    except cv2.error as error:
        raise _unreadable(path, error.err) from error
    if not pages:
        raise _unreadable(path, "no image could be decoded")
    return [np.asarray(page) for page in pages]


def _incomplete(data: bytes, suffix: str) -> str | None:
    """Why an image file is not whole; decoders fill what is missing with grey and say nothing."""
    if suffix == ".png":
        return _incomplete_png(data)
    if suffix in (".jpg", ".jpeg"):
        whole = data[:2] == b"\xff\xd8" and data.rstrip(b"\x00")[-2:] == b"\xff\xd9"
        return None if whole else "no JPEG start or end marker"
    if suffix == ".bmp":
        if data[:2] != b"BM" or len(data) < 26:
            return "not a BMP file"
        declared = struct.unpack("<I", data[2:6])[0]
        return None if len(data) >= declared else f"{len(data)} of {declared} bytes"
    return _incomplete_tiff(data)


def _incomplete_png(data: bytes) -> str | None:
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return "not a PNG file"
    at = 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if at + 12 + length > len(data):
            break
        if zlib.crc32(kind + body) != struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]:
            return f"checksum of a {kind.decode('latin1')} block is wrong"
        if kind == b"IEND":
            return None
        at += 12 + length
    return f"the file ends after {len(data)} bytes, in mid-block"


def _incomplete_tiff(data: bytes) -> str | None:
    """Walk the directories of a classic TIFF; every strip and tile must lie inside the file."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(data[:4])
    if order is None:
        return "not a TIFF file" if data[:4] not in (b"II+\x00", b"MM\x00+") else None
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
    try:
        at, seen = struct.unpack(order + "I", data[4:8])[0], set[int]()
        while at and at not in seen:
            seen.add(at)
            tags: dict[int, list[int]] = {}
            for k in range(struct.unpack(order + "H", data[at : at + 2])[0]):
                tag, kind, count = struct.unpack(order + "HHI", data[at + 2 + 12 * k : at + 10 + 12 * k])
                if tag in (273, 279, 324, 325) and kind in (3, 4):
                    start = at + 10 + 12 * k
                    if sizes[kind] * count > 4:
                        start = struct.unpack(order + "I", data[start : start + 4])[0]
                    code = "H" if kind == 3 else "I"
                    tags[tag] = list(struct.unpack(f"{order}{count}{code}", data[start : start + sizes[kind] * count]))
            for offsets, counts in ((273, 279), (324, 325)):
                for offset, count in zip(tags.get(offsets, []), tags.get(counts, []), strict=False):
                    if offset + count > len(data):
                        return f"image data end at byte {offset + count}, the file at {len(data)}"
            entries = struct.unpack(order + "H", data[at : at + 2])[0]
            at = struct.unpack(order + "I", data[at + 2 + 12 * entries : at + 6 + 12 * entries])[0]
    except struct.error:
        return f"a directory lies outside the {len(data)} bytes of the file"
    return None


_READERS: dict[str, Callable[[Path], list[Array]]] = {
    ".mat": _read_mat, ".npy": _read_numpy, ".npz": _read_numpy, ".h5": _read_hdf5, ".hdf5": _read_hdf5,
    ".png": _read_image, ".tif": _read_image, ".tiff": _read_image, ".jpg": _read_image, ".jpeg": _read_image,
    ".bmp": _read_image,
}  # fmt: skip
_KNOWN = " ".join(sorted(_READERS))
