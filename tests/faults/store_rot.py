"""Rot in a store: `python -m tests.faults.store_rot --stores 500`.

A store is filled, with records that wait and records that are delivered, by a process that closes it or is killed. Then its
files are damaged: bits flipped, anywhere or where SQLite keeps its pages in order, pages zeroed or garbled, the log lost, cut
or garbled, files truncated. A fresh outbox must take new records within ten seconds, give out every record whose bytes are
still whole somewhere, and publish each other one as lost under its own key; nothing may come out altered, and no key may be
used twice. In part of the stores the damage comes while the outbox works.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device.errors import HolonodeError
from device.records import Event, to_json
from device.storage.outbox import Outbox
from device.storage.sums import record_sum

READY_WITHIN_S = 10.0
_DATABASE, _LOG = "outbox.sqlite", "outbox.sqlite-wal"
_OURS = ("record_lost", "store_salvaged", "store_copied", "state_lost", "records_refused")
"""Codes of what a store tells by itself."""
_LONGEST_ON_A_PAGE = 3900
_PAGE = 4096

Damage = Callable[[Path, random.Random], None]


class Truth(msgspec.Struct):
    """What was committed."""

    records: dict[int, bytes] = {}
    """By position, which is the number in the first spool."""
    settled: set[int] = set()
    spool_id: str = ""
    boot: str = ""
    state: list[str] = []
    """Values that were kept under `state`, the last one last."""


@dataclass
class Outcome:
    """What a campaign found."""

    stores: int = 0
    records: int = 0
    whole: int = 0
    lost: int = 0
    """Told under their own keys."""
    salvaged: int = 0
    slowest_s: float = 0.0
    """Of the processor's time: other processes are no fault of the store."""
    slowest_wall_s: float = 0.0
    faults: list[str] = field(default_factory=list[str])
    damages: Counter[str] = field(default_factory=Counter[str])

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.damages.items()))
        return (
            f"{self.stores} stores ({kinds}): {self.records} records that waited, {self.whole} came out whole, {self.lost} published "
            f"as lost, {len(self.faults)} wrong in any way; {self.salvaged} salvaged; slowest start {self.slowest_s:.2f} s of the processor, {self.slowest_wall_s:.2f} s in all"
            + "".join(f"\n  {fault}" for fault in self.faults[:20])
        )

    @property
    def sound(self) -> bool:
        return self.stores > 0 and not self.faults and self.slowest_s <= READY_WITHIN_S


# -- damages --------------------------------------------------------------------------------------------------------------


def _change(path: Path, change: Callable[[bytearray], None]) -> None:
    """In place, as a rotting flash does it."""
    if not path.exists():
        return
    content = bytearray(path.read_bytes())
    if not content:
        return
    size = len(content)
    change(content)
    with path.open("rb+") as file:
        file.write(content)
        if len(content) < size:
            file.truncate(len(content))


def _flip(name: str, most: int) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        def change(content: bytearray) -> None:
            for _ in range(rng.randint(1, most)):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)

        _change(folder / name, change)

    return damage


