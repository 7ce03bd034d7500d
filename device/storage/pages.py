"""Rows read from the pages of a damaged SQLite file, without its trees: whatever cell is whole comes out.

Pages, cells, overflow chains and the write-ahead log are as https://www.sqlite.org/fileformat2.html has them. Nothing here
trusts what it reads: who asks checks the values, by their checksum.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

__all__ = ["Cell", "DamagedFile", "Log", "Value"]

Value = None | int | float | bytes
"""Texts come as bytes."""

_PAGE_BYTES = 4096
"""What SQLite makes where nobody asks for another."""
_LEAF_OF_TABLE, _NODE_OF_TABLE, _LEAF_OF_INDEX, _NODE_OF_INDEX = 0x0D, 0x05, 0x0A, 0x02
_LARGEST_PAYLOAD = 2**24
_HEAD = re.compile(rb"(?=[\x04-\x0c]\x00[\x00-\x06\x19\x1f\x21]|[\x03-\x06][\x0f-\xff])", re.DOTALL)
"""What the head of a row of a store can begin with: its length, then the types of a number that stands in front (none) and of
what follows it (a record's kind, a time), or of a text."""
_MOST_COLUMNS = 8
_MOST_LINKS = 16
"""Of a chain, at which it is looked for where it goes on."""
_LOG_HEADER, _FRAME_HEADER = 32, 24
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_BYTES_OF_TYPE = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)


class _NotACellError(Exception):
    """What stands here can't be one."""


@dataclass(frozen=True)
class Cell:
    """A row as a page has it."""

    rowid: int | None
    """None: of a table without."""
    values: tuple[Value, ...]
    exact: bool = True
    """Whether the size and the number in front of it agree with it."""


@dataclass(frozen=True)
class _Extent:
    """Bytes of a page."""

    begin: int
    end: int


