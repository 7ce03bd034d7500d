"""A box's trust against a real list of updates, on a real web server and in a folder."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.signing.keys import load_signer, make_key
from deploy.signing.signed_list import SignedList
from device.clock import BoxClock, KernelTime
from device.errors import CheckError, HolonodeError, InputError, TransientError
from device.updates.downloads import DownloadLimits
from device.updates.floor import TimeFloor
from device.updates.offers import newest_release, release_key
from device.updates.sources import FolderSource, HttpSource, KeptSource, update_source
from device.updates.trust import UpdateTrust, key_ids
from tests.owners import PASSPHRASE, WebServer, dripping, endless, half, owner, thing

DAY = timedelta(days=1)
LIMITS = DownloadLimits(begin_s=0.5, slowest_bytes_s=1e6, reserve_bytes=0)


@pytest.fixture(scope="module")
def signed_once(tmp_path_factory: pytest.TempPathFactory) -> SignedList:
    made = owner(tmp_path_factory.mktemp("owner"))
    made.add(thing("1.0.0"), thing("1.1.0", bytes(range(256)) * 4000), thing("0.9.0"), thing("1.0.0", kind="model"))
    return made


@pytest.fixture
def signed(signed_once: SignedList, tmp_path: Path) -> SignedList:
    """A test's own copy of it, keys too."""
    for part, source in (("repository", signed_once.folder), ("keys", signed_once.keys)):
        shutil.copytree(source, tmp_path / "owner" / part)
    return SignedList(tmp_path / "owner" / "repository", tmp_path / "owner" / "keys", signed_once.passphrase)


@pytest.fixture
def trust(signed: SignedList, tmp_path: Path) -> Callable[..., UpdateTrust]:
    pinned = tmp_path / "pinned.json"
    shutil.copy(signed.folder / "metadata" / "1.root.json", pinned)

    def made(folder: str = "box", at: datetime | None = None, limits: DownloadLimits = LIMITS) -> UpdateTrust:
        wall = time.time_ns if at is None else lambda: int(at.timestamp() * 1e9)
        clock = BoxClock(wall_ns=wall, kernel=lambda: KernelTime(synchronised=False, uncertainty_s=1e9))
        return UpdateTrust(tmp_path / folder, pinned, floor=TimeFloor(tmp_path / folder / "time.json", clock), limits=limits)

    return made


@pytest.fixture
def web(signed: SignedList) -> Iterator[WebServer]:
    with WebServer(signed.folder) as server:
        yield server


def test_a_release_and_a_model_come_over_the_network_and_from_a_stick(
    signed: SignedList, trust: Callable[..., UpdateTrust], web: WebServer
) -> None:
    for folder, source in (("box", HttpSource(web.url)), ("other", FolderSource(signed.folder))):
        box = trust(folder)
        offers = box.refresh(source)
        assert [one.custom.version for one in offers if one.custom.kind == "model"] == ["1.0.0"]
        newest = newest_release(offers, arch="aarch64", python="3.11")
        assert newest is not None
        assert newest.custom.version == "1.1.0"
        assert box.fetch(newest, source).read_bytes() == bytes(range(256)) * 4000
        assert newest_release(offers, arch="x86_64", python="3.11") is None


def test_what_the_service_fetched_is_verified_again_from_its_folder(
    signed: SignedList, trust: Callable[..., UpdateTrust], tmp_path: Path
) -> None:
    service, root = trust("service"), trust("root")
    signed.rotate("root")
    signed.rotate("targets")
    offer = service.refresh(FolderSource(signed.folder))[0]
    fetched = service.fetch(offer, FolderSource(signed.folder))
    kept = KeptSource(tmp_path / "service")
    assert offer in root.refresh(kept)
    assert root.fetch(offer, kept).read_bytes() == fetched.read_bytes()
    other = root.refresh(kept)[1]
    service.fetch(other, FolderSource(signed.folder)).write_bytes(b"x" * other.length_bytes)
    with pytest.raises(CheckError, match="not the one that was signed"):
        root.fetch(other, kept)


