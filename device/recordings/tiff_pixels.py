"""Pixels of a TIFF page. Packing, predictors, planes and odd depths are undone here; an image library that is handed a whole page
gives other pixels for some of them and says nothing. It unpacks LZW and JPEG, which it does right.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.recordings.budget import MemoryBudget
from device.recordings.decoder import decoded
from device.recordings.tiff_pages import TiffFile, TiffPage, contiguous_frames

__all__ = ["TiffPixels", "tiff_frames"]

Array = NDArray[Any]
_NONE, _LZW, _JPEG, _DEFLATE, _PACKBITS = (1,), (5,), (7,), (8, 32946), (32773,)
_READ = _NONE + _LZW + _JPEG + _DEFLATE + _PACKBITS
_JPEG_READ = ((8, 1, 1, 0), (8, 1, 1, 1), (8, 1, 3, 6))
"""Depth, planes, samples and photometric interpretation of the JPEG streams that say themselves what they hold."""
_PACKINGS = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old-style JPEG", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard",
    50001: "WebP", 52546: "JPEG XL",
}  # fmt: skip
_COLOURS = {5: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*", 32844: "CIE log L", 32845: "CIE log Luv"}
_TURNED: dict[int, Callable[[Array], Array]] = {
    2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1], 7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a.swapaxes(0, 1)[::-1],
}  # fmt: skip


@dataclass(frozen=True)
class TiffPixels:
    """One page or frame."""

    pixels: Array
    """[height, width] or [height, width, colours]."""
    white: float | None
    """Count at which it saturates; None for floating point."""
    notes: tuple[str, ...] = ()


def tiff_frames(path: Path, budget: MemoryBudget, *, samples_are_frames: bool) -> Iterator[TiffPixels | InputError]:
    """Every frame of a TIFF, one at a time; one that can't be read is an InputError in its place.

    InputError, ValueError, EOFError or struct.error where the file as a whole can't be.
    """
    with TiffFile(path) as file:
        pages = file.pages()
        whole = [page for page in pages if not page.kind & 0b101] or pages
        budget.check_ratio(sum(page.unpacked_bytes for page in whole), file.size, path)
        further = contiguous_frames(whole[0]) if len(pages) == 1 else 1
        if further > 1:
            yield from _contiguous(file, whole[0], further, budget, path)
            return
        for k, page in enumerate(whole):
            where = path if len(whole) == 1 else f"{path} (page {k})"
            try:
                _check(page, where)
                budget.check_frame(page.pixels, 2 * page.unpacked_bytes, where)
                array = _pixels(file, page)
                if samples_are_frames and array.ndim == 3:
                    for sample in np.moveaxis(array, 2, 0):
                        yield _finished(page, sample, where)
                else:
                    yield _finished(page, array, where)
            except InputError as error:
                yield error
            except (ValueError, EOFError, struct.error, zlib.error) as error:
                yield InputError(
                    "the page can't be read: damaged",
                    where=where,
                    got=error,
                    remedy="Copy it again from where it was recorded.",
                )


def _contiguous(file: TiffFile, page: TiffPage, frames: int, budget: MemoryBudget, path: Path) -> Iterator[TiffPixels]:
    """Frames that lie behind the only page's, as ImageJ writes large stacks."""
    _check(page, path)
    budget.check_frame(page.pixels, 2 * page.unpacked_bytes, path)
    if page.compression not in _NONE or page.planes == 2 or page.tiled:
        raise _not_read("stack behind one page, packed", path)
    start = page.offsets[0]
    if start + frames * page.unpacked_bytes > file.size:
        raise EOFError(f"{frames} frames end at byte {start + frames * page.unpacked_bytes}, the file at {file.size}")
    for k in range(frames):
        data = file.at(start + k * page.unpacked_bytes, page.unpacked_bytes)
        yield _finished(page, _numbers(page, data, page.height, page.width, page.samples), path)


