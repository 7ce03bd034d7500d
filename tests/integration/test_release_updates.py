"""A release on trial: good once it confirms, else the one before runs again; real trees and processes, toy releases."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.signing.signed_list import SignedList
from device.errors import CheckError, HolonodeError, InputError, TransientError
from device.inference.store import ModelStore
from device.releases import current, previous, releases
from device.updates.apply import MOST_BOOTS
from device.updates.sources import FolderSource
from device.updates.trials import Trial
from tests.owners import owner
from tests.toy_releases import ToyBox, add_release, bundle


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An owner and a box, to be copied."""
    home = tmp_path_factory.mktemp("prepared")
    ToyBox.installed(home / "box", owner(home / "owner"), home / "bundles")
    return home


@pytest.fixture
def signed(prepared: Path, tmp_path: Path) -> SignedList:
    shutil.copytree(prepared / "owner", tmp_path / "owner")
    return SignedList(tmp_path / "owner/repository", tmp_path / "owner/keys", lambda _name: b"correct horse battery staple")


@pytest.fixture
def box(prepared: Path, tmp_path: Path) -> Iterator[ToyBox]:
    shutil.copytree(prepared / "box", tmp_path / "box", symlinks=True)
    made = ToyBox(tmp_path / "box")
    yield made
    made.close()


@pytest.fixture
def offered(signed: SignedList, box: ToyBox, tmp_path: Path) -> Callable[..., None]:
    """Sign a release and have the box ask for it."""

    def offer(version: str, behaviour: str = "good", **more: object) -> None:
        add_release(signed, tmp_path / "bundles", version, behaviour, **more)
        assert box.ask(FolderSource(signed.folder))

    return offer


def test_a_release_that_confirms_is_good(box: ToyBox, offered: Callable[..., None]) -> None:
    offered("1.1.0")
    box.comes_up()
    update = box.update()
    assert "on trial" in update.apply_pending()
    assert update.watch().endswith("is good")
    now, before = current(box.layout), previous(box.layout)
    assert now is not None
    assert before is not None
    assert (now.version, before.version) == ("1.1.0", "1.0.0")
    assert update.book.trial() is None
    assert not box.places.request.exists()
    assert update.apply_pending() == "nothing is asked for"
    assert [outcome.result for outcome in update.book.outcomes()] == ["good"]


@pytest.mark.parametrize("behaviour", ["silent", "broken"])
def test_a_release_that_does_not_confirm_is_rolled_back(
    box: ToyBox, signed: SignedList, offered: Callable[..., None], behaviour: str
) -> None:
    offered("1.1.0", behaviour)
    update = box.update(confirm_within_s=0.3)
    update.apply_pending()
    assert "rolled back" in update.watch()
    assert [release.version for release in releases(box.layout)] == ["1.0.0"]
    assert box.comes_up().startswith("1.0.0-")
    assert update.book.outcomes()[-1].result == "rolled back"
    news = box.asking(FolderSource(signed.folder)).look(ModelStore())
    assert news.release is None
    assert "was rolled back here" in news.passed_over


def test_a_release_that_ends_again_and_again_is_not_waited_for(
    box: ToyBox, signed: SignedList, offered: Callable[..., None]
) -> None:
    offered("1.1.0", "broken")
    update = box.update(confirm_within_s=3600.0)
    update.apply_pending()
    assert "ended by itself 5 times" in update.watch()
    assert box.comes_up().startswith("1.0.0-")
    assert box.asking(FolderSource(signed.folder)).look(ModelStore()).release is None


def test_a_release_that_fails_its_self_test_never_runs(box: ToyBox, offered: Callable[..., None]) -> None:
    offered("1.1.0", "failing")
    with pytest.raises(CheckError, match="self-test fails"):
        box.update().apply_pending()
    assert [release.version for release in releases(box.layout)] == ["1.0.0"]
    assert box.comes_up().startswith("1.0.0-")
    assert not box.places.request.exists()
    assert box.update().book.outcomes()[-1].result == "refused"


def test_a_trial_sees_so_many_starts_of_the_machine_and_no_more(box: ToyBox, offered: Callable[..., None]) -> None:
    offered("1.1.0", "silent")
    box.update().apply_pending()
    for boot in range(1, MOST_BOOTS + 1):
        box.close()
        assert f"start {boot} of" in box.update().at_boot()
        assert box.comes_up().startswith("1.1.0-")
    box.close()
    assert "rolled back" in box.update().at_boot()
    assert box.comes_up().startswith("1.0.0-")
    assert box.update().at_boot() == ""


def test_only_the_service_of_this_very_trial_confirms_it(box: ToyBox, offered: Callable[..., None]) -> None:
    offered("1.1.0", "silent")
    update = box.update(confirm_within_s=0.3)
    update.apply_pending()
    trial = update.book.trial()
    assert trial is not None
    for word in ({"trial": "another", "release": trial.release}, {"trial": trial.id, "release": trial.before}):
        box.places.confirmed.write_text(json.dumps({**word, "proofs": {}}))
        assert update.book.confirmation(trial) is None
    box.places.confirmed.unlink()
    os.mkfifo(box.places.confirmed)
    assert "rolled back" in update.watch()


