"""How long the history's answers take while the box commits: `python -m tests.benchmarks.web_history --work runs/web_history`.

A season is made once in the work folder: intervals of nine classes over 150 days, with nights off, and their particles; then
a day that is not over, committed as a box does. Then every question that a page asks is asked again and again, about random
times, and packed as a page gets it, while another thread commits an interval with a hundred detections four times a second to the
outbox beside it and the history is kept up with that.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.identifiers import record_ulid
from device.records import Detection, Interval
from device.storage.history import HistoryKeeper, HistoryReader
from device.storage.history.entries import bin_of, from_us, to_us
from device.storage.history.tables import DAY_US, LEVELS, database_in, open_for_writing
from device.storage.history.writer import HistoryWriter
from device.storage.outbox import Outbox
from device.web.serving.answers import response_of
from tests.stores import detection, interval

CLASSES = ("alder", "birch", "grass", "hazel", "mugwort", "nettle", "oak", "ragweed", "rare")
_SHARES = np.array([0.1, 0.25, 0.2, 0.05, 0.05, 0.15, 0.1, 0.0999, 0.0001])
_START_US = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1e6)
_EVERY_US = 129_600_000
_AT_ONCE = 500_000
_OF_A_DAY = 660
"""Intervals."""
_P95_S = 0.1
"""The bar."""


def made(folder: Path, intervals: int, particles: int, seed: int = 1) -> None:
    """A season, in the tables that the writer fills; sums by the writer's own statements."""
    rng = np.random.default_rng(seed)
    database = open_for_writing(database_in(folder), "box-1")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("BEGIN")
    database.execute("INSERT INTO spools (name) VALUES ('season')")
    database.executemany("INSERT INTO labels (name) VALUES (?)", [(name,) for name in (*CLASSES, "total")])
    number = np.arange(1, intervals + 1)
    start = _START_US + number * _EVERY_US + (number // _OF_A_DAY) * 3 * 3_600_000_000  # three hours off every day
    volume = rng.uniform(0.009, 0.011, intervals)
    qc = rng.choice([1, 1, 1, 3, 4], intervals)
    hour = (start // 3_600_000_000) % 24
    mean = particles / intervals * (1 + 0.8 * np.sin((hour - 6) / 24 * 2 * np.pi))
    counts = rng.poisson(mean[:, None] * _SHARES)
    rows = zip(
        number.tolist(),
        (number * 150).tolist(),
        start.tolist(),
        (start + 20_000_000).tolist(),
        volume.tolist(),
        qc.tolist(),
        strict=True,
    )
    database.executemany("INSERT INTO intervals VALUES (?, 1, ?, ?, ?, 1, ?, 0.5, ?, 10, 10, 0, 0, 0)", rows)
    for label in range(len(CLASSES) + 1):
        n = counts[:, label] if label < len(CLASSES) else counts.sum(axis=1)
        rows = zip(number.tolist(), n.tolist(), strict=True)
        database.executemany(f"INSERT INTO counts VALUES (?, {label + 1}, ?, 1.08, 520)", rows)
    for label in range(len(CLASSES)):
        _particles_of(database, label, counts[:, label], start, rng)
    database.execute("COMMIT")
    writer = HistoryWriter(database, 2**40)
    with database:
        database.execute("BEGIN")
        for level in LEVELS:
            last = np.flatnonzero(start // level.length_us < start[-1] // level.length_us)[-1]
            writer._roll(level, int(number[last]))
        writer.keep(particles=int(counts.sum()))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _particles_of(
    database: sqlite3.Connection, label: int, counts: NDArray[np.int64], start: NDArray[np.int64], rng: np.random.Generator
) -> None:
    interval = np.repeat(np.arange(1, len(counts) + 1), counts)
    day = start[interval - 1] // DAY_US
    score = rng.integers(300, 1000, len(interval))
    behind = 1 + label * 40 + np.concatenate([np.arange(n) for n in counts]) if len(interval) else interval
    esd = rng.lognormal(np.log(2400), 0.2, len(interval)).astype(int)
    order = np.lexsort((behind, interval, score, day))
    for first in range(0, len(order), _AT_ONCE):
        chosen = order[first : first + _AT_ONCE]
        columns = (column[chosen].tolist() for column in (day, score, interval, behind, esd))
        database.executemany(f"INSERT INTO particles VALUES ({label + 1}, ?, ?, ?, ?, ?, 90, 5000)", zip(*columns, strict=True))
    classes = np.array([bin_of(value / 100) for value in range(20_001)])[np.minimum(esd, 20_000)]
    keys, n = np.unique(np.stack([day, classes]), axis=1, return_counts=True)
    rows = [(label + 1, int(d), int(k), int(c)) for d, k, c in zip(*keys, n, strict=True)]
    database.executemany("INSERT INTO sizes VALUES (?, ?, ?, ?)", rows)


def questions(reader: HistoryReader, rng: np.random.Generator) -> dict[str, Callable[[], object]]:
    """What pages ask, about random times."""
    span = reader.span()
    assert span is not None
    first, last = _START_US, _START_US + 150 * DAY_US

    def between(days: float) -> tuple[str, str]:
        begin = int(rng.uniform(first, max(last - days * DAY_US, first + 1)))
        return from_us(begin), from_us(begin + round(days * DAY_US))

    def label() -> str:
        return str(rng.choice(CLASSES[:-1]))

    def sure() -> float:
        return float(rng.uniform(0, 0.9))

    season = from_us(first), from_us(last)
    today = from_us(to_us(span[1]) - DAY_US), span[1]
    ages = "1990-01-01T00:00:00Z", "2040-01-01T00:00:00Z"
    return {
        "season by day, all classes": lambda: reader.series(*season, 160),
        "season, 800 points, total": lambda: reader.series(*season, 800, ["total"]),
        "season, 800 points, all classes": lambda: reader.series(*season, 800),
        "50 years, 800 points, total": lambda: reader.series(*ages, 800, ["total"]),
        "30 days by hour, all classes": lambda: reader.series(*between(30), 721),
        "30 days by hour, one class": lambda: reader.series(*between(30), 721, [label()]),
        "one day, every interval, all classes": lambda: reader.series(*between(1), 800),
        "the last day by ten minutes, all": lambda: reader.series(from_us(last - DAY_US), from_us(last + DAY_US), 300),
        "sizes, season": lambda: reader.sizes(*season),
        "sizes, a week, one class": lambda: reader.sizes(*between(7), label()),
        "gaps over an hour, season": lambda: reader.gaps(*season, 3600),
        "gaps over five minutes, season": lambda: reader.gaps(*season, 300),
        "events, season": lambda: reader.events(*season, 500),
        "surest of a class, season": lambda: reader.particles(label(), *season, sort="-score", limit=50),
        "surest of a rare class, a month": lambda: reader.particles("rare", *between(30), sort="-score", limit=50),
        "surest of all classes, season": lambda: reader.particles(None, *season, sort="-score", limit=50),
        "least sure above a bound, a day": lambda: reader.particles(label(), *between(1), sure(), "score", 50),
        "newest of all classes, a day": lambda: reader.particles(None, *between(1), sort="-time", limit=50),
        "newest of all classes, the day that is not over": lambda: reader.particles(None, *today, sort="-time", limit=50),
        "surest of all classes, the day that is not over": lambda: reader.particles(None, *today, sort="-score", limit=50),
        "newest of a class, a month": lambda: reader.particles(label(), *between(30), sort="-time", limit=50),
        "a page of intervals": lambda: reader.intervals(*between(10), 500),
        "status": reader.status,
    }


def main() -> int:
    """Build where there is nothing, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/web_history"))
    parser.add_argument("--intervals", type=int, default=100_000)
    parser.add_argument("--particles", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=40, help="each question is asked so often")
    args = parser.parse_args()
    folder = args.work / f"{args.intervals}-{args.particles}"
    if not database_in(folder).exists():
        began = time.monotonic()
        partial = args.work / f"partial-{time.time_ns()}"
        partial.mkdir(parents=True)
        made(partial, args.intervals, args.particles)
        partial.rename(folder)
        print(f"made in {time.monotonic() - began:.0f} s")
    with tempfile.TemporaryDirectory(dir=args.work) as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        return 1 if _measured(Path(copy), args.times) else 0


def _measured(folder: Path, times: int) -> list[str]:
    """Names of the questions whose answers took too long, while a day goes on."""
    outbox = Outbox(folder, "box-1")
    keeper = HistoryKeeper(outbox, print, particles_bytes=2**40)
    stop = threading.Event()
    commits: list[float] = []
    random = np.random.default_rng(3)

    def commit() -> None:
        while not stop.wait(0.25):
            began = time.monotonic()
            keeper.take(outbox.commit(lambda seq: _sample(outbox, seq, random)))
            commits.append(time.monotonic() - began)

    thread = threading.Thread(target=commit)
    keeper.start()
    for _ in range(_OF_A_DAY):
        keeper.take(outbox.commit(lambda seq: _sample(outbox, seq, random)))
    while keeper.behind:
        time.sleep(0.1)
    thread.start()
    slow = _asked(keeper.reader, times)
    stop.set()
    thread.join()
    keeper.stop()
    status = keeper.reader.status()
    outbox.close()
    print(
        f"{status.intervals} intervals, {status.bytes / 2**20:.0f} MiB; {len(commits)} commits meanwhile, behind by {status.behind}"
    )
    return slow


def _sample(outbox: Outbox, first: int, rng: np.random.Generator) -> list[Detection | Interval]:
    """An interval with its detections, as of this moment."""
    now, labels = datetime.now(UTC), [str(label) for label in rng.choice(CLASSES, 100)]
    interval_id = record_ulid(now, outbox.device_id, outbox.spool_id, first, "interval")
    found = [detection(outbox, first + k, now, interval_id, label) for k, label in enumerate(labels)]
    return [*found, interval(outbox, first + len(found), now, interval_id, labels, looked=True, unit="m^-3")]


def _asked(reader: HistoryReader, times: int) -> list[str]:
    """Names of the questions whose answers took too long; all are printed."""
    rng = np.random.default_rng(2)
    slow: list[str] = []
    print(f"{'question':48}  {'p50':>8}  {'p95':>8}  {'processor p95':>13}")
    for name, ask in questions(reader, rng).items():
        walls, works = [], []
        for _ in range(times):
            wall, work = time.perf_counter(), time.thread_time()
            response_of(ask(), packed=True)
            walls.append(time.perf_counter() - wall)
            works.append(time.thread_time() - work)
        p50, p95, work = np.quantile(walls, 0.5), np.quantile(walls, 0.95), np.quantile(works, 0.95)
        slow += [name] * bool(p95 > _P95_S)
        print(f"{name:48}  {p50 * 1e3:5.1f} ms  {p95 * 1e3:5.1f} ms  {work * 1e3:10.1f} ms{'  SLOW' if p95 > _P95_S else ''}")
    return slow


if __name__ == "__main__":
    raise SystemExit(main())