def _check(page: TiffPage, where: object) -> None:
    """InputError for a page that would not be read right."""
    depth, jpeg = page.bits[0], page.compression in _JPEG
    whole_bytes = depth in (8, 16, 32, 64)
    doubts = {
        f"compressed by {_PACKINGS.get(page.compression, f'method {page.compression}')}": page.compression not in _READ,
        f"JPEG inside, {page.samples} samples of {depth} bits, photometric {page.photometric}": jpeg
        and (depth, page.planes, page.samples, page.photometric) not in _JPEG_READ,
        f"colours as {_COLOURS.get(page.photometric)}": page.photometric in _COLOURS and not jpeg,
        f"samples of {sorted(set(page.bits))} bits in one pixel": len(set(page.bits)) > 1,
        "complex numbers": page.number in (5, 6),
        f"{depth}-bit float": page.number == 3 and depth not in (16, 32, 64),
        f"{depth}-bit integers": page.number != 3 and not whole_bytes and (depth > 16 or page.number == 2),
        "lowest bit first": not whole_bytes and page.fill_order == 2,
        f"predictor {page.predictor} over {depth} bits": page.predictor not in (1, 2, 3)
        or (page.predictor > 1 and not whole_bytes),
    }
    for reason, holds in doubts.items():
        if holds:
            raise _not_read(reason, where)


def _not_read(reason: str, where: object) -> InputError:
    return InputError(
        f"this kind of TIFF ({reason}) is not read", where=where,
        remedy="The file may be sound. Convert it to a TIFF of 8 or 16-bit integers or 32-bit floats, uncompressed, LZW or Deflate.",
    )  # fmt: skip


def _pixels(file: TiffFile, page: TiffPage) -> Array:
    """[height, width] or [height, width, samples]."""
    if page.compression in _JPEG:
        return _jpeg(file, page)
    groups, samples = (page.samples, 1) if page.planes == 2 else (1, page.samples)
    per_group = len(page.offsets) // groups
    planes = [_plane(file, page, slice(g * per_group, (g + 1) * per_group), samples) for g in range(groups)]
    return planes[0] if groups == 1 else np.stack(planes, axis=2)


