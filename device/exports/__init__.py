"""Data out of the store, in formats that others read.

snapshot.py      a copy of a store that may be in use
source.py        the common reader: records of a period, interval by interval, and a survey of them
tables.py        records as tables: columns with type, unit and meaning
bundle.py        the folder that is written: all or nothing, read back, with checksums
taxa.py          what labels are called in biology
whole.py         one export from beginning to end
steady_file.py   a file that HDF5 can fill on a full disk
csv_files.py, parquet_files.py, ecotaxa.py, netcdf.py, darwincore.py, influx.py   one format each
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from device.exports.bundle import ExportBundle
from device.exports.source import RecordSource

__all__ = ["FORMATS", "writer"]

_MODULES = {
    "csv": "csv_files",
    "parquet": "parquet_files",
    "ecotaxa": "ecotaxa",
    "netcdf": "netcdf",
    "darwincore": "darwincore",
    "influx": "influx",
}
FORMATS = tuple(_MODULES)


def writer(name: str) -> Callable[[RecordSource, ExportBundle], None]:
    """`write(source, bundle)` of a format; its libraries are imported here and not before."""
    write: Callable[[RecordSource, ExportBundle], None] = importlib.import_module(f"{__name__}.{_MODULES[name]}").write
    return write
