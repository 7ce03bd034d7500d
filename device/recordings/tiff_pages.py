"""What a TIFF says of its pages: size, numbers, packing, and where their data lie; classic and BigTIFF.

Adobe, "TIFF Revision 6.0" (1992), with the technical notes on predictors and floating point.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

__all__ = ["TiffFile", "TiffPage", "contiguous_frames"]

_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_ENTRIES = 4096
_MOST_PAGES = 1_000_000
_LONGEST_TEXT = 1 << 20


@dataclass(frozen=True)
class TiffPage:
    """One directory."""

    order: Literal["<", ">"]
    """Of its bytes."""
    width: int
    height: int
    bits: tuple[int, ...]
    """Of every sample of a pixel."""
    number: int
    """1 unsigned, 2 signed, 3 floating point, 4 undefined."""
    compression: int
    predictor: int
    photometric: int
    planes: int
    """1: samples lie beside each other; 2: in planes of their own."""
    extra: int
    """Samples of a pixel that are no colours."""
    orientation: int
    fill_order: int
    segment: tuple[int, int]
    """Height and width of a strip or tile."""
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    colours: tuple[int, ...]
    """The table of a palette image: reds, greens, blues."""
    tables: bytes
    """What JPEG strips share."""
    kind: int
    """Bit 0: a smaller copy of another page; bit 2: a mask."""
    description: str

    @property
    def samples(self) -> int:
        """Of a pixel."""
        return len(self.bits)

    @property
    def pixels(self) -> int:
        """Of the page."""
        return self.width * self.height

    @property
    def unpacked_bytes(self) -> int:
        """Of the pixels."""
        return self.height * self.samples * -(-self.width * self.bits[0] // 8)


class TiffFile:
    """A TIFF file, read in pieces. ValueError, EOFError or struct.error where it is damaged."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("rb")
        self.size = path.stat().st_size
        start = self.at(0, 16) if self.size >= 16 else b""
        self.order: Literal["<", ">"] = ">" if start[:2] == b"MM" else "<"
        version = struct.unpack(self.order + "H", start[2:4])[0] if start[:2] in (b"II", b"MM") else 0
        if version not in (42, 43):
            raise ValueError("not a TIFF file")
        self._big = version == 43
        self._first = struct.unpack(self.order + ("Q" if self._big else "I"), start[8:16] if self._big else start[4:8])[0]

    def __enter__(self) -> TiffFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def at(self, offset: int, count: int) -> bytes:
        """Bytes from a place; EOFError where the file ends before."""
        if offset + count > self.size:
            raise EOFError(f"image data end at byte {offset + count}, the file at {self.size}")
        self._file.seek(offset)
        return self._file.read(count)

    def pages(self) -> list[TiffPage]:
        """Every directory of the chain; ValueError where it runs in a circle or its data overlap."""
        found, seen, at = list[TiffPage](), set[int](), self._first
        while at:
            if at in seen or len(seen) >= _MOST_PAGES:
                raise ValueError("its directories form a circle")
            seen.add(at)
            tags, at = self._directory(at)
            found.append(self._page(tags))
        for page in found:
            for offset, count in zip(page.offsets, page.counts, strict=True):
                if offset + count > self.size:
                    raise EOFError(f"image data end at byte {offset + count}, the file at {self.size}")
        if sum(sum(page.counts) for page in found) > self.size:
            raise ValueError("its pages share their data: they declare more than the file holds")
        return found

    def _directory(self, at: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
        """Type, count and value bytes (or their place) of every tag, and the place of the next directory."""
        head, entry, place = ("Q", 20, "Q") if self._big else ("H", 12, "I")
        width = struct.calcsize(head)
        count = struct.unpack(self.order + head, self.at(at, width))[0]
        if count > _MOST_ENTRIES:
            raise ValueError(f"a directory of {count} entries")
        data = self.at(at + width, count * entry + struct.calcsize(place))
        tags: dict[int, tuple[int, int, bytes]] = {}
        for k in range(count):
            tag, kind, number = struct.unpack_from(f"{self.order}HH{place}", data, k * entry)
            tags.setdefault(tag, (kind, number, data[k * entry + entry - struct.calcsize(place) : (k + 1) * entry]))
        return tags, struct.unpack_from(self.order + place, data, count * entry)[0]

    def _values(self, tags: dict[int, tuple[int, int, bytes]], tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        if tag not in tags:
            return default
        kind, count, inline = tags[tag]
        if kind not in _CODES:
            return default
        layout = f"{self.order}{count}{_CODES[kind]}"
        needed = struct.calcsize(layout)
        place = struct.unpack(self.order + ("Q" if self._big else "I"), inline)[0]
        return struct.unpack(layout, inline[:needed] if needed <= len(inline) else self.at(place, needed))

    def _text(self, tags: dict[int, tuple[int, int, bytes]], tag: int) -> str:
        if tag not in tags or tags[tag][1] > _LONGEST_TEXT:
            return ""
        return bytes(self._values(tags, tag)).split(b"\0")[0].decode("utf-8", "replace")

    def _page(self, tags: dict[int, tuple[int, int, bytes]]) -> TiffPage:
        def one(tag: int, default: int) -> int:
            return (self._values(tags, tag) or (default,))[0]

        width, height = one(256, 0), one(257, 0)
        samples = one(277, 1)
        bits = self._values(tags, 258, (1,))
        if not 0 < samples <= 1024 or width <= 0 or height <= 0:
            raise ValueError(f"a page of {width} x {height} pixels of {samples} samples")
        bits = bits * samples if len(bits) == 1 else bits
        if len(bits) != samples:
            raise ValueError(f"{len(bits)} depths for {samples} samples")
        tiled = 324 in tags
        rows = min(one(278, height) or height, height)
        segment = (one(323, 0), one(322, 0)) if tiled else (rows, width)
        if min(segment) <= 0:
            raise ValueError(f"tiles of {segment}")
        offsets, counts = self._values(tags, 324 if tiled else 273), self._values(tags, 325 if tiled else 279)
        planes = one(284, 1)
        if not counts and len(offsets) == 1:
            counts = (min(height * samples * -(-width * bits[0] // 8), max(self.size - offsets[0], 0)),)
        down, across = -(-height // segment[0]), -(-width // segment[1])
        needed = down * across * (samples if planes == 2 else 1)
        if len(offsets) != needed or len(counts) != needed:
            raise ValueError(f"{len(offsets)} strips or tiles where {needed} belong")
        return TiffPage(
            order=self.order, width=width, height=height, bits=bits, number=one(339, 1), compression=one(259, 1),
            predictor=one(317, 1), photometric=one(262, 1), planes=planes, extra=len(self._values(tags, 338)),
            orientation=one(274, 1), fill_order=one(266, 1), segment=segment, tiled=tiled, offsets=offsets, counts=counts,
            colours=self._values(tags, 320), tables=bytes(self._values(tags, 347)), kind=one(254, 0),
            description=self._text(tags, 270),
        )  # fmt: skip


def contiguous_frames(page: TiffPage) -> int:
    """How many frames a page says lie one after the other behind it, as ImageJ and shaped descriptions do; 1 without a word."""
    found = re.match(r"ImageJ=", page.description) and re.search(r"^images=(\d+)", page.description, re.MULTILINE)
    if found:
        return int(found.group(1))
    shaped = re.match(r'\{"shape": \[([0-9, ]+)\]', page.description)
    if not shaped:
        return 1
    total = 1
    for side in shaped.group(1).split(","):
        total *= int(side)
    return max(total // (page.pixels * page.samples), 1)
