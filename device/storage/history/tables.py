"""The history's file: its tables, its connections, the levels of its sums.

Other than the outbox, it may lose its newest transactions in a power cut (`synchronous = NORMAL`): they are made again from
the outbox's records. In WAL mode readers never hold the writer up, nor it them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from device.records import QARTOD_FAIL
from device.storage.database import refusal
from device.storage.sums import is_damage, tolerant_text

__all__ = [
    "DAY_US",
    "FOLDER",
    "LEVELS",
    "SCHEMA_VERSION",
    "UNITS",
    "Level",
    "NotHistoryError",
    "count_sums",
    "database_in",
    "interval_sums",
    "open_for_reading",
    "open_for_writing",
    "rolled",
    "stored_span",
]

FOLDER: Final = "history"
"""In the store's folder."""
SCHEMA_VERSION: Final = 1

UNITS: Final = (None, "m^3", "mL")
"""Of volumes, by number."""

_LOG_BYTES = 4 * 2**20
_BUSY_S = 5.0


@dataclass(frozen=True)
class Level:
    """Sums over spans of one length; an interval belongs to the span that it begins in."""

    number: int
    length_us: int


LEVELS: Final = (Level(0, 600_000_000), Level(1, 3_600_000_000), Level(2, 86_400_000_000))
"""Ten minutes, hours, days (UTC)."""
DAY_US: Final = LEVELS[-1].length_us

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "CREATE TABLE labels (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE spools (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    # number: in the order of storing. loose: nobody vouched for the clock. volume: NULL where no concentration can be told.
    """CREATE TABLE intervals (
        number INTEGER PRIMARY KEY, spool INTEGER NOT NULL, seq INTEGER NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL,
        unit INTEGER NOT NULL, volume REAL, dead_time_s REAL NOT NULL, qc INTEGER NOT NULL, captured INTEGER NOT NULL,
        analysed INTEGER NOT NULL, dropped INTEGER NOT NULL, unchecked INTEGER NOT NULL, loose INTEGER NOT NULL, UNIQUE (spool, seq)
    )""",
    "CREATE INDEX intervals_by_time ON intervals (start_us, end_us)",
    # weight: particles that each counted one stands for. uncertainty: of the concentration's scale, relative, in 1/10,000.
    """CREATE TABLE counts (
        interval INTEGER NOT NULL, label INTEGER NOT NULL, n INTEGER NOT NULL, weight REAL NOT NULL, uncertainty INTEGER NOT NULL,
        PRIMARY KEY (interval, label)
    ) WITHOUT ROWID""",
    # start: in lengths of the level since 1970.
    """CREATE TABLE sums (
        level INTEGER NOT NULL, start INTEGER NOT NULL, intervals INTEGER NOT NULL, looked INTEGER NOT NULL, failed INTEGER NOT NULL,
        covered_s REAL NOT NULL, dead_time_s REAL NOT NULL, volume_m3 REAL NOT NULL, volume_ml REAL NOT NULL,
        analysed INTEGER NOT NULL, dropped INTEGER NOT NULL, qc INTEGER NOT NULL, PRIMARY KEY (level, start)
    ) WITHOUT ROWID""",
    # Over intervals that looked for the label and did not fail: particles counted; volume; counted * weight; counted * weight^2;
    # volume * weight; volume * uncertainty.
    """CREATE TABLE label_sums (
        level INTEGER NOT NULL, unit INTEGER NOT NULL, label INTEGER NOT NULL, start INTEGER NOT NULL, n INTEGER NOT NULL,
        volume REAL NOT NULL, particles REAL NOT NULL, squares REAL NOT NULL, exposure REAL NOT NULL, spread REAL NOT NULL,
        PRIMARY KEY (level, unit, label, start)
    ) WITHOUT ROWID""",
    "CREATE TABLE sizes (label INTEGER NOT NULL, day INTEGER NOT NULL, bin INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (day, label, bin)) WITHOUT ROWID",
    # score: in 1/1000, -1 where there is none. behind: the record's seq is that of its interval less this. esd: 0.01 um; z: 0.1 um.
    """CREATE TABLE particles (
        label INTEGER NOT NULL, day INTEGER NOT NULL, score INTEGER NOT NULL, interval INTEGER NOT NULL, behind INTEGER NOT NULL,
        esd INTEGER NOT NULL, esd_uncertainty INTEGER NOT NULL, z INTEGER NOT NULL, PRIMARY KEY (label, day, score, interval, behind)
    ) WITHOUT ROWID""",
    # The same of the day that is not over, in the order of storing: in that of their scores each would cost the flash a page.
    """CREATE TABLE fresh_particles (
        number INTEGER PRIMARY KEY, label INTEGER NOT NULL, day INTEGER NOT NULL, score INTEGER NOT NULL, interval INTEGER NOT NULL,
        behind INTEGER NOT NULL, esd INTEGER NOT NULL, esd_uncertainty INTEGER NOT NULL, z INTEGER NOT NULL
    )""",
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY, spool INTEGER NOT NULL, seq INTEGER NOT NULL, since_us INTEGER NOT NULL, id TEXT NOT NULL,
        code TEXT NOT NULL, severity TEXT NOT NULL, message TEXT NOT NULL, value, unit TEXT, UNIQUE (spool, seq)
    )""",
    "CREATE INDEX events_by_time ON events (since_us)",
)  # fmt: skip
_SMALL = ("meta", "labels", "spools", "intervals", "counts", "sums", "label_sums", "sizes", "events")
"""Looked through at every opening; the particles are many, and looked at when somebody asks."""


class NotHistoryError(Exception):
    """The file can't be taken for this box's history: damaged, another box's, or a newer program's."""


def database_in(folder: Path) -> Path:
    """Of the history in a store's folder."""
    return folder / FOLDER / "history.sqlite"


