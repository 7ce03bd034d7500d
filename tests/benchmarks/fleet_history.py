"""How long the fleet's pages take while a collector commits: `python -m tests.benchmarks.fleet_history`; and what a record costs.

A real PostgreSQL with its settings as they come. Ten boxes of a season are made in the real tables, by month: 100,000 intervals
each, whole, and a million particles each, of which the records as they came were given up but for the last days. Sums are made by
the database's own functions. Then every question that a page asks is asked again and again, about random boxes and times, while a
collector commits four batches a second. The keys of the season are not in `received`: no page asks for them.

`--record`: bytes on disk and intake of one record with the tables of before (step 7) and of today, batch about in one run.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from deploy.fleet.alarms.book import alarms
from deploy.fleet.dashboard.boxes import boxes, state_of
from deploy.fleet.dashboard.history import BoxHistory
from deploy.fleet.dashboard.pool import ConnectionPool
from deploy.fleet.database import Connection, connect
from deploy.fleet.intake import Arrival, read
from deploy.fleet.schema import migrate, steps
from deploy.fleet.store import Store, _advance, _write
from device.records import iso_time
from tests.benchmarks.fleet_load import template
from tests.faults.bends import record
from tests.postgres import Cluster

CLASSES = ("alder", "birch", "grass", "hazel", "mugwort", "nettle", "oak", "ragweed", "rare")
_SHARES = np.array([0.1, 0.25, 0.2, 0.05, 0.05, 0.15, 0.1, 0.0999, 0.0001])
_DAYS = 150
_TEMPLATES = 300
_P95_S = 0.3
"""The bar."""
_SETTINGS = {"shared_buffers": "128MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}

_INTERVALS = """INSERT INTO {part} (device_id, spool_id, seq, kind, at, received_at, record)
SELECT 'box-' || %(box)s, 'season', times.n * 200, 'intervals', at, at, t.body || jsonb_build_object(
    'device_id', 'box-' || %(box)s, 'seq', times.n * 200, 'id', 'i' || times.n, 'started_at', told(at), 'ended_at', told(at + interval '20 seconds'))
FROM (SELECT n, %(first)s::timestamptz + n * %(every)s::interval AS at FROM generate_series(1, %(intervals)s) n) times
JOIN templates t ON t.n = 1 + (times.n * 7919 + %(box)s) %% %(templates)s WHERE at >= %(since)s AND at < %(until)s"""
_PARTICLES = """INSERT INTO {part} (device_id, spool_id, seq, kind, at, received_at, id, interval_id, label, score, esd_um,
    esd_uncertainty_um, x_um, y_um, z_um, qc)
SELECT 'box-' || %(box)s, 'season', n * 200 + 1 + n %% 10, 'detections', at, at, '01J0000000000000000' || n, 'i' || n / 10,
    (%(classes)s::text[])[width_bucket(random(), %(edges)s::double precision[])], 0.3 + 0.001 * floor(700 * random()),
    24 * exp(0.2 * (random() + random() + random() - 1.5) * 2), 0.9, 4000 * random(), 3000 * random(), 500 + 100 * random(), 1