def _pages(fill: str) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        def change(content: bytearray) -> None:
            for _ in range(rng.randint(1, 3)):
                size = rng.choice((512, 4096, 4096, 16384))
                at = rng.randrange(max(len(content) // size, 1)) * size
                piece = bytes(size) if fill == "zeros" else rng.randbytes(size)
                content[at : at + size] = piece[: len(content[at : at + size])]

        _change(folder / rng.choice((_DATABASE, _DATABASE, _LOG)), change)

    return damage


def _bend(folder: Path, rng: random.Random) -> None:
    """Up to two bits of what keeps pages and cells in order: heads, pointers, sizes, numbers, chains, the list of free pages."""

    def change(content: bytearray) -> None:
        for _ in range(rng.randint(1, 2)):
            page = (
                rng.choice((rng.randrange(max(len(content) // _PAGE, 1)), rng.randrange(min(len(content) // _PAGE, 6)))) * _PAGE
            )
            content[rng.choice(_order_of(content, page))] ^= 1 << rng.randrange(8)

    if (folder / _DATABASE).stat().st_size >= _PAGE:
        _change(folder / _DATABASE, change)


def _order_of(content: bytearray, page: int) -> list[int]:
    """Bytes of a page that SQLite keeps for itself."""
    head = page + (100 if page == 0 else 0)
    if content[head] not in (2, 5, 10, 13):
        return list(range(page, page + 12))  # of a chain, or of the list of free pages
    length, count = 8 if content[head] > 5 else 12, int.from_bytes(content[head + 3 : head + 5])
    cells = struct.unpack_from(f">{min(count, 1000)}H", content, head + length)
    found = list(range(head, head + length)) * 4 + list(range(head + length, head + length + 2 * count))
    return [*found, *(page + at + k for at in cells for k in range(4) if at < _PAGE - 4)]


def _truncate(name: str) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        def change(content: bytearray) -> None:
            del content[rng.randrange(len(content)) :]

        _change(folder / name, change)

    return damage


def _head(name: str) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        def change(content: bytearray) -> None:
            size = min(32, len(content))
            content[:size] = rng.randbytes(size)

        _change(folder / name, change)

    return damage


def _empty(folder: Path, _rng: random.Random) -> None:
    _change(folder / _DATABASE, bytearray.clear)


def _lose_log(folder: Path, _rng: random.Random) -> None:
    (folder / _LOG).unlink(missing_ok=True)


DAMAGES: dict[str, Damage] = {
    "bit flips": _flip(_DATABASE, 1), "many bit flips": _flip(_DATABASE, 60), "bit flips in the log": _flip(_LOG, 4),
    "zeroed pages": _pages("zeros"), "garbled pages": _pages("noise"), "lost log": _lose_log, "cut database": _truncate(_DATABASE),
    "bent pages": _bend, "cut log": _truncate(_LOG), "garbled head": _head(_DATABASE), "garbled head of the log": _head(_LOG), "empty database": _empty,
}  # fmt: skip


# -- a store --------------------------------------------------------------------------------------------------------------


def event(outbox: Outbox, seq: int, rng: random.Random) -> Event:
    """A record of its own, some longer than a page."""
    length = rng.choice((10, 300, 900, 900, 900, 3000, 7000 if rng.random() < 0.2 else 900))
    return Event(
        device_id="box", spool_id=outbox.spool_id, seq=seq, id=f"{rng.getrandbits(128):032x}", code="test", severity="info",
        message="".join(rng.choices("abcdefgh", k=length)), since="2026-05-04T00:00:00.000000Z",
    )  # fmt: skip


def fill(folder: Path, rng: random.Random, *, close: bool) -> Truth:
    """Work on a store in a process of its own, which closes it or is killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outbox = Outbox(folder, "box")
            truth = _work(outbox, rng)
            if close:
                outbox.close()
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(msgspec.msgpack.encode(truth))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        truth = msgspec.msgpack.decode(pipe.read(), type=Truth)
    os.waitpid(child, 0)
    return truth


def _work(outbox: Outbox, rng: random.Random) -> Truth:
    truth = Truth({}, set(), outbox.spool_id, outbox.boot_id[-16:], [])
    share = rng.choice((0.0, 0.5, 0.9, 1.0))
    for number in range(rng.choice((5, 20, 60, 200))):
        count = rng.choice((1, 2, 5, 12))
        records = outbox.commit(
            lambda first, count=count: [event(outbox, first + k, rng) for k in range(count)], {"state": f"value {number}"}
        )
        truth.state.append(f"value {number}")
        truth.records.update({record.seq: to_json(record) for record in records})
        if rng.random() < share:
            seqs = [row.seq for row in outbox.pending(rng.choice((2, 10, 30)))]
            outbox.delivered(seqs)
            truth.settled |= set(seqs)
    return truth


@dataclass(frozen=True)
class Left:
    """What the damage left of the records; of those longer than a page nothing is said."""

    whole: set[int]
    """They stand, byte for byte and with their checksums, in one of the files."""
    in_place: set[int]
    """Of these, those that a page still points to."""


def left_of(folder: Path, truth: Truth, *, with_log: bool) -> Left:
    """Found byte for byte, apart from everything that is tested."""
    names = (_DATABASE, _LOG) if with_log else (_DATABASE,)
    contents = [(folder / name).read_bytes() if (folder / name).exists() else b"" for name in names]
    whole: set[int] = set()
    in_place: set[int] = set()
    for position, body in truth.records.items():
        front, payload = _row(position, body, truth.boot)
        if len(body) < _LONGEST_ON_A_PAGE and any(payload in content for content in contents):
            whole.add(position)
            if any(_in_place(front + payload, content, log=log) for log, content in enumerate(contents)):
                in_place.add(position)
    return Left(whole, in_place)


def _in_place(row: bytes, content: bytes, *, log: int) -> bool:
    """Whether the last page that holds it points to it."""
    at = content.rfind(row)
    if at < 0:
        return False
    head, frame = (32, 24) if log else (0, 0)
    page = head + (at - head) // (_PAGE + frame) * (_PAGE + frame) + frame
    return at - page in _pointers(content[page : page + _PAGE])


def _pointers(page: bytes) -> tuple[int, ...]:
    count = int.from_bytes(page[3:5])
    return struct.unpack_from(f">{count}H", page, 8) if 8 + 2 * count <= len(page) else ()


def _row(position: int, body: bytes, boot: str) -> tuple[bytes, bytes]:
    """As SQLite's file format has it: (payload size and rowid, types and values)."""
    known = record_sum(position, "events", body, boot)
    size = next(n for n, kind in ((1, 7), (2, 15), (3, 23), (4, 31), (6, 47)) if -(1 << kind) <= known < 1 << kind)
    types = [0, 13 + 2 * len("events"), 12 + 2 * len(body), 13 + 2 * len(boot), 8, 5 if size == 6 else size]
    head = b"".join(map(_varint, types))
    payload = bytes([len(head) + 1]) + head + b"events" + body + boot.encode() + known.to_bytes(size, signed=True)
    return _varint(len(payload)) + _varint(position), payload


def _varint(value: int) -> bytes:
    pieces = [value & 0x7F]
    while value := value >> 7:
        pieces.append(value & 0x7F | 0x80)
    return bytes(reversed(pieces))


# -- judging --------------------------------------------------------------------------------------------------------------


def judge(outbox: Outbox, truth: Truth, whole: set[int], fresh: list[Event]) -> tuple[list[str], int, int]:
    """(what is wrong, records that came out, records told as lost) of a store that was opened after the damage."""
    faults, out = _drained(outbox)
    mine = {to_json(record) for record in fresh}
    came, lost = 0, 0
    for (spool_id, seq), body in out.items():
        code = msgspec.json.decode(body)["code"]
        if spool_id == truth.spool_id and truth.records.get(seq) == body:
            came += 1
        elif body not in mine and code not in _OURS:
            faults.append(f"record {seq} came out altered")
        elif spool_id == truth.spool_id and seq in truth.records:
            lost += 1
            if code != "record_lost":
                faults.append(f"record {seq}'s key was used again, by {code}")
    for position in truth.records.keys() - truth.settled:
        body = out.get((truth.spool_id, position))
        if body is None:
            faults.append(f"record {position} waited and is gone without a word")
        elif position in whole and body != truth.records[position]:
            faults.append(f"record {position} is whole and was given up")
    return faults, came, lost


def _drained(outbox: Outbox) -> tuple[list[str], dict[tuple[str, int], bytes]]:
    """(what is wrong, everything that waits by its key) once all of it is delivered."""
    faults: list[str] = []
    out: dict[tuple[str, int], bytes] = {}
    while rows := outbox.pending(500):
        for row in rows:
            try:
                record = msgspec.json.decode(row.body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                faults.append(f"record {row.seq} came out altered: {error}")
                continue
            key = (record["spool_id"], record["seq"])
            if key in out:
                faults.append(f"{key} twice")
            out[key] = row.body
        outbox.delivered([row.seq for row in rows])
    if outbox.depth():
        faults.append(f"{outbox.depth()} wait for ever")
    return faults, out


def one_store(folder: Path, name: str, rng: random.Random, outcome: Outcome) -> None:
    """Fill, damage, open, judge."""
    truth = fill(folder, rng, close=rng.random() < 0.3)
    live = rng.random() < 0.25
    outbox = Outbox(folder, "box") if live else None
    DAMAGES[name](folder, rng)
    # While an outbox works, what its log still holds of earlier is written over by what comes next.
    left = left_of(folder, truth, with_log=not live)
    began, began_wall = time.process_time(), time.monotonic()
    fresh: list[Event] = []
    try:
        outbox = outbox or Outbox(folder, "box")
        box = outbox
        for _ in range(2):
            fresh += [r for r in box.commit(lambda first: [event(box, first, rng)]) if isinstance(r, Event)]
    except (HolonodeError, Exception) as error:  # noqa: BLE001  whatever it is, the box would not sample
        outcome.faults.append(f"store {outcome.stores} ({name}): {type(error).__name__} {error}")
        if outbox is not None:
            with contextlib.suppress(Exception):
                outbox.close()
        return
    outcome.slowest_s = max(outcome.slowest_s, time.process_time() - began)
    outcome.slowest_wall_s = max(outcome.slowest_wall_s, time.monotonic() - began_wall)
    with contextlib.closing(outbox):
        # Where SQLite reads the file, a row that no page points to is gone; salvage finds it.
        whole = left.whole if outbox.counters.salvages else left.in_place
        faults, came, lost = judge(outbox, truth, whole, fresh)
        if (value := outbox.get_state("state")) is not None and value not in truth.state:
            faults.append(f"state {value!r} that nobody kept")
        outcome.whole += came
        outcome.lost += lost
        outcome.records += len(truth.records.keys() - truth.settled)
        outcome.salvaged += outbox.counters.salvages
    how = "live" if live else "at rest"
    outcome.faults += [f"store {outcome.stores} ({name}, {how}): {fault}" for fault in faults[:3]]


def campaign(folder: Path, *, stores: int, seed: int = 1) -> Outcome:
    """Damage so many stores, every kind in turn."""
    outcome, names = Outcome(), list(DAMAGES)
    for number in range(stores):
        name = names[number % len(names)]
        outcome.damages[name] += 1
        with tempfile.TemporaryDirectory(dir=folder) as place:
            one_store(Path(place), name, random.Random(seed * 1_000_003 + number), outcome)
        outcome.stores += 1
    return outcome


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(Path(folder), stores=args.stores, seed=args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