def open_for_writing(path: Path, device_id: str) -> sqlite3.Connection:
    """The one that writes; a new file where there is none.

    NotHistoryError where the file is of no use; TransientError or InputError where it can't be opened.
    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
    except (OSError, sqlite3.OperationalError) as error:
        raise refusal(sqlite3.OperationalError(str(error)), path) from error
    try:
        database.text_factory = tolerant_text
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        _made_or_known(database, device_id)
    except sqlite3.DatabaseError as error:
        database.close()
        if is_damage(error):
            raise NotHistoryError(str(error)) from error
        raise refusal(error, path) from error
    except BaseException:
        database.close()
        raise
    return database


def _made_or_known(database: sqlite3.Connection, device_id: str) -> None:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not version and not tables:
        with database:
            database.execute("BEGIN IMMEDIATE")
            for statement in _TABLES:
                database.execute(statement)
            database.execute("INSERT INTO meta VALUES ('device_id', ?)", (device_id,))
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return
    if version != SCHEMA_VERSION or not tables >= {*_SMALL, "particles", "fresh_particles"}:
        raise NotHistoryError(f"its tables are of version {version}, not {SCHEMA_VERSION}")
    for table in _SMALL:
        found = str(database.execute(f"PRAGMA quick_check({table})").fetchone()[0])
        if found != "ok":
            raise NotHistoryError(found)
    owner = database.execute("SELECT value FROM meta WHERE key = 'device_id'").fetchone()
    if owner is None or owner[0] != device_id:
        raise NotHistoryError(f"it is that of {owner[0] if owner else 'nobody'}")


def open_for_reading(path: Path) -> sqlite3.Connection:
    """One that can't write; sqlite3.OperationalError where there is no file."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_BUSY_S)
    database.text_factory = tolerant_text
    return database


def stored_span(database: sqlite3.Connection) -> tuple[int, int] | None:
    """Begins, us, of the first and of the last interval, also of those that are left in sums alone; None where there is none."""
    # Apart, each is one look at an index's edge.
    ends = "SELECT (SELECT min(start_us) FROM intervals), (SELECT max(start_us) FROM intervals), (SELECT min(start) FROM sums WHERE level = 2)"
    first, last, day = database.execute(ends).fetchone()
    if first is None:
        return None
    is_whole = database.execute("SELECT min(number) FROM intervals").fetchone()[0] == 1
    return (first if is_whole or day is None else min(first, day * DAY_US)), last


def rolled(database: sqlite3.Connection, level: Level) -> int:
    """Number of the last interval that is in the level's sums; 0 where none is."""
    row = database.execute("SELECT value FROM meta WHERE key = ?", (f"rolled_{level.number}",)).fetchone()
    return 0 if row is None else int(row[0])


def interval_sums(where: str) -> str:
    """SQL of the rows of `sums` from `level` on, but for that; `where` chooses intervals, `:level` and `:length` say the level."""
    return f"""SELECT :level AS level, start_us / :length AS start, count(*) AS intervals, sum(analysed > 0) AS looked,
        sum(qc = {QARTOD_FAIL}) AS failed, sum((end_us - start_us) / 1e6) AS covered_s, sum(dead_time_s) AS dead_time_s,
        total(CASE WHEN unit = 1 AND qc <> {QARTOD_FAIL} THEN volume END) AS volume_m3,
        total(CASE WHEN unit = 2 AND qc <> {QARTOD_FAIL} THEN volume END) AS volume_ml,
        sum(analysed) AS analysed, sum(dropped) AS dropped, max(qc) AS qc FROM intervals WHERE {where} GROUP BY 2"""  # noqa: S608  no input


def count_sums(where: str) -> str:
    """SQL of the rows of `label_sums`, as `interval_sums`: of what did not fail quality control."""
    return f"""SELECT :level AS level, CASE WHEN volume IS NULL THEN 0 ELSE unit END AS unit, label, start_us / :length AS start,
        sum(n) AS n, total(volume) AS volume, sum(n * weight) AS particles, sum(n * weight * weight) AS squares,
        total(volume * weight) AS exposure, total(volume * uncertainty) / 1e4 AS spread
        FROM intervals CROSS JOIN counts ON interval = number WHERE qc <> {QARTOD_FAIL} AND {where} GROUP BY 2, 3, 4"""  # noqa: S608  no input