FROM (SELECT n, %(first)s::timestamptz + n * %(every)s::interval AS at FROM generate_series(1, %(particles)s) n) times
WHERE at >= %(since)s AND at < %(until)s"""
_PAYLOADS = """UPDATE {part} SET record = %s::jsonb || jsonb_build_object('seq', seq, 'id', id, 'interval_id', interval_id, 'label', label,
    'score', score, 'esd_um', esd_um, 'z_um', z_um, 'device_id', device_id) WHERE at >= %s"""
_SIZES = """INSERT INTO day_sizes SELECT device_id, (at AT TIME ZONE 'UTC')::date, label, size_class_of(esd_um), count(*)
FROM records WHERE kind = 'detections' GROUP BY 1, 2, 3, 4"""
_ROLL_UP = (
    """SELECT roll_up(1, ARRAY(SELECT r FROM records r WHERE device_id = %s AND kind = 'intervals' AND at >= %s AND at < %s))"""
)


def _bodies(rng: np.random.Generator, per_interval: float) -> Iterator[str]:
    """Intervals as boxes write them, of nine classes."""
    for _ in range(_TEMPLATES):
        counts = rng.poisson(per_interval * rng.uniform(0.2, 1.8) * _SHARES)
        named = dict(zip((*CLASSES, "total"), (int(n) for n in (*counts, counts.sum())), strict=True))
        body = record("intervals", "box", 1, "season") | {
            "counts": {label: {"n": n, "low": max(n - 2 * n**0.5, 0.0), "high": n + 2 * n**0.5 + 3} for label, n in named.items()},
            "concentration": {
                label: {"value": n * 108.0, "low": max(n - 2 * n**0.5, 0.0) * 108, "high": (n + 2 * n**0.5 + 3) * 108, "unit": "m^-3"}
                for label, n in named.items()
            },
            "volume_m3": float(rng.uniform(0.009, 0.011)), "qc": int(rng.choice([1, 1, 1, 3, 4])),
        }  # fmt: skip
        yield msgspec.json.encode(body).decode()


def made(connection: Connection, number: int, intervals: int, particles: int, whole_days: int) -> datetime:
    """The season; returns when it began."""
    last = datetime.now(UTC).replace(microsecond=0)
    first = last - timedelta(days=_DAYS)
    connection.execute("SET statement_timeout = 0; SET synchronous_commit = off; SET work_mem = '256MB'; SELECT setseed(0.5)")
    connection.execute("""CREATE TEMPORARY TABLE templates (n integer PRIMARY KEY, body jsonb)""")
    connection.execute("""CREATE FUNCTION pg_temp.told(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE
        RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""")
    for n, body in enumerate(_bodies(np.random.default_rng(1), particles / intervals), start=1):
        connection.execute("INSERT INTO templates VALUES (%s, %s)", (n, body))
    edges = [0.0, *np.cumsum(_SHARES)[:-1].tolist()]
    month = first.replace(day=1, hour=0, minute=0, second=0)
    while month <= last:
        after = (month + timedelta(days=32)).replace(day=1)
        name = f"records_{month:%Y_%m}"
        if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
            connection.execute("SELECT make_month(%s, %s)", (month, after))
        for box in range(number):
            asked = {
                "box": box, "first": first, "since": max(month, first), "until": min(after, last), "intervals": intervals, "particles": particles,
                "templates": _TEMPLATES, "classes": list(CLASSES), "edges": edges,
            }  # fmt: skip
            every = {"every": timedelta(days=_DAYS) / intervals}
            connection.execute(
                _INTERVALS.format(part=f"{name}_intervals").replace("told(", "pg_temp.told(").encode(), asked | every
            )
            every = {"every": timedelta(days=_DAYS) / particles}
            connection.execute(_PARTICLES.format(part=f"{name}_detections").encode(), asked | every)
        payload = template().replace(b"@device@", b"box").decode()
        connection.execute(_PAYLOADS.format(part=f"{name}_detections").encode(), (payload, last - timedelta(days=whole_days)))
        month = after
    connection.execute(_SIZES)
    for box in range(number):
        for day in range(0, _DAYS + 1, 10):
            begins = first + timedelta(days=day)
            connection.execute(_ROLL_UP, (f"box-{box}", begins, begins + timedelta(days=10)))
    connection.execute("VACUUM ANALYZE")
    return first


def _batch(rng: np.random.Generator, seq: int, number: int) -> list[Arrival]:
    """An interval with a hundred detections, as of this moment."""
    box, now = f"box-{rng.integers(number)}", datetime.now(UTC)
    found: list[Arrival] = []
    for k in range(101):
        kind, stamps = ("detections", ("captured_at",)) if k < 100 else ("intervals", ("started_at", "ended_at"))
        body = record(kind, box, seq + k, "now") | dict.fromkeys(stamps, iso_time(now)) | {"label": str(rng.choice(CLASSES))}
        arrival = read(f"holonode/v1/{box}/{kind}", msgspec.json.encode(body))
        assert isinstance(arrival, Arrival)
        found.append(arrival)
    return found


def questions(pool: ConnectionPool, first: datetime, number: int, rng: np.random.Generator) -> dict[str, Callable[[], object]]:
    """What pages ask, about random boxes and times."""
    last = first + timedelta(days=_DAYS)

    def box() -> BoxHistory:
        return BoxHistory(pool, f"box-{rng.integers(number)}")

    def between(days: float) -> tuple[str, str]:
        begin = first + timedelta(days=float(rng.uniform(0, _DAYS - days)))
        return iso_time(begin), iso_time(begin + timedelta(days=days))

    def label() -> str:
        return str(rng.choice(CLASSES[:-1]))

    def sure() -> float:
        return float(rng.uniform(0, 0.9))

    season = iso_time(first), iso_time(last)
    return {
        "all boxes, worst first": lambda: pool.ask(boxes),
        "alarms": lambda: pool.ask(alarms),
        "a box as it is": lambda: pool.ask(lambda connection: state_of(connection, f"box-{rng.integers(number)}")),
        "season by day, all classes": lambda: box().series(*season, 160),
        "season, 800 points, total": lambda: box().series(*season, 800, ["total"]),
        "season, 800 points, all classes": lambda: box().series(*season, 800),
        "three boxes, one class, season": lambda: [box().series(*season, 400, ["birch"]) for _ in range(3)],
        "30 days by hour, all classes": lambda: box().series(*between(30), 721),
        "30 days by hour, one class": lambda: box().series(*between(30), 721, [label()]),
        "one day, every interval, all classes": lambda: box().series(*between(1), 800),
        "sizes, season": lambda: box().sizes(*season),
        "sizes, a week, one class": lambda: box().sizes(*between(7), label()),
        "gaps over an hour, season": lambda: box().gaps(*season, 3600),
        "gaps over five minutes, a week": lambda: box().gaps(*between(7), 300),
        "events, season": lambda: box().events(*season, 500),
        "surest of a class, season": lambda: box().particles(label(), *season, 0.0, "-score", 50, None),
        "surest of a rare class, a month": lambda: box().particles("rare", *between(30), 0.0, "-score", 50, None),
        "newest of a rare class, season": lambda: box().particles("rare", *season, 0.0, "-time", 50, None),
        "surest of all classes, season": lambda: box().particles(None, *season, 0.0, "-score", 50, None),
        "least sure above a bound, a day": lambda: box().particles(label(), *between(1), sure(), "score", 50, None),
        "newest of a class, a month": lambda: box().particles(label(), *between(30), 0.0, "-time", 50, None),
        "a page of intervals": lambda: box().intervals(*between(10), 500),
        "status": lambda: box().status(),
    }


def _asked(asked: dict[str, Callable[[], object]], times: int) -> list[str]:
    slow: list[str] = []
    print(f"{'question':40}  {'p50':>9}  {'p95':>9}  n {times}", flush=True)
    for name, ask in asked.items():
        walls: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            ask()
            walls.append(time.perf_counter() - began)
        p50, p95 = np.quantile(walls, 0.5), np.quantile(walls, 0.95)
        slow += [name] * bool(p95 > _P95_S)
        print(f"{name:40}  {p50 * 1e3:6.1f} ms  {p95 * 1e3:6.1f} ms{'  SLOW' if p95 > _P95_S else ''}", flush=True)
    return slow


def history(cluster: Cluster, number: int, intervals: int, particles: int, whole_days: int, times: int) -> list[str]:
    """Questions that took too long."""
    address, began = cluster.new_database(), time.monotonic()
    with connect(address) as connection:
        migrate(connection)
        first = made(connection, number, intervals, particles // number, whole_days)
        row = connection.execute("SELECT pg_database_size(current_database()), (SELECT count(*) FROM records)").fetchone()
        assert row is not None
        print(f"{row[1]} records, {row[0] / 2**30:.1f} GiB, made in {time.monotonic() - began:.0f} s", flush=True)
    stop, commits = threading.Event(), []

    def commit() -> None:
        rng, seq = np.random.default_rng(3), 1
        with contextlib.closing(Store(address)) as store:
            while not stop.wait(0.25):
                batch, start = _batch(rng, seq, number), time.monotonic()
                store.commit(batch)
                commits.append(time.monotonic() - start)
                seq += len(batch)

    thread, pool = threading.Thread(target=commit), ConnectionPool(address)
    thread.start()
    try:
        slow = _asked(questions(pool, first, number, np.random.default_rng(2)), times)
    finally:
        stop.set()
        thread.join()
        pool.close()
    print(
        f"{len(commits)} batches of 101 committed meanwhile, p50 {np.quantile(commits, 0.5) * 1e3:.0f} ms, p95 {np.quantile(commits, 0.95) * 1e3:.0f} ms"
    )
    return slow


def _larger(form: bytes) -> bytes:
    """With nine classes and three models."""
    body = msgspec.json.decode(form)
    body["probabilities"] = {name: round(0.7 - 0.0731 * k, 6) for k, name in enumerate(CLASSES)}
    body["models"] = dict.fromkeys(("reconstruction", "segmentation", "classifier"), body["models"]["classifier"])
    return msgspec.json.encode(body)


def of_a_record(cluster: Cluster, batches: int, form: bytes) -> None:
    """Bytes and time of one, with the tables of before and of today."""
    made_of = {"before (step 7)": steps()[:7], "today": steps()}
    lines: dict[str, Connection] = {}
    for name, wanted in made_of.items():
        lines[name] = connect(cluster.new_database())
        migrate(lines[name], wanted)
    took: dict[str, list[float]] = {name: [] for name in lines}
    for k in range(batches):
        arrivals: list[Arrival] = []
        for n in range(500):
            seq = k * 500 + n + 1
            told = (
                form.replace(b"@device@", b"box-%d" % (n % 10))
                .replace(b"@spool@", b"01J9Z3K5T7V9X1B3D5F7H9K1M3")
                .replace(b"987654321", str(seq).encode())
            )
            told = told.replace(b"@id@", b"01J9Z3K5T7V9X1B3D5%08d" % seq).replace(b"@at@", iso_time(datetime.now(UTC)).encode())
            arrival = read(f"holonode/v1/box-{n % 10}/detections", told)
            assert isinstance(arrival, Arrival), arrival
            arrivals.append(arrival)
        for name, connection in lines.items():
            began = time.perf_counter()
            _write(connection, arrivals, [])
            _advance(connection, [(a.key, a.at) for a in arrivals], again=False)
            took[name].append(time.perf_counter() - began)
    sizes: dict[str, float] = {}
    for name, connection in lines.items():
        connection.execute("VACUUM ANALYZE")
        query = """SELECT sum(pg_total_relation_size(c.oid)) FILTER (WHERE relname LIKE 'records%%'), sum(pg_total_relation_size(c.oid))
            FILTER (WHERE relname = 'received') FROM pg_class c WHERE relnamespace = 'holonode'::regnamespace AND relkind = 'r' AND %s = 1"""
        row = connection.execute(query, (1,)).fetchone()
        assert row is not None
        sizes[name] = float(row[0]) / (batches * 500)
        print(
            f"{name:16} {sizes[name]:7.0f} bytes a record, {float(row[1]) / (batches * 500):4.0f} its key; {len(form)} as JSON"
        )
    with contextlib.closing(lines["today"]) as today:
        today.execute("UPDATE records SET record = NULL")
        today.execute("VACUUM FULL")
        row = today.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'records_%'"
        ).fetchone()
        assert row is not None
        print(f"{'  given up':16} {float(row[0]) / (batches * 500):7.0f} bytes a record")
    lines["before (step 7)"].close()
    before, after = (np.array(took[name][2:]) for name in lines)
    ratio = after / before
    print(f"intake, batches of 500 in turn: {np.median(before) * 2:.3f} ms a record before, {np.median(after) * 2:.3f} today; today / before "
          f"{np.median(ratio):.2f} (quartiles {np.quantile(ratio, 0.25):.2f} to {np.quantile(ratio, 0.75):.2f}, n {len(ratio)})")  # fmt: skip


def main() -> int:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=10)
    parser.add_argument("--intervals", type=int, default=100_000, help="of each box")
    parser.add_argument("--particles", type=int, default=10_000_000, help="of all boxes")
    parser.add_argument("--whole-days", type=int, default=7, help="of which the records as they came are still there")
    parser.add_argument("--times", type=int, default=40, help="each question is asked so often")
    parser.add_argument("--record", action="store_true", help="only what a record costs")
    args = parser.parse_args()
    cluster = Cluster.made(fsync=True)
    cluster.settings.update(_SETTINGS)
    try:
        cluster.start()
        for form in (template(), _larger(template())):
            of_a_record(cluster, 40, form)
        slow = [] if args.record else history(cluster, args.boxes, args.intervals, args.particles, args.whole_days, args.times)
    finally:
        cluster.remove()
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