def _plane(file: TiffFile, page: TiffPage, these: slice, samples: int) -> Array:
    """The strips or tiles of one plane put together."""
    tall, wide = page.segment
    across = -(-page.width // wide)
    offsets, counts = page.offsets[these], page.counts[these]
    row_bytes = -(-wide * samples * page.bits[0] // 8)
    out: Array | None = None
    for k, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        top, left = k // across * tall, k % across * wide
        rows = tall if page.tiled else min(tall, page.height - top)
        data = _unpacked(page, file.at(offset, count), row_bytes, rows)
        part = _numbers(page, data, rows, wide, samples)
        if out is None:
            out = np.empty((page.height, page.width, *part.shape[2:]), part.dtype)
        height, width = min(rows, page.height - top), min(wide, page.width - left)
        out[top : top + height, left : left + width] = part[:height, :width]
    if out is None:
        raise ValueError("a page without data")
    return out


def _unpacked(page: TiffPage, data: bytes, row_bytes: int, rows: int) -> bytes:
    """The bytes of a strip or tile."""
    expected = rows * row_bytes
    if page.compression in _DEFLATE:
        data = zlib.decompressobj().decompress(data, expected)
    elif page.compression in _PACKBITS:
        data = _packbits(data, expected)
    elif page.compression in _LZW:
        data = decoded(_as_grey(data, row_bytes, rows)).tobytes()
    if len(data) < expected:
        raise EOFError(f"a strip or tile ends early: {len(data)} of {expected} bytes")
    return data[:expected]


def _packbits(data: bytes, expected: int) -> bytes:
    out, at = bytearray(), 0
    while at < len(data) and len(out) < expected:
        head = data[at]
        if head < 128:
            out += data[at + 1 : at + 2 + head]
            at += 2 + head
        else:
            out += data[at + 1 : at + 2] * (257 - head if head > 128 else 0)
            at += 2 if head > 128 else 1
    return bytes(out)


def _numbers(page: TiffPage, data: bytes, rows: int, columns: int, samples: int) -> Array:
    """[rows, columns] or [rows, columns, samples] in the byte order of this machine, predictors undone."""
    depth = page.bits[0]
    if depth not in (8, 16, 32, 64):
        return _odd_depth(data, rows, columns, samples, depth)
    code = "f" if page.number == 3 else "i" if page.number == 2 else "u"
    kind = np.dtype(f"{code}{depth // 8}")
    shape = (rows, columns, samples)
    if page.predictor == 3 and code == "f":
        array = _float_predicted(data, shape, kind)
    else:
        array = np.frombuffer(data, kind.newbyteorder(page.order)).reshape(shape).astype(kind)
        if page.predictor == 2:
            whole = array.view(f"u{depth // 8}")
            array = np.cumsum(whole, axis=1, dtype=whole.dtype).view(kind)
    return array[..., 0] if samples == 1 else array


def _float_predicted(data: bytes, shape: tuple[int, int, int], kind: np.dtype[Any]) -> Array:
    """Differences of bytes along a row, its highest bytes first."""
    rows, columns, samples = shape
    values = np.frombuffer(data, np.uint8).reshape(rows, columns * kind.itemsize, samples)
    whole = np.cumsum(values, axis=1, dtype=np.uint8).reshape(rows, kind.itemsize, columns * samples)
    return np.ascontiguousarray(whole.transpose(0, 2, 1)).view(kind.newbyteorder(">")).reshape(shape).astype(kind)


def _odd_depth(data: bytes, rows: int, columns: int, samples: int, depth: int) -> Array:
    """Depths that share bytes (1 to 15 bits), highest bit first, rows beginning at a byte."""
    packed = np.frombuffer(data, np.uint8).reshape(rows, -1)
    out = np.empty((rows, columns, samples), np.uint16)
    weights = (1 << np.arange(depth - 1, -1, -1)).astype(np.uint16)
    for row, line in zip(out, packed, strict=True):
        bits = np.unpackbits(line)[: columns * samples * depth].reshape(columns, samples, depth)
        row[:] = (bits * weights).sum(axis=2, dtype=np.uint16)
    return out[..., 0] if samples == 1 else out


def _finished(page: TiffPage, array: Array, where: object) -> TiffPixels:
    """With inverted levels, palettes and orientation undone, and without samples that are no colours."""
    white = None if array.dtype.kind == "f" else float(2 ** page.bits[0] - 1)
    notes: list[str] = []
    if page.photometric == 3:
        if len(page.colours) != 3 * 2 ** page.bits[0]:
            raise ValueError("a palette without its table")
        table = np.array(page.colours, np.uint16).reshape(3, -1).T
        array, white = table[array], 65535.0
    elif page.photometric == 0 and white is not None and page.number != 2:
        array = (np.array(int(white), array.dtype) - array).astype(array.dtype)
        notes.append("levels turned round: the file says that 0 is white")
    if array.ndim == 3:
        colours = array.shape[2] - page.extra
        colours = 1 if colours == 2 else colours
        if colours not in (1, 3) or (colours == 3 and page.photometric not in (2, 3, 6)):
            raise InputError(
                "the samples of a pixel aren't said to be colours", where=where, expected="one sample, or red, green and blue",
                got=f"{array.shape[2]} samples", remedy="Where they are frames, say so: --frames-axis last.",
            )  # fmt: skip
        array = array[..., :colours] if colours == 3 else array[..., 0]
    if page.orientation in _TURNED:
        array = _TURNED[page.orientation](array)
        notes.append("turned as the file says it is to be seen")
    return TiffPixels(array, white, tuple(notes))


def _as_grey(data: bytes, width: int, height: int, *, packing: int = 5) -> bytes:
    """A TIFF of one strip of grey bytes around packed data, for the library to unpack."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, packing), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))]  # fmt: skip
    place = 8 + len(data) + len(data) % 2
    head = struct.pack("<2sHI", b"II", 42, place)
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return head + data + bytes(len(data) % 2) + struct.pack("<H", len(entries)) + body + struct.pack("<I", 0)


def _jpeg(file: TiffFile, page: TiffPage) -> Array:
    """Strips or tiles that are JPEG streams, each with the tables that they share put before it."""
    tall, wide = page.segment
    across = -(-page.width // wide)
    out: Array | None = None
    for k, (offset, count) in enumerate(zip(page.offsets, page.counts, strict=True)):
        data = file.at(offset, count)
        stream = data[:2] + page.tables[2:-2] + data[2:] if page.tables else data
        part = decoded(stream)
        top, left = k // across * tall, k % across * wide
        if out is None:
            out = np.empty((page.height, page.width, *part.shape[2:]), part.dtype)
        here = out[top : top + part.shape[0], left : left + part.shape[1]]
        here[:] = part[: here.shape[0], : here.shape[1]]
    if out is None:
        raise ValueError("a page without data")
    return out
