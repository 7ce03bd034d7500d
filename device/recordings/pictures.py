"""PNG, JPEG, BMP: size declared first, the file's wholeness checked, then the pixels. Decoders fill what is missing with grey."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from device.errors import InputError
from device.recordings.budget import MemoryBudget
from device.recordings.decoder import decoded

__all__ = ["jpeg_pixels", "picture_kind", "picture_pixels"]

Array = NDArray[Any]
_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_WITHOUT_DATA = frozenset((0xFF, 0x01, *range(0xD0, 0xD9)))
"""JPEG markers that no length follows; 0xFF fills."""
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and steps, of the passes of an interlaced PNG."""


def picture_kind(start: bytes) -> str | None:
    """What the first bytes of a file say it is, whatever its name."""
    if start.startswith(_PNG):
        return "PNG"
    if start.startswith(b"\xff\xd8"):
        return "JPEG"
    if start.startswith(b"BM"):
        return "BMP"
    return "TIFF" if start[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+") else None


def picture_pixels(data: bytes, kind: str, budget: MemoryBudget, where: object) -> Array:
    """Pixels of a PNG, JPEG or BMP file as stored: [height, width] or [height, width, colours].

    ValueError where the file is not whole, InputError where it takes too much memory or is of a kind that isn't read.
    """
    return {"PNG": _png_pixels, "JPEG": jpeg_pixels, "BMP": _bmp_pixels}[kind](data, budget, where)


def _png_pixels(data: bytes, budget: MemoryBudget, where: object) -> Array:
    critical, packed, header = bytearray(_PNG), bytearray(), b""
    for kind, block in _png_blocks(data):
        if kind == b"IHDR" and not header:
            header = block[8:-4]
        elif kind == b"IDAT":
            packed += block[8:-4]
        # Text, profiles and times are no pixels, and may be bombs of their own.
        if not kind[0] & 0x20:
            critical += block
    if len(header) != 13:
        raise ValueError("no header block")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS:
        raise ValueError(f"colour type {colour}")
    pixels, bits = width * height, _CHANNELS[colour] * depth
    budget.check_ratio(pixels * bits // 8, len(packed), where)
    budget.check_frame(pixels, pixels * (bits if colour != 3 else 24) // 8, where)
    _check_whole(packed, _scanned(width, height, bits, interlaced=bool(interlaced)))
    return decoded(bytes(critical))


def _png_blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes of every block up to the end block; ValueError where one is not whole."""
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[at : at + 8]) if at + 12 <= len(data) else (len(data), b"")
        end = at + 12 + length
        if end > len(data):
            raise ValueError(f"the file ends after {len(data)} bytes, in mid-block")
        block = data[at:end]
        if zlib.crc32(block[4:-4]) != struct.unpack(">I", block[-4:])[0]:
            raise ValueError(f"checksum of a {kind.decode('latin1')} block is wrong")
        yield kind, block
        at = end


def _scanned(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    """Bytes of all rows, each with its filter byte."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sides = [(-(-(height - r) // dr), -(-(width - c) // dc)) for r, c, dr, dc in passes if height > r and width > c]
    return sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sides)


def _check_whole(packed: bytearray, expected: int) -> None:
    """ValueError unless so many bytes are packed; none are kept."""
    stream = zlib.decompressobj()
    found, piece = 0, bytes(packed)
    while piece and not stream.eof and found <= expected:
        found += len(stream.decompress(piece, 1 << 20))
        piece = stream.unconsumed_tail
    if found < expected:
        raise ValueError(f"the pixels end early: {found} of {expected} bytes")


def jpeg_pixels(data: bytes, budget: MemoryBudget, where: object) -> Array:
    """See `picture_pixels`."""
    if data.rstrip(b"\x00")[-2:] != b"\xff\xd9":
        raise ValueError("no JPEG end marker")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("no JPEG marker where one belongs")
        marker = data[at + 1]
        if marker in _WITHOUT_DATA:
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, colours = struct.unpack(">BHHB", data[at + 4 : at + 10])
            if bits != 8 or colours not in (1, 3):
                raise _not_read(f"JPEG ({bits} bits, {colours} colours)", where)
            budget.check_ratio(width * height * colours, len(data), where)
            budget.check_frame(width * height, width * height * colours, where)
            return decoded(data)
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    raise ValueError("no JPEG frame header")


def _bmp_pixels(data: bytes, budget: MemoryBudget, where: object) -> Array:
    if len(data) < 30:
        raise ValueError("the file ends in its header")
    declared, (header,) = struct.unpack("<I", data[2:6])[0], struct.unpack("<I", data[14:18])
    if len(data) < declared:
        raise ValueError(f"{len(data)} of {declared} bytes")
    layout = "<HHHH" if header == 12 else "<iiHH"
    width, height, _, bits = struct.unpack(layout, data[18 : 18 + struct.calcsize(layout)])
    pixels = abs(width) * abs(height)
    budget.check_ratio(pixels * bits // 8, len(data), where)
    budget.check_frame(pixels, pixels * max(bits // 8, 3), where)
    return decoded(data)


def _not_read(kind: str, where: object) -> InputError:
    return InputError(f"this kind of {kind} is not read", where=where, remedy="Convert it to PNG or TIFF of 8 or 16 bits.")
