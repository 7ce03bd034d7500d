"""The running service keeps crops for review, and nothing about them can cost a detection."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from device.records import QARTOD_FAIL, QARTOD_SUSPECT, Detection, Interval, from_json
from device.storage.outbox import Outbox
from device.storage.review import FOLDER, ReviewFolder
from tests.brokers import free_port
from tests.services import Service


def configured(folder: Path, review: str, reconstruction: str = "backpropagate", intervals: int = 1) -> Service:
    service = Service.configured(
        folder,
        f"mqtt://127.0.0.1:{free_port()}",
        intervals=intervals,
        reconstruction=reconstruction,
        mqtt=f"[review]\n{review}",
    )
    if reconstruction == "hidef":
        service.config.write_text(service.config.read_text().replace('classifier_model = ""\n', ""))
    return service


def committed(folder: Path) -> tuple[list[Detection], list[Interval]]:
    outbox = Outbox(folder / "store", "test-box")
    rows = outbox.pending(10_000)
    outbox.close()
    return (
        [from_json(row.body, Detection) for row in rows if row.kind == "detections"],
        [from_json(row.body, Interval) for row in rows if row.kind == "intervals"],
    )


def test_every_detection_is_kept_where_the_share_is_all(tmp_path: Path) -> None:
    status, output = configured(tmp_path, "random_share = 1.0", intervals=2).run()
    assert status == 0, output
    detections, _ = committed(tmp_path)
    folder = ReviewFolder(tmp_path / "store" / FOLDER)
    entries = folder.entries()
    assert len(detections) > 3
    assert {entry.id for entry in entries} == {detection.id for detection in detections}
    assert {entry.reason for entry in entries} == {"random"}
    # The particle is in the middle of its crop.
    for crop in map(folder.read, entries):
        assert crop is not None
        strength = np.hypot(crop.image[..., 0], crop.image[..., 1])
        # A grain whose phase is a whole turn looks empty inside: its outline is what lies around the middle.
        rows, columns = np.mgrid[: strength.shape[0], : strength.shape[1]]
        middle = (strength.shape[0] - 1) / 2
        assert abs((strength * rows).sum() / strength.sum() - middle) < 6
        assert abs((strength * columns).sum() / strength.sum() - middle) < 6


def test_the_classifiers_doubts_are_kept(tmp_path: Path) -> None:
    status, output = configured(tmp_path, "random_share = 0.0", "hidef", intervals=3).run()
    assert status == 0, output
    detections, _ = committed(tmp_path)
    folder = ReviewFolder(tmp_path / "store" / FOLDER)
    unsure = {d.id for d in detections if d.label == "unknown" or len(d.prediction_set) != 1}
    flagged = {d.id for d in detections if d.consistency.flag in (QARTOD_SUSPECT, QARTOD_FAIL)}
    about = [crop.about for crop in map(folder.read, folder.entries()) if crop is not None]
    assert unsure
    assert {a.id for a in about if a.reason == "inconsistent"} == flagged
    assert {a.id for a in about if a.reason == "uncertain"} == unsure - flagged
    labels = {d.id: d.label for d in detections}
    assert all(a.label == labels[a.id] for a in about)
    assert all(a.models["classifier"].name == "bioaerosol" for a in about)


def test_a_review_folder_that_cant_be_written_costs_no_detection(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / FOLDER).write_text("in the way")
    status, output = configured(tmp_path, "random_share = 1.0", intervals=2).run()
    assert status == 0, output
    assert output.count("could not be kept for review") == 1
    detections, intervals = committed(tmp_path)
    assert detections
    assert len(intervals) == 2


def test_without_a_budget_nothing_is_kept(tmp_path: Path) -> None:
    status, output = configured(tmp_path, "budget_mb = 0\nrandom_share = 1.0").run()
    assert status == 0, output
    assert not (tmp_path / "store" / FOLDER).exists()