def test_a_download_goes_on_where_it_broke_off(signed: SignedList, trust: Callable[..., UpdateTrust], web: WebServer) -> None:
    box, source = trust(), HttpSource(web.url)
    offer = newest_release(box.refresh(source), arch="aarch64", python="3.11")
    assert offer is not None
    web.spoil = lambda path, content: half(path, content) if "/targets/" in path else None
    for _ in range(2):
        with pytest.raises(TransientError, match="broke off"):
            box.fetch(offer, source)
    web.spoil = lambda _path, _content: None
    box.fetch(offer, source)
    ranges = [wanted for path, wanted in web.asked if "/targets/" in path]
    assert ranges == ["", "bytes=512000-", "bytes=768000-"]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [(endless, CheckError, "longer than was signed"), (dripping, TransientError, "could not be fetched")],
)
def test_endless_and_slow_files_come_to_an_end(
    trust: Callable[..., UpdateTrust],
    web: WebServer,
    how: Callable[..., Iterator[bytes]],
    error: type[HolonodeError],
    words: str,
) -> None:
    box, source = trust(), HttpSource(web.url)
    offer = box.refresh(source)[1]
    web.spoil = how
    with pytest.raises(error, match=words):
        box.fetch(offer, source)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (endless, CheckError, "longer than can be"),
        (dripping, TransientError, "can't be had"),
        (half, CheckError, "damaged or mixed"),
    ],
)
def test_endless_slow_and_cut_lists_come_to_an_end(
    trust: Callable[..., UpdateTrust],
    web: WebServer,
    how: Callable[..., Iterator[bytes]],
    error: type[HolonodeError],
    words: str,
) -> None:
    web.spoil = how
    with pytest.raises(error, match=words):
        trust().refresh(HttpSource(web.url))


def test_other_content_under_a_signed_name_is_not_kept(
    signed: SignedList, trust: Callable[..., UpdateTrust], tmp_path: Path
) -> None:
    box, source = trust(), FolderSource(signed.folder)
    offer = box.refresh(source)[0]
    (signed.folder / "targets" / offer.stored).write_bytes(b"y" * offer.length_bytes)
    with pytest.raises(CheckError, match="not the one that was signed"):
        box.fetch(offer, source)
    assert not [path for path in (tmp_path / "box" / "targets").glob("**/*") if path.is_file()]
    (signed.folder / "targets" / offer.stored).unlink()
    with pytest.raises(CheckError, match="missing"):
        box.fetch(offer, source)


def test_an_old_list_is_a_replay(signed: SignedList, trust: Callable[..., UpdateTrust], tmp_path: Path) -> None:
    before = shutil.copytree(signed.folder, tmp_path / "before")
    signed.withdraw("releases/holonode-1.1.0-aarch64-cp311.tar")
    box = trust()
    assert len(box.refresh(FolderSource(signed.folder))) == 3
    with pytest.raises(CheckError, match="older than what this box has seen"):
        box.refresh(FolderSource(before))
    # So it is after a power cut: what was seen was kept.
    with pytest.raises(CheckError, match="older than what this box has seen"):
        trust().refresh(FolderSource(before))


def test_a_frozen_list_is_out_of_date_and_a_clock_set_back_makes_it_no_better(
    signed: SignedList, trust: Callable[..., UpdateTrust], tmp_path: Path
) -> None:
    frozen = shutil.copytree(signed.folder, tmp_path / "frozen")
    later = datetime.now(UTC) + 40 * DAY
    with pytest.raises(CheckError, match="out of date"):
        trust(at=later).refresh(FolderSource(frozen))
    # A clock at 1970 alone would take it: the newest time that was told is the floor.
    assert trust("fresh", at=datetime(1970, 1, 2, tzinfo=UTC)).refresh(FolderSource(frozen))
    box = trust(at=datetime(1970, 1, 2, tzinfo=UTC))
    box.floor.reach(later)
    with pytest.raises(CheckError, match="out of date"):
        box.refresh(FolderSource(frozen))
    signed.renew_timestamp()
    told = trust("told", at=datetime(1970, 1, 2, tzinfo=UTC))
    told.refresh(FolderSource(signed.folder))
    assert abs(told.floor.newest() - datetime.now(UTC)) < DAY


def test_a_strangers_list_a_bent_one_and_a_mixed_one_are_refused(
    signed: SignedList, trust: Callable[..., UpdateTrust], tmp_path: Path
) -> None:
    stranger = owner(tmp_path / "stranger")
    stranger.add(thing("9.0.0"))
    box = trust()
    with pytest.raises(CheckError, match="not signed by the keys"):
        box.refresh(FolderSource(stranger.folder))
    mixed = shutil.copytree(signed.folder, tmp_path / "mixed")
    signed.add(thing("1.2.0"))
    shutil.copy(signed.folder / "metadata" / "timestamp.json", mixed / "metadata")
    shutil.copy(mixed / "metadata" / "2.snapshot.json", mixed / "metadata" / "3.snapshot.json")
    with pytest.raises(CheckError, match="damaged or mixed"):
        box.refresh(FolderSource(mixed))
    timestamp = signed.folder / "metadata" / "timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"version": 3', b'"version": 4'))
    with pytest.raises(CheckError, match="not signed by the keys"):
        box.refresh(FolderSource(signed.folder))


