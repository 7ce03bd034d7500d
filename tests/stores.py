"""A store as a service leaves it: intervals with their detections, events, crops."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from device.analysis.crops import CROP_CHANNELS, CROP_PX, ParticleCrop
from device.analysis.report import RecordProvenance, SampledVolume, interval_record
from device.analysis.scene import FieldScene
from device.frames import Clock
from device.identifiers import record_ulid
from device.records import ClockRecord, Consistency, Detection, Event, FrameCounts, Interval, ModelUse, iso_time
from device.storage.outbox import Outbox
from device.storage.review import FOLDER, ReviewQueue

START = datetime(2026, 5, 4, 23, 59, 30, tzinfo=UTC)
MODELS = {"classifier": ModelUse("bioaerosol", "1.2.0", "c" * 64)}
CLASSES = ("birch", "dust", "pennate-diatom")

CONFIG = """
[device]
id = "box-1"
[storage]
folder = "{store}"
[site]
name = "Roof, \\"north\\" side"
operator = "Institut für Aerobiologie"
latitude_degrees = 47.25
longitude_degrees = 8.5
altitude_m = 410
[mqtt]
username = "watcher"
"""


def configured(folder: Path, text: str = CONFIG) -> Path:
    """A configuration whose store is in the folder."""
    config = folder / "box.toml"
    config.write_text(text.format(store=folder / "store"), encoding="utf-8")
    return config


def detection(outbox: Outbox, seq: int, at: datetime, interval_id: str, label: str) -> Detection:
    return Detection(
        device_id=outbox.device_id, spool_id=outbox.spool_id, seq=seq, id=record_ulid(at, outbox.device_id, outbox.spool_id, seq),
        interval_id=interval_id, captured_at=iso_time(at), clock=ClockRecord("ntp", True, 0.01), frame=3, x_um=10.5, y_um=20.25,
        z_um=500.0 + seq, z_uncertainty_um=5.0, bbox_px=(1, 2, 9, 8), esd_um=20.5, esd_uncertainty_um=1.0,
        features={"area_um2": 330.0 + seq, "circularity": 0.9}, label=label, score=0.8,
        probabilities={"birch": 0.8, "dust": 0.15, "pennate-diatom": 0.05}, prediction_set=(label,),
        consistency=Consistency(chi2=1.1, p=0.4, flag=1), models=MODELS, calibration_id="cal", config_hash="conf", pipeline_id="pipe", qc=1,
        confidence=0.9,
    )  # fmt: skip


def interval(
    outbox: Outbox, seq: int, at: datetime, interval_id: str, labels: list[str], *, looked: bool, unit: str
) -> Interval:
    origin = RecordProvenance(
        outbox.device_id, outbox.spool_id, "conf", "pipe", MODELS, "impactor" if unit == "m^-3" else "flow", "cal", CLASSES
    )
    return interval_record(
        origin, seq=seq, interval_id=interval_id, span=(at, at + timedelta(seconds=20)), clock=Clock(),
        frames=FrameCounts(captured=1, analysed=int(looked), dropped=int(not looked)), labels=labels,
        volume=SampledVolume(0.013 if unit == "m^-3" else 0.4, 0.05, unit),  # type: ignore[arg-type]
        dead_time_s=0.25, scenes=[FieldScene.empty((512, 512))] if looked else [],
    )  # fmt: skip


def add_interval(
    outbox: Outbox, at: datetime, labels: list[str], *, looked: bool = True, unit: str = "m^-3"
) -> list[Detection]:
    """Commit an interval, as the service does; returns its detections."""

    def build(first: int) -> list[Detection | Interval]:
        interval_id = record_ulid(at, outbox.device_id, outbox.spool_id, first, "interval")
        found = [detection(outbox, first + k, at, interval_id, label) for k, label in enumerate(labels)]
        return [*found, interval(outbox, first + len(found), at, interval_id, labels, looked=looked, unit=unit)]

    return [record for record in outbox.commit(build) if isinstance(record, Detection)]


def add_event(outbox: Outbox, at: datetime, message: str) -> None:
    def build(seq: int) -> list[Event]:
        return [
            Event(
                device_id=outbox.device_id, spool_id=outbox.spool_id, seq=seq, id=record_ulid(at, outbox.device_id, outbox.spool_id, seq),
                code="window_full", severity="alarm", message=message, value=0.25, unit="of what lands", since=iso_time(at),
            )
        ]  # fmt: skip

    outbox.commit(build)


def crop_of(number: int) -> ParticleCrop:
    image = np.zeros((CROP_PX, CROP_PX, len(CROP_CHANNELS)), np.float32)
    image[20:28, 20 : 28 + number % 5, :2] = (-0.5, 0.25)
    return ParticleCrop(image, 1.12)


def filled(folder: Path, *, crops: bool = True) -> Path:
    """A store with four intervals (one saw nothing, one could not look), an event, and a crop of every detection."""
    outbox = Outbox(folder / "store", "box-1")
    queue = ReviewQueue(folder / "store" / FOLDER, 2**24, random_share=1.0)
    seen = [["birch", "birch", "dust", "unknown"], [], ["pennate-diatom", "birch"]]
    for k, labels in enumerate(seen):
        found = add_interval(outbox, START + timedelta(seconds=60 * k), labels)
        if crops:
            queue.offer(found, crop_of)
    add_interval(outbox, START + timedelta(seconds=180), [], looked=False)
    add_event(outbox, START + timedelta(seconds=30), 'the "window" is full,\nchange it')
    outbox.close()
    return configured(folder)
