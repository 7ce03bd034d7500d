"""A model that fails its checks leaves the last good one at work, or is left out: the box goes on and says so."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from device.analysis.report import Losses, SampledVolume
from device.calibration import Calibrations
from device.config import Config, StorageConfig
from device.errors import CheckError, InputError
from device.inference.active import activate, install
from device.inference.store import ACTIVE_FILE, ModelStore
from device.instrument import load_instrument
from device.records import FrameCounts
from device.rig import models
from device.rig.models import ARTEFACTS, build_pipeline
from device.sampling.findings import Findings
from device.service.model_keeper import ModelKeeper
from device.service.work import Work
from tests.faults.models_corruption import released

GEOMETRY = load_instrument(Config().device.instrument).geometry
VOLUME = SampledVolume(1e-3, 0.1, "m^-3")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped bundles, in a place where they can be damaged."""
    folder = tmp_path / "shipped"
    shutil.copytree(ARTEFACTS, folder)
    monkeypatch.setattr(models, "ARTEFACTS", folder)
    return folder


def damage(folder: Path, name: str) -> bytes:
    path = next(folder.glob(f"{name}-[0-9]*.tflite"))
    sound = path.read_bytes()
    path.write_bytes(sound[:1000] + bytes([sound[1000] ^ 1]) + sound[1001:])
    return sound


def work_of(tmp_path: Path) -> tuple[Work, Calibrations]:
    config = msgspec.structs.replace(Config(), storage=StorageConfig(folder=str(tmp_path / "store")))
    (tmp_path / "store" / "models").mkdir(parents=True, exist_ok=True)
    calibrated = Calibrations(load_instrument(config.device.instrument), None, (), ())
    return Work.of(config, calibrated, "spool", tolerant=True), calibrated


def test_without_its_reconstruction_model_a_box_back_propagates_and_names_nothing(shipped: Path) -> None:
    damage(shipped, "hidef")
    left_out: dict[str, str] = {}
    pipeline, labels = build_pipeline(ModelStore(shipped), Config().analysis, GEOMETRY, left_out=left_out)
    assert (pipeline.network, pipeline.classifier, labels) == (None, None, ("particle",))
    assert list(left_out) == ["reconstruction"]
    assert pipeline.unclassified.owed
    assert "left out" in (pipeline.unclassified.unnamed or "")


def test_without_its_classifier_it_still_reconstructs(shipped: Path) -> None:
    damage(shipped, "bioaerosol")
    left_out: dict[str, str] = {}
    pipeline, _ = build_pipeline(ModelStore(shipped), Config().analysis, GEOMETRY, left_out=left_out)
    assert list(left_out) == ["classifier"]
    assert (pipeline.network is None, pipeline.classifier) == (False, None)
    assert pipeline.unclassified.owed


def test_without_its_model_for_few_photons_all_other_frames_are_analysed_as_ever(shipped: Path) -> None:
    damage(shipped, "hidef-low-photon")
    left_out: dict[str, str] = {}
    pipeline, labels = build_pipeline(ModelStore(shipped), Config().analysis, GEOMETRY, left_out=left_out)
    assert list(left_out) == ["low_photon"]
    assert pipeline.low_photon is None
    assert (pipeline.network is None, pipeline.classifier is None, len(labels) > 1) == (False, False, True)
    assert not pipeline.unclassified.owed


def test_whoever_doesnt_ask_for_that_gets_an_error(shipped: Path) -> None:
    damage(shipped, "hidef")
    with pytest.raises(CheckError):
        build_pipeline(ModelStore(shipped), Config().analysis, GEOMETRY)


def test_a_model_that_doesnt_exist_is_an_error_even_then(shipped: Path) -> None:
    settings = msgspec.structs.replace(Config().analysis, classifier_model="birches")
    with pytest.raises(InputError, match="no such model"):
        build_pipeline(ModelStore(shipped), settings, GEOMETRY, left_out={})


def test_a_damaged_list_of_activations_leaves_the_shipped_model_at_work_and_is_told(tmp_path: Path) -> None:
    installed = tmp_path / "models"
    installed.mkdir()
    (installed / ACTIVE_FILE).write_bytes(b"{")
    store = ModelStore(ARTEFACTS, installed=installed)
    assert store.find("hidef").model.parent == ARTEFACTS
    assert "can't be read" in (store.fault("hidef") or "")


def test_a_failing_model_is_told_once_tried_again_ever_later_and_told_when_it_is_back(tmp_path: Path, shipped: Path) -> None:
    sound, now_s, told = damage(shipped, "hidef"), [0.0], list[tuple[str, str]]()
    work, calibrated = work_of(tmp_path)
    keeper = ModelKeeper(lambda code, severity, _message: told.append((code, severity)), monotonic=lambda: now_s[0])
    for _ in range(3):
        keeper.works_as(work, calibrated)
    assert told == [("model_failed", "alarm")]
    assert keeper.check().status == "failed"
    found = Findings(frames=(), taken=FrameCounts(captured=1, analysed=1), volume=VOLUME, losses=Losses(), sampled="")
    assert keeper.judged(found).suspect
    assert work.origin.names_owed
    now_s[0] = 601.0
    assert keeper.mended() is None
    (next(shipped.glob("hidef-[0-9]*.tflite"))).write_bytes(sound)
    now_s[0] = 1200.0
    assert keeper.mended() is None, "not yet"
    now_s[0] = 1900.0
    mended = keeper.mended()
    assert mended is not None
    keeper.works_as(mended, calibrated)
    assert told[1:] == [("model_restored", "info")]
    assert keeper.check().status == "ok"
    assert not keeper.judged(replace(found, suspect=False)).suspect


def test_the_last_good_version_stands_in_for_one_that_was_damaged_and_is_told(tmp_path: Path, shipped: Path) -> None:
    work, calibrated = work_of(tmp_path)
    store = ModelStore(shipped, installed=tmp_path / "store" / "models")
    install(store, released(tmp_path / "usb", "9.0.0"), None)
    activate(store, "bioaerosol", "9.0.0", None)
    work, calibrated = work_of(tmp_path)
    assert (work.pipeline.models["classifier"].version, work.faults()) == ("9.0.0", [])
    damage(tmp_path / "store" / "models", "bioaerosol")
    work, calibrated = work_of(tmp_path)
    keeper = ModelKeeper(lambda _code, _severity, _message: None)
    keeper.works_as(work, calibrated)
    assert not work.left_out
    assert work.pipeline.models["classifier"].version != "9.0.0"
    assert keeper.check().status == "warning"
    assert "the last good version, is in use" in keeper.check().message
