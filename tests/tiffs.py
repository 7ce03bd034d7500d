"""TIFF files of every kind, written by the book, for tests of what reads them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["packbits", "tiff_page", "write_tiff"]

_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 7: "B", 16: "Q"}


def packbits(data: bytes) -> bytes:
    """Literal runs alone."""
    return b"".join(bytes([len(part) - 1]) + part for part in (data[k : k + 128] for k in range(0, len(data), 128)))


def bits_of(array: np.ndarray[Any, Any], depth: int) -> bytes:
    """Rows of so many bits a number, each row beginning at a byte."""
    rows = array.reshape(array.shape[0], -1).astype(np.uint32)
    bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def tiff_page(
    array: np.ndarray[Any, Any], *, order: str = "<", depth: int | None = None, compression: int = 1, predictor: int = 1,
    planar: bool = False, photometric: int | None = None, rows: int | None = None, **more: tuple[int, Sequence[int] | bytes],
) -> tuple[dict[int, tuple[int, Sequence[int] | bytes]], list[bytes]]:  # fmt: skip
    """Tags and strips of an image [height, width] or [height, width, samples]; `more` tags as t<number>=(type, values)."""
    samples = array.shape[2] if array.ndim == 3 else 1
    height, width = array.shape[:2]
    depth = depth or array.dtype.itemsize * 8
    rows = rows or height
    planes = list(np.moveaxis(array, 2, 0)) if planar else [array]
    pack: Callable[[bytes], bytes] = {1: bytes, 8: zlib.compress, 32946: zlib.compress, 32773: packbits}[compression]
    strips: list[bytes] = []
    for plane in planes:
        for top in range(0, height, rows):
            part = plane[top : top + rows]
            if predictor == 2:
                part = np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1]))
            if depth not in (8, 16, 32, 64):
                strips.append(pack(bits_of(part, depth)))
            elif predictor == 3:
                bytes_ = (
                    part.astype(part.dtype.newbyteorder(">")).view(np.uint8).reshape(*part.shape[:2], -1).transpose(0, 2, 1)
                )
                flat = bytes_.reshape(len(part), -1)
                strips.append(pack(np.diff(flat, axis=1, prepend=np.zeros_like(flat[:, :1])).tobytes()))
            else:
                strips.append(pack(part.astype(part.dtype.newbyteorder(order)).tobytes()))  # type: ignore[arg-type]
    number = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    tags: dict[int, tuple[int, Sequence[int] | bytes]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [depth] * samples), 259: (3, [compression]),
        262: (3, [photometric if photometric is not None else 2 if samples == 3 else 1]), 277: (3, [samples]), 278: (4, [rows]),
        284: (3, [2 if planar else 1]), 317: (3, [predictor]), 339: (3, [number] * samples),
    }  # fmt: skip
    return tags | {int(name[1:]): value for name, value in more.items()}, strips


def write_tiff(path: Path, pages: Sequence[tuple[dict[int, Any], list[bytes]]], *, order: str = "<", big: bool = False) -> None:
    """Write pages one after the other."""
    place, head = ("Q", "Q") if big else ("I", "H")
    width = struct.calcsize(place)
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    link = len(out) - width
    for tags, strips in pages:
        offsets: list[int] = []
        for strip in strips:
            offsets.append(len(out))
            out += strip
        full = tags | {273: (16 if big else 4, offsets), 279: (4, [len(s) for s in strips])}
        entries = b""
        for tag, (kind, values) in sorted(full.items()):
            data = bytes(values) if kind in (2, 7) else struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
            if len(data) > width:
                at = len(out)
                out += data
                data = struct.pack(order + place, at)
            entries += struct.pack(f"{order}HH{place}", tag, kind, len(values)) + data.ljust(width, b"\0")
        struct.pack_into(order + place, out, link, len(out))
        out += struct.pack(order + head, len(full)) + entries
        link = len(out)
        out += bytes(width)
    path.write_bytes(out)
