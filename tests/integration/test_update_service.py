"""The service's side of updates: models from a signed list, and its word that a release on trial works."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from deploy.signing.described import describe
from device.cli import main
from device.config import Config, UpdatesConfig, load_config
from device.errors import CheckError
from device.inference.store import ModelStore
from device.instrument import load_instrument
from device.releases import Layout, this_machine
from device.rig.models import ARTEFACTS, model_store
from device.service.state import StateBoard
from device.service.update_confirmer import UpdateConfirmer
from device.updates.ask import UpdateAsk
from device.updates.notice import kept_notice
from device.updates.sources import FolderSource
from device.updates.trials import Trial, TrialBook, UpdateOutcome, UpdatePlaces
from device.updates.trust import UpdateTrust
from tests.brokers import broker
from tests.dashboards import NOW, state_of
from tests.integration.test_link import eventually
from tests.owners import owner
from tests.services import Service

RELEASE = "1.1.0-0123456789ab"


def newer_beads(folder: Path) -> Path:
    """The shipped model as the next version."""
    folder.mkdir()
    model = folder / "beads-1.1.0.tflite"
    for suffix in (".tflite", ".npz"):
        shutil.copy(ARTEFACTS / f"beads-1.0.0{suffix}", model.with_suffix(suffix))
    text = (ARTEFACTS / "beads-1.0.0.toml").read_text()
    model.with_suffix(".toml").write_text(text.replace('version = "1.0.0"', 'version = "1.1.0"'))
    return model


def test_a_newer_model_comes_from_the_signed_list_and_one_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    signed = owner(tmp_path / "owner")
    signed.add(describe(newer_beads(tmp_path / "new")))
    source = FolderSource(signed.folder)
    places = UpdatePlaces(Layout(tmp_path / "root"), tmp_path / "updates")
    trust = UpdateTrust(places.service, signed.folder / "metadata/1.root.json")
    ask = UpdateAsk(places, source, trust, this_machine(), None)
    store = ModelStore(ARTEFACTS, installed=tmp_path / "models")
    (tmp_path / "models").mkdir()
    answer = ask.carry_out("check", store, None)
    assert answer.models == ("models/beads-1.1.0.tar",)
    assert ask.carry_out("apply", store, None).done == ("beads 1.1.0 is active",)
    assert store.find("beads").manifest.version == "1.1.0"
    assert ask.carry_out("apply", store, None).models == ()
    broken = newer_beads(tmp_path / "broken")
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 0xFF
    broken.write_bytes(content)
    with pytest.raises(CheckError):
        describe(broken)  # the owner does not sign what its manifest doesn't name


def test_what_is_offered_is_told_until_it_is_taken(tmp_path: Path) -> None:
    signed = owner(tmp_path / "owner")
    signed.add(describe(newer_beads(tmp_path / "new")))
    places = UpdatePlaces(Layout(tmp_path / "root"), tmp_path / "updates")
    trust = UpdateTrust(places.service, signed.folder / "metadata/1.root.json")
    ask = UpdateAsk(places, FolderSource(signed.folder), trust, this_machine(), None)
    store = ModelStore(ARTEFACTS, installed=tmp_path / "models")
    (tmp_path / "models").mkdir()
    confirmer = UpdateConfirmer(Config(updates=UpdatesConfig(folder=str(places.service))), Layout(tmp_path / "root"))
    assert confirmer.checks() == []
    ask.carry_out("check", store, None)
    (check,) = confirmer.checks()
    assert (check.name, check.status) == ("update offered", "warning")
    assert "models/beads-1.1.0.tar" in check.message
    ask.carry_out("apply", store, None)
    assert confirmer.checks() == []
    places.notice.write_bytes(b"not what was written")
    assert confirmer.checks() == []


def test_a_model_that_a_box_does_not_work_with_holds_nothing_up(tmp_path: Path) -> None:
    signed = owner(tmp_path / "owner")
    signed.add(describe(newer_beads(tmp_path / "new")))
    updates = UpdatesConfig(folder=str(tmp_path / "updates"), root_file=str(signed.folder / "metadata/1.root.json"))
    ask = UpdateAsk.of(Config(updates=updates), str(signed.folder))
    store = ModelStore(ARTEFACTS, installed=tmp_path / "models")
    (tmp_path / "models").mkdir()
    answer = ask.carry_out("apply", store, load_instrument("bioaerosol-imx219-850nm").geometry)
    assert (answer.models, answer.done) == ((), ())


@pytest.mark.parametrize(
    ("automatic", "source", "offered", "version"),
    [
        ("off", True, None, "1.0.0"), ("check", False, None, "1.0.0"), ("check", True, ("models/beads-1.1.0.tar",), "1.0.0"),
        ("apply", True, (), "1.1.0"),
    ],
)  # fmt: skip
def test_once_a_day_it_looks_or_takes_as_it_is_told(
    tmp_path: Path, automatic: str, source: bool, offered: tuple[str, ...] | None, version: str
) -> None:
    signed = owner(tmp_path / "owner")
    signed.add(describe(newer_beads(tmp_path / "new")))
    named = f'source = "{signed.folder}"' if source else ""
    (tmp_path / "box.toml").write_text(
        f"""
        [device]
        instrument = "assay-chamber-ov9281-850nm"
        [analysis]
        classifier_model = "beads"
        [storage]
        folder = "store"
        [updates]
        {named}
        automatic = "{automatic}"
        folder = "updates"
        root_file = "{signed.folder / "metadata/1.root.json"}"
        """
    )
    assert main(["update", "daily", "--config", str(tmp_path / "box.toml")]) == 0
    notice = kept_notice(UpdatePlaces(Layout(tmp_path / "root"), tmp_path / "updates"))
    assert (None if notice is None else notice.offered) == offered
    store = model_store(load_config(tmp_path / "box.toml"))
    assert store.find("beads").manifest.version == version


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UpdatePlaces:
    """A release on trial, and this process of it."""
    layout = Layout(tmp_path / "root")
    home = layout.releases / RELEASE / "venv"
    home.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(home))
    places = UpdatePlaces(layout, tmp_path / "updates")
    places.own.mkdir()
    TrialBook(places).keep(Trial(id="t", release=RELEASE, before="1.0.0-000000000000"))
    return places


def confirmer_of(places: UpdatePlaces, tmp_path: Path) -> UpdateConfirmer:
    return UpdateConfirmer(Config(updates=UpdatesConfig(folder=str(places.service))), Layout(tmp_path / "root"))


def seen(board: StateBoard) -> None:
    """Camera, lamp and interval of this run."""
    frame, lamp, interval = (type("Seen", (), values)() for values in (
        {"frame": 3, "taken_at": NOW}, {"acknowledged": True}, {"started_at": NOW, "id": "I"},
    ))  # fmt: skip
    board.change(camera=frame, lamp=lamp, last_interval=interval)


def test_the_service_confirms_once_camera_lamp_inference_and_broker_were_seen(places: UpdatePlaces, tmp_path: Path) -> None:
    confirmer, board = confirmer_of(places, tmp_path), StateBoard(state_of("box-1"), lambda: 0.0)
    trial = TrialBook(places).trial()
    assert trial is not None
    acknowledged: list[int] = []
    assert confirmer.start(board, lambda: len(acknowledged))
    seen(board)
    eventually(lambda: "not seen yet: broker" in confirmer.checks()[0].message)
    assert TrialBook(places).confirmation(trial) is None
    acknowledged.append(1)
    eventually(lambda: TrialBook(places).confirmation(trial) is not None)
    confirmer.stop()
    TrialBook(places).end(UpdateOutcome(result="good", release=RELEASE, at=NOW))
    assert [check.status for check in confirmer.checks()] == ["ok"]


def test_a_service_of_another_release_confirms_nothing(
    places: UpdatePlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(Path(sys.prefix).parents[1] / "1.0.0-000000000000" / "venv"))
    confirmer, board = confirmer_of(places, tmp_path), StateBoard(state_of("box-1"), lambda: 0.0)
    assert not confirmer.start(board, lambda: 5)
    seen(board)
    confirmer.stop()
    assert not places.confirmed.exists()
    assert confirmer.checks() == []
    TrialBook(places).end(UpdateOutcome(result="rolled back", release=RELEASE, reason="not confirmed", at=NOW))
    assert [check.status for check in confirmer.checks()] == ["warning"]


_AS_RELEASE = """
import sys
from pathlib import Path
from device.releases import Layout
import device.service.update_confirmer as confirmer
root = Path({root!r})
sys.prefix = str(root / "opt/holonode/releases" / {release!r} / "venv")
confirmer.Layout = lambda: Layout(root)
from device.cli import main
sys.exit(main())
"""


def test_a_box_that_samples_once_a_year_confirms_its_release_all_the_same(places: UpdatePlaces, tmp_path: Path) -> None:
    schedule = f'[sampling.schedule]\nkind = "interval"\nevery_s = 31622400\n[updates]\nfolder = "{places.service}"'
    trial = TrialBook(places).trial()
    assert trial is not None
    with broker(tmp_path / "broker") as running:
        box = Service.configured(tmp_path / "box", running.url, mqtt=schedule)
        box.start(("-c", _AS_RELEASE.format(root=str(tmp_path / "root"), release=RELEASE)))
        try:
            eventually(lambda: TrialBook(places).confirmation(trial) is not None, timeout_s=300)
        finally:
            box.stop()
    word = TrialBook(places).confirmation(trial)
    assert word is not None
    assert sorted(word.proofs) == ["broker", "camera", "inference", "lamp"]