@dataclass(frozen=True)
class Log:
    """What stands in a write-ahead log, whether SQLite still believes it or not."""

    sound_header: bool
    frames: tuple[tuple[int, int], ...]
    """(page number, where its content begins), in the order written, of the log's last use."""
    earlier: tuple[tuple[int, int], ...]
    """The same of uses before, as far as they weren't written over."""
    commits: tuple[int, ...]
    """Which of the frames end a transaction."""

    @classmethod
    def of(cls, content: bytes | mmap.mmap, page_bytes: int) -> Log:
        """Read a log's headers."""
        sound = len(content) >= _LOG_HEADER and _header_is_sound(content[:_LOG_HEADER])
        step = _FRAME_HEADER + page_bytes
        first = content[_LOG_HEADER + 8 : _LOG_HEADER + 16]
        salt = content[16:24] if sound else first
        frames: list[tuple[int, int]] = []
        earlier: list[tuple[int, int]] = []
        commits: list[int] = []
        for at in range(_LOG_HEADER, len(content) - step + 1, step):
            number, pages = struct.unpack_from(">II", content, at)
            if content[at + 8 : at + 16] != salt:
                earlier.append((number, at + _FRAME_HEADER))
                continue
            if pages:
                commits.append((at - _LOG_HEADER) // step)
            frames.append((number, at + _FRAME_HEADER))
        return cls(sound, tuple(frames), tuple(earlier), tuple(commits))

    def commits_behind(self, frames: int) -> int:
        """Transactions that end behind so many frames."""
        return sum(number >= frames for number in self.commits)


def _header_is_sound(header: bytes) -> bool:
    magic, *_ = words = struct.unpack(">8I", header)
    if magic not in _LOG_MAGIC:
        return False
    order = ">" if magic & 1 else "<"
    s0 = s1 = 0
    data = struct.unpack(f"{order}6I", header[:24])
    for k in range(0, 6, 2):
        s0 = (s0 + data[k] + s1) & 0xFFFFFFFF
        s1 = (s1 + data[k + 1] + s0) & 0xFFFFFFFF
    return (s0, s1) == (words[6], words[7])


class DamagedFile:
    """A database file and its log, only read."""

    def __init__(self, path: Path | None, log: Path | None) -> None:
        """Either may be missing; None: not looked at."""
        self._main, self._log = _bytes_of(path), _bytes_of(log)
        self.page_bytes = self._announced() or _PAGE_BYTES
        self.log = Log.of(self._log, self.page_bytes)
        self._later, self._earlier = _by_page(self.log.frames), _by_page(self.log.earlier)
        # A garbled frame may name any page: there are no more of them than the files have room for.
        most = (len(self._main) + len(self._log)) // self.page_bytes + 1
        numbers = [number for number in (*self._later, *self._earlier) if number <= most]
        self.page_count = max(-(-len(self._main) // self.page_bytes), *numbers, 0)
        self.free = self._free_pages()
        self.in_chains: set[int] = set()
        """Pages that hold the rest of a long row which was read."""

    def _announced(self) -> int:
        size = int.from_bytes(self._main[16:18])
        size = 65536 if size == 1 else size
        return size if self._main[:15] == b"SQLite format 3" and size >= 512 and size & (size - 1) == 0 else 0

    def versions(self, number: int) -> Iterator[bytes]:
        """A page as it was written, the last time first."""
        for at in reversed(self._later.get(number, [])):
            yield self._log[at : at + self.page_bytes]
        begin = (number - 1) * self.page_bytes
        if page := self._main[begin : begin + self.page_bytes]:
            yield page.ljust(self.page_bytes, b"\0")
        for at in reversed(self._earlier.get(number, [])):
            yield self._log[at : at + self.page_bytes]

    def versions_of_cells(self, number: int) -> Iterator[tuple[list[Cell], bool]]:
        """What may be cells on a page as it was written, the last time first, and whether its head makes sense."""
        for page in self.versions(number):
            yield self._on(page, 100 if number == 1 else 0)

    def in_earlier_log(self) -> Iterator[Cell]:
        """What may be cells in frames of the log that SQLite doesn't count, or whose own head is garbled."""
        for _, at in self.log.earlier:
            page = self._log[at : at + self.page_bytes]
            cells, sensible = self._on(page, 0)
            if not sensible:
                yield from self._anywhere(page)
            yield from cells

    def _on(self, page: bytes, offset: int) -> tuple[list[Cell], bool]:
        kind = page[offset]
        count = int.from_bytes(page[offset + 3 : offset + 5])
        begin = offset + (8 if kind in (_LEAF_OF_TABLE, _LEAF_OF_INDEX) else 12)
        if begin + 2 * count > self.page_bytes:
            return [], False
        places = struct.unpack_from(f">{count}H", page, begin)
        if kind == _NODE_OF_TABLE:
            return [], self._points_to_pages(page, offset, places)
        if kind not in (_LEAF_OF_TABLE, _LEAF_OF_INDEX, _NODE_OF_INDEX):
            return [], False
        found: list[Cell] = []
        extents: list[_Extent] = []
        for at in places:
            with suppress(_NotACellError):
                cell, end = self._cell(page, at + 4 if kind == _NODE_OF_INDEX else at, table=kind == _LEAF_OF_TABLE)
                found.append(cell)
                extents.append(_Extent(at, end))
        return found, len(found) == count and _fills(page, offset, extents)

    def _points_to_pages(self, page: bytes, offset: int, places: Sequence[int]) -> bool:
        children = [int.from_bytes(page[at : at + 4]) for at in (*places, offset + 8)]
        with suppress(_NotACellError):
            extents = [_Extent(at, _varint(page, at + 4)[1]) for at in places]
            return all(0 < child <= self.page_count for child in children) and _fills(page, offset, extents)
        return False

    def is_sound(self, number: int) -> bool:
        """Whether a page, as it was last written, adds up: every byte of it used once, every cell readable."""
        return next((sensible for _, sensible in self.versions_of_cells(number)), False)

    def children(self, number: int) -> Sequence[int] | None:
        """Pages below a node of a table's tree, as it was last written; None where it is no sound one."""
        page, offset = next(self.versions(number), b""), 100 if number == 1 else 0
        if not page or page[offset] != _NODE_OF_TABLE or not self.is_sound(number):
            return None
        count = int.from_bytes(page[offset + 3 : offset + 5])
        places = (*struct.unpack_from(f">{count}H", page, offset + 12), offset + 8)
        return [int.from_bytes(page[at : at + 4]) for at in places]

    def anywhere(self, number: int, orphans: Sequence[int] = ()) -> Iterator[Cell]:
        """Cells at any place of a page as it was ever written, the last time last, whatever its head and theirs say.

        `orphans`: pages that may hold the rest of a long row whose chain is broken; such a row comes in all ways that are
        possible.
        """
        for page in reversed(list(self.versions(number))):
            yield from self._anywhere(page, orphans)

    def _anywhere(self, page: bytes, orphans: Sequence[int] = ()) -> Iterator[Cell]:
        for found in _HEAD.finditer(page):
            at = found.start()
            with suppress(_NotACellError):
                head = _head_of(page, at)
                for table in (True, False):
                    rowid, begin = _number_before(page, at) if table else (None, at)
                    exact = page[max(begin - 4, 0) : begin].endswith(_varint_bytes(head.size))
                    for payload in self._payloads(page, at, head.size, table, orphans):
                        yield Cell(rowid, _values(payload, head), exact)

    def _cell(self, page: bytes, at: int, *, table: bool) -> tuple[Cell, int]:
        """(the row, where it ends on this page)."""
        size, at = _varint(page, at)
        rowid = None
        if table:
            rowid, at = _varint(page, at)
        head = _head_of(page, at)
        if head.size != size:
            raise _NotACellError
        local = self._local_bytes(size, table=table)
        payload = next(self._payloads(page, at, size, table, ()), None)
        if payload is None:
            raise _NotACellError
        return Cell(rowid, _values(payload, head)), at + local + (4 if local < size else 0)

    def _local_bytes(self, size: int, *, table: bool) -> int:
        """Of a row, on the page of its cell."""
        usable = self.page_bytes
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        return local if local <= most else least

    def _payloads(self, page: bytes, at: int, size: int, table: bool, orphans: Sequence[int]) -> Iterator[bytes]:
        """A row's bytes; in several ways where its chain may have been broken."""
        local = self._local_bytes(size, table=table)
        if at + local > self.page_bytes:
            return
        here = page[at : at + local]
        if local == size:
            yield here
            return
        first = int.from_bytes(page[at + local : at + local + 4])
        with suppress(_NotACellError):
            yield here + self._overflow(first, size - local)
        links = -(-(size - local) // (self.page_bytes - 4))
        for link in range(min(links, _MOST_LINKS)):
            for orphan in orphans:
                with suppress(_NotACellError):
                    yield here + self._overflow(first, size - local, {link: orphan})

    def _overflow(self, number: int, size: int, instead: Mapping[int, int] = MappingProxyType({})) -> bytes:
        """`instead`: pages that stand in a chain at a place, whatever the chain says."""
        pieces: list[bytes] = []
        seen: set[int] = set()
        while size > 0:
            number = instead.get(len(pieces), number)
            if number in seen or not 0 < number <= self.page_count:
                raise _NotACellError
            seen.add(number)
            page = next(self.versions(number), None)
            if page is None:
                raise _NotACellError
            pieces.append(page[4 : 4 + min(size, self.page_bytes - 4)])
            size -= len(pieces[-1])
            number = int.from_bytes(page[:4])
        if not instead:
            self.in_chains |= seen
        return b"".join(pieces)

    def _free_pages(self) -> frozenset[int]:
        """Pages that the file gave back, as far as their list can be followed."""
        found: set[int] = set()
        head = next(self.versions(1), b"")
        trunk = int.from_bytes(head[32:36])
        while 0 < trunk <= self.page_count and trunk not in found:
            found.add(trunk)
            page = next(self.versions(trunk), None)
            if page is None:
                break
            following, count = struct.unpack_from(">II", page)
            if count <= (self.page_bytes - 8) // 4:
                found.update(struct.unpack_from(f">{count}I", page, 8))
            trunk = following
        return frozenset(found)

    def close(self) -> None:
        """Let go of both files."""
        for content in (self._main, self._log):
            if isinstance(content, mmap.mmap):
                content.close()


def _by_page(frames: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number, at in frames:
        found.setdefault(number, []).append(at)
    return found


def _bytes_of(path: Path | None) -> bytes | mmap.mmap:
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # missing, or empty
        return b""


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for k in range(9):
        if at >= len(page):
            raise _NotACellError
        byte = page[at]
        at += 1
        if k == 8:
            value = value << 8 | byte
            break
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return (value - 2**64 if value >= 2**63 else value), at


def _varint_bytes(value: int) -> bytes:
    pieces = [value & 0x7F]
    while value := value >> 7:
        pieces.append(value & 0x7F | 0x80)
    return bytes(reversed(pieces))


def _number_before(page: bytes, end: int) -> tuple[int, int]:
    """(the number that ends here, where it begins); 0 where there is none."""
    begin = end - 1
    while begin > max(end - 9, 0) and page[begin - 1] & 0x80:
        begin -= 1
    with suppress(_NotACellError):
        number, at = _varint(page, max(begin, 0))
        if at == end:
            return number, begin
    return 0, end


def _fills(page: bytes, offset: int, extents: Sequence[_Extent]) -> bool:
    """Whether cells, free blocks and fragments fill what a page says is in use, each byte once."""
    at, _count, start, fragments = struct.unpack_from(">HHHB", page, offset + 1)
    pieces = [(extent.begin, extent.end) for extent in extents]
    while at:
        if at + 4 > len(page) or len(pieces) > len(page):
            return False
        following, size = struct.unpack_from(">HH", page, at)
        pieces.append((at, at + size))
        at = following
    pieces.sort()
    apart = all(end <= begin for (_, end), (begin, _) in pairwise(pieces))
    begin, end = (pieces[0][0], pieces[-1][1]) if pieces else (len(page), len(page))
    used = sum(end - begin for begin, end in pieces)
    return apart and begin >= (start or 65536) and end <= len(page) and len(page) - (start or 65536) - used == fragments


@dataclass(frozen=True)
class _Head:
    """What a row says of itself."""

    length: int
    types: tuple[int, ...]
    size: int
    """With its head."""


def _head_of(page: bytes, at: int) -> _Head:
    # Most places of a page are ruled out by the first byte.
    if at + 2 >= len(page) or not 2 <= page[at] <= 64:
        raise _NotACellError
    length, begin = _varint(page, at)
    end, total = at + length, length
    types: list[int] = []
    while begin < end:
        kind, begin = _varint(page, begin)
        if kind < 0 or kind in (10, 11) or len(types) == _MOST_COLUMNS:
            raise _NotACellError
        types.append(kind)
        total += _BYTES_OF_TYPE[kind] if kind < 10 else (kind - 12) // 2
    if begin != end or not 3 <= total <= _LARGEST_PAYLOAD:
        raise _NotACellError
    return _Head(length, tuple(types), total)


def _values(payload: bytes, head: _Head) -> tuple[Value, ...]:
    at = head.length
    found: list[Value] = []
    for kind in head.types:
        size = _BYTES_OF_TYPE[kind] if kind < 10 else (kind - 12) // 2
        content = payload[at : at + size]
        at += size
        if kind >= 12:
            found.append(content)
        elif kind in (0, 8, 9):
            found.append(None if kind == 0 else kind - 8)
        elif kind == 7:
            found.append(struct.unpack(">d", content)[0])
        else:
            found.append(int.from_bytes(content, signed=True))
    return tuple(found)
