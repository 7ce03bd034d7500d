"""CSV: RFC 4180, UTF-8, one file a kind of record; names end in their unit, columns.csv says what each means.

Texts are cleaned of control characters, and begin with an apostrophe where a spreadsheet would take them for a formula.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from device.exports.bundle import ExportBundle
from device.exports.source import RecordSource
from device.exports.tables import Table, tables
from device.text import cell

__all__ = ["write"]

_GUARD = [
    "*.csv",
    "(every text)",
    "text",
    "",
    "An apostrophe before = + - @ guards against spreadsheets that compute cells; strip it",
]


def write(source: RecordSource, bundle: ExportBundle) -> None:
    """detections.csv, intervals.csv, events.csv and columns.csv."""
    found = tables(source)
    for table in found:
        columns = table.flat()
        rows = ([_cell(column.get(row)) for column in columns] for row in table.rows())
        _write(bundle, f"{table.name}.csv", [cell(column.name) for column in columns], rows, table.length)
    meanings = [row for table in found for row in _meanings(table)] + [_GUARD]
    _write(bundle, "columns.csv", ["file", "column", "kind", "unit", "meaning"], meanings, len(meanings))


def _meanings(table: Table) -> list[list[str]]:
    return [[f"{table.name}.csv", *map(cell, (c.name, c.kind, c.unit, c.text))] for c in table.flat()]


def _cell(value: Any) -> Any:
    # csv writes None as nothing and numbers with as many digits as they have.
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(value) if isinstance(value, str) else value


def _write(bundle: ExportBundle, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]], length: int) -> None:
    with bundle.begin(name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(header)
        writer.writerows(rows)
    bundle.end(name, length, _count)


def _count(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1
