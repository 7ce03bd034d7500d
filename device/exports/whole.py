"""One export from beginning to end, for the command and for the dashboard."""

from __future__ import annotations

from pathlib import Path

from device.config import Config
from device.errors import InputError
from device.exports import writer
from device.exports.bundle import ExportBundle
from device.exports.snapshot import snapshot
from device.exports.source import Period, RecordSource
from device.instrument import load_instrument
from device.storage.review import FOLDER, ReviewFolder

__all__ = ["export"]


def export(
    config: Config, format_name: str, period: Period, out: Path, *, force: bool = False
) -> tuple[RecordSource, ExportBundle]:
    """Copy the store, write the format into the folder `out`, read it back; InputError where nothing is in the period."""
    store = Path(config.storage.folder).expanduser()
    if period.since and period.until and period.since >= period.until:
        raise InputError("the period is empty", where="--until", expected=f"after {period.since}", got=period.until)
    write = writer(format_name)
    bundle = ExportBundle(out, force=force)
    with snapshot(store, out) as database:
        source = RecordSource(database, period, config, load_instrument(config.device.instrument), ReviewFolder(store / FOLDER))
        if not (source.survey.detections or source.survey.intervals or source.survey.events):
            words = f"none from {period.since or 'the beginning'} to {period.until or 'now'}"
            raise InputError("nothing to export", where=store, expected="records in the period", got=words)
        with bundle:
            write(source, bundle)
    return source, bundle