def test_what_the_service_asks_for_is_verified_again(
    box: ToyBox, signed: SignedList, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered("1.1.0")
    request = json.loads(box.places.request.read_text())
    evil = bundle(tmp_path / "evil", "1.1.0", "silent").read_bytes()
    (fetched,) = (path for path in (box.places.service / "targets").glob("**/*") if path.is_file())
    fetched.write_bytes(evil)
    with pytest.raises(HolonodeError, match=r"not the one that was signed|longer than was signed|broke off"):
        box.update().apply_pending()
    for wrong in ({**request, "sha256": "0" * 64}, {**request, "name": "releases/other.tar"}):
        assert box.ask(FolderSource(signed.folder))
        box.places.request.write_text(json.dumps(wrong))
        with pytest.raises(CheckError, match="no signed list names"):
            box.update().apply_pending()
    assert [release.version for release in releases(box.layout)] == ["1.0.0"]


@pytest.mark.parametrize("spoil", ["link", "pipe", "long", "words"])
def test_a_request_that_is_none_is_refused_and_gone(box: ToyBox, spoil: str, tmp_path: Path) -> None:
    box.places.service.mkdir()
    request = box.places.request
    if spoil == "link":
        (tmp_path / "secret").write_text("{}")
        request.symlink_to(tmp_path / "secret")
    elif spoil == "pipe":
        os.mkfifo(request)
    else:
        request.write_text("x" * (100_000 if spoil == "long" else 10))
    with pytest.raises(CheckError, match="can't be read"):
        box.update().apply_pending()
    assert not os.path.lexists(request)


def test_an_older_release_and_one_for_another_machine_are_refused(
    box: ToyBox, signed: SignedList, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered("1.1.0")
    box.update().apply_pending()
    box.update().watch()
    add_release(signed, tmp_path / "bundles", "1.0.5")
    add_release(signed, tmp_path / "bundles", "1.9.0", arch="sparc")
    assert not box.ask(FolderSource(signed.folder))  # the newest that fits runs
    signed.withdraw(next(name for name in _names(signed) if "1.1.0" in name))
    assert box.ask(FolderSource(signed.folder))
    with pytest.raises(CheckError, match="older than the one that runs"):
        box.update().apply_pending()


def _names(signed: SignedList) -> list[str]:
    newest = max((signed.folder / "metadata").glob("*.targets.json"), key=lambda path: int(path.name.split(".")[0]))
    return list(json.loads(newest.read_bytes())["signed"]["targets"])


def test_an_update_that_is_cut_off_again_and_again_is_given_up(box: ToyBox, offered: Callable[..., None]) -> None:
    offered("1.1.0")
    update = box.update()
    sha256 = json.loads(box.places.request.read_text())["sha256"]
    box.places.own.mkdir()
    for _ in range(3):
        update.book.attempt(sha256)
    with pytest.raises(CheckError, match="cut off too often"):
        update.apply_pending()
    assert not box.places.request.exists()


def test_nothing_else_is_put_on_trial_meanwhile(box: ToyBox, offered: Callable[..., None]) -> None:
    offered("1.1.0", "silent")
    box.update().apply_pending()
    offered("1.2.0")
    with pytest.raises(TransientError, match="on trial"):
        box.update().apply_pending()
    assert not box.places.request.exists()
    assert box.update().book.outcomes()[-1].result == "put off"


def test_a_person_may_vouch_for_an_unsigned_bundle(box: ToyBox, tmp_path: Path) -> None:
    update = box.update()
    assert "unsigned" in update.apply_unsigned(bundle(tmp_path / "own", "0.9.0"))
    assert update.watch().endswith("is good")
    with pytest.raises(InputError, match="runs already"):
        update.apply_unsigned(bundle(tmp_path / "own", "0.9.0"))


def test_a_store_whose_tables_a_release_changes_comes_back_with_the_release_before(
    box: ToyBox, offered: Callable[..., None]
) -> None:
    store = box.layout.data / "store"
    store.mkdir()
    with sqlite3.connect(store / "outbox.sqlite") as database:
        database.execute("PRAGMA user_version = 1")
    offered("1.1.0", "silent", store_schema=2)
    update = box.update(confirm_within_s=0.3)
    update.apply_pending()
    with sqlite3.connect(store / "outbox.sqlite") as database:
        database.execute("PRAGMA user_version = 2")
    update.watch()
    with sqlite3.connect(store / "outbox.sqlite") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    assert (box.places.own / "failed-store/outbox.sqlite").is_file()
    offered("1.2.0", store_schema=0)
    with pytest.raises(InputError, match="newer Holonode"):
        update.apply_pending()


def test_a_swap_that_was_cut_off_before_the_link_leaves_no_trial(box: ToyBox) -> None:
    update = box.update()
    box.places.own.mkdir()
    update.book.keep(Trial(id="1", release="9.0.0-000000000000", before="1.0.0-000000000000"))
    assert "never came to run" in update.at_boot()
    assert update.book.trial() is None
    assert box.comes_up().startswith("1.0.0-")


def test_a_machine_without_an_installed_release_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    bare = ToyBox(tmp_path / "bare")
    with pytest.raises(InputError, match="nothing is installed"):
        bare.update().apply_pending()
    assert bare.update().at_boot() == ""
    assert bare.update().watch() == "nothing is on trial"
    assert list(bare.root.iterdir()) == []
