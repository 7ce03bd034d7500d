"""Parquet: one file a kind of record, typed; probabilities and features are maps; units and origin in the metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from device import __version__
from device.errors import InputError
from device.exports.bundle import ExportBundle
from device.exports.source import RecordSource
from device.exports.tables import Column, Table, tables
from device.installation import how_to_install

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise InputError(
        "Parquet needs a library that is not installed", expected="pyarrow",
        remedy=how_to_install("export") + ". CSV and Darwin Core need none.",
    ) from error  # fmt: skip

__all__ = ["write"]

_BLOCK_ROWS = 10_000
"""Rows in memory at a time, and of a row group."""

_TYPES = {
    "text": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
    "integer": pa.int64(),
    "real": pa.float64(),
    "flag": pa.bool_(),
    "map": pa.map_(pa.string(), pa.float64()),
}


def write(source: RecordSource, bundle: ExportBundle) -> None:
    """detections.parquet, intervals.parquet and events.parquet."""
    origin = {
        "holonode.version": __version__,
        "holonode.device_id": source.device_id,
        "holonode.spool_id": source.spool_id,
        "holonode.place": json.dumps(source.configuration["site"]),
        "holonode.configuration": json.dumps(source.configuration),
        "holonode.config_hash": source.config_hash,
        "holonode.models": json.dumps(source.survey.models),
    }
    for table in tables(source):
        schema = pa.schema([_field(column) for column in table.columns], metadata=origin)
        name = f"{table.name}.parquet"
        with pq.ParquetWriter(bundle.begin(name), schema, compression="zstd", write_page_checksum=True) as writer:
            for block in _blocks(table):
                arrays = [pa.array([_cell(c, row) for row in block], type=_TYPES[c.kind]) for c in table.columns]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        bundle.end(name, table.length, _count)


def _field(column: Column) -> Any:
    metadata = {"meaning": column.text} | ({"unit": column.unit} if column.unit else {})
    return pa.field(column.name, _TYPES[column.kind], metadata=metadata)


def _blocks(table: Table) -> Iterator[list[Any]]:
    rows = iter(table.rows())
    while block := list(islice(rows, _BLOCK_ROWS)):
        yield block


def _cell(column: Column, row: Any) -> Any:
    value = column.get(row)
    if value is None:
        return None
    if column.kind == "time":
        return datetime.fromisoformat(value)
    return list(value.items()) if column.kind == "map" else value


def _count(path: Path) -> int:
    """Rows, every page of them decoded."""
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        return sum(batch.num_rows for batch in file.iter_batches(batch_size=_BLOCK_ROWS))