def test_boxes_follow_a_rotated_root_and_leave_the_old_key(
    signed: SignedList, trust: Callable[..., UpdateTrust], tmp_path: Path
) -> None:
    box = trust()
    box.refresh(FolderSource(signed.folder))
    stolen = shutil.copytree(tmp_path / "owner", tmp_path / "thief")
    for role in ("root", "targets", "snapshot", "timestamp"):
        signed.rotate(role)
    signed.add(thing("1.2.0"))
    assert len(box.refresh(FolderSource(signed.folder))) == 5
    thief = SignedList(stolen / "repository", stolen / "keys", signed.passphrase)
    for _ in range(12):
        thief.renew_timestamp()
    with pytest.raises(CheckError, match="not signed by the keys"):
        box.refresh(FolderSource(thief.folder))
    assert len(trust("new").refresh(FolderSource(signed.folder))) == 5


def test_links_pipes_and_paths_out_of_a_stick_are_not_followed(
    signed: SignedList, trust: Callable[..., UpdateTrust], tmp_path: Path
) -> None:
    timestamp = signed.folder / "metadata" / "timestamp.json"
    timestamp.rename(tmp_path / "elsewhere")
    timestamp.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TransientError, match="can't be had"):
        trust().refresh(FolderSource(signed.folder))
    timestamp.unlink()
    os.mkfifo(timestamp)
    with pytest.raises(TransientError, match="can't be had"):
        trust().refresh(FolderSource(signed.folder))
    with pytest.raises(OSError, match="no name"):
        FolderSource(signed.folder).open("../keys/root.pem")


def test_no_room_is_one_clear_error(signed: SignedList, trust: Callable[..., UpdateTrust]) -> None:
    box = trust(limits=DownloadLimits(reserve_bytes=2**62))
    offer = box.refresh(FolderSource(signed.folder))[0]
    with pytest.raises(InputError, match="no room"):
        box.fetch(offer, FolderSource(signed.folder))


def test_a_box_that_trusts_nobody_says_what_to_do(tmp_path: Path, signed: SignedList) -> None:
    box = UpdateTrust(tmp_path / "box", tmp_path / "none.json")
    with pytest.raises(InputError, match="holonode update trust"):
        box.refresh(FolderSource(signed.folder))
    with pytest.raises(InputError, match="not a root of trust"):
        key_ids((signed.folder / "metadata" / "1.targets.json").read_bytes())
    assert len(key_ids((signed.folder / "metadata" / "1.root.json").read_bytes())) == 1


@pytest.mark.parametrize("written", ["ftp://somewhere", "/nowhere/at/all"])
def test_what_is_no_source_is_refused(written: str) -> None:
    with pytest.raises(InputError):
        update_source(written)


def test_releases_are_ordered_by_number_and_a_development_version_comes_first() -> None:
    ordered = ["0.9.0", "1.0.0.dev1", "1.0.0", "1.0.1", "1.2.0", "1.10.0rc1", "1.10.0"]
    assert sorted(set(ordered), key=release_key) == ordered


def test_the_same_name_never_stands_for_other_content(signed: SignedList) -> None:
    with pytest.raises(InputError, match="other content"):
        signed.add(thing("1.0.0", b"changed"))


def test_the_owners_keys_are_encrypted_and_their_owners_alone(signed: SignedList, tmp_path: Path) -> None:
    files = sorted(signed.keys.glob("*.pem"))
    assert {"root", "targets", "snapshot", "timestamp"} <= {path.stem for path in files}
    for path in files:
        assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"), path.name
        with pytest.raises(InputError, match="can't be opened"):
            load_signer(path, lambda _name: b"another passphrase")
    made = tmp_path / "one.pem"
    with pytest.raises(InputError, match="too short"):
        make_key(made, b"short")
    make_key(made, PASSPHRASE)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="a key lies there already"):
        make_key(made, PASSPHRASE)
