"""Updates that are cut off, forged, stale or too large: `python -m tests.faults.update_matrix`.

Cuts: an update from asking to good, and one that is rolled back, ended before its n-th file operation for every n (`--every`),
with what a disk forgets then; a start of the machine follows, the service must come up as the old release or the new one, and
the update must come to its end. Offers: lists, files, bundles and requests that must not be used, by a real web server; the box
stays as it was. Room: a file system that is full at some point. Whatever ran is held against what the owner signed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.signing.described import Described, describe
from deploy.signing.signed_list import SignedList
from device.clock import BoxClock, KernelTime
from device.errors import HolonodeError
from device.releases import current, releases
from device.updates import trust as trust_module
from device.updates.apply import ReleaseUpdate
from device.updates.downloads import DownloadLimits
from device.updates.floor import TimeFloor
from device.updates.sources import FolderSource, HttpSource
from tests.faults.losing_disk import DONE, cut_off
from tests.owners import PASSPHRASE, WebServer, dripping, endless, half, owner
from tests.toy_releases import ToyBox, add_release, bundle, end_toys, toy_machine

ROLLED_BACK_WITHIN_S = 10.0
_BAD = ("evil",)


@dataclass(frozen=True)
class Verdict:
    """How one part came out."""

    case: str
    tried: int
    faults: tuple[str, ...]
    slowest_rollback_s: float | None = None

    def __str__(self) -> str:
        slow = "" if self.slowest_rollback_s is None else f"; slowest rollback {self.slowest_rollback_s:.2f} s"
        return f"{self.case}: {self.tried} tried, {len(self.faults)} wrong{slow}" + "".join(
            f"\n  {one}" for one in self.faults[:10]
        )

    @property
    def sound(self) -> bool:
        return self.tried > 0 and not self.faults and (self.slowest_rollback_s or 0) <= ROLLED_BACK_WITHIN_S


@dataclass
class World:
    """An owner who offers 1.1.0, and a box of 1.0.0 to be copied."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, behaviour: str = "good") -> World:
        world = cls(folder)
        signed = owner(folder / "owner")
        add_release(signed, folder / "bundles", "1.1.0", behaviour)
        ToyBox.installed(folder / "box", signed, folder / "bundles")
        return world

    @property
    def signed(self) -> SignedList:
        return SignedList(self.folder / "owner/repository", self.folder / "owner/keys", lambda _name: PASSPHRASE)

    @contextlib.contextmanager
    def box(self, name: str) -> Iterator[ToyBox]:
        root = self.folder / name
        shutil.copytree(self.folder / "box", root, symlinks=True)
        made = ToyBox(root)
        try:
            yield made
        finally:
            made.close()
            end_toys(root)
            shutil.rmtree(root, ignore_errors=True)
            for aside in self.folder.glob(f"{name}.aside-*"):
                aside.unlink()


def _whole(box: ToyBox, source: FolderSource, within_s: float) -> None:
    """Ask, apply, watch."""
    box.comes_up()
    if box.ask(source):
        update = box.update(within_s)
        update.apply_pending()
        update.watch()
    box.close()


def _recovered(box: ToyBox, source: FolderSource, within_s: float, wanted: str) -> tuple[list[str], float | None]:
    """What is wrong after a cut: the machine starts, the service comes up, the update comes to its end. And a rollback's time."""
    faults: list[str] = []
    end_toys(box.root)
    update = box.update(within_s)
    began_s = time.monotonic()
    said = update.at_boot()
    try:
        name = box.comes_up()
    except (AssertionError, OSError) as error:
        return [f"unbootable: {error}"], None
    took_s = time.monotonic() - began_s if "rolled back" in said else None
    if name.rpartition("-")[0] not in ("1.0.0", "1.1.0"):
        faults.append(f"{name} runs")
    # As the path unit and the trial's unit would, and the service's next look.
    for _ in range(3):
        update.watch()
        with contextlib.suppress(HolonodeError):
            update.apply_pending()
        update.watch()
        running = current(box.layout)
        if (
            running is not None
            and running.version == wanted
            and update.book.trial() is None
            and not box.places.request.exists()
        ):
            break
        outcome = update.book.outcomes()
        if not outcome or outcome[-1].result != "rolled back":
            box.ask(source)
    running = current(box.layout)
    if running is None or running.version != wanted:
        faults.append(f"ends as {running}, not as {wanted}: {update.book.outcomes()}")
    if box.comes_up().rpartition("-")[0] != wanted:
        faults.append("another release than the current one runs")
    return faults, took_s


def cuts(folder: Path, behaviour: str, every: int, seed: int) -> Verdict:
    """An update cut off before its n-th file operation."""
    folder.mkdir()
    world = World.made(folder, behaviour)
    source, within_s, wanted = (
        FolderSource(world.signed.folder),
        (60.0, 0.2)[behaviour != "good"],
        ("1.1.0", "1.0.0")[behaviour != "good"],
    )
    with world.box("counted") as box:
        status, operations = cut_off(lambda: _whole(box, source, within_s), box.root, 0, 0)
        assert status == DONE, "the whole update fails"
        assert current(box.layout).version == wanted  # type: ignore[union-attr]
    faults: list[str] = []
    slowest_s: float | None = None
    chosen = range(1 + seed % every, operations + 1, every)
    for n in chosen:
        with world.box(f"cut-{n}") as box:
            status, _ = cut_off(lambda box=box: _whole(box, source, within_s), box.root, n, seed + n)
            if status == 1:
                faults.append(f"cut {n}: the update raised")
            found, took_s = _recovered(box, source, within_s, wanted)
            faults += [f"cut {n} of {operations}: {one}" for one in found]
            faults += [f"cut {n}: {line} ran" for line in box.starts() if line.split()[1] in _BAD]
            slowest_s = max(slowest_s or 0.0, took_s) if took_s is not None else slowest_s
    return Verdict(
        f"cut at {len(chosen)} of {operations} file operations, release {behaviour}", len(chosen), tuple(faults), slowest_s
    )


# -- offers ---------------------------------------------------------------------------------------------------------------

_Spoil = Callable[["Meeting"], None]


@dataclass
class Meeting:
    """One box, one owner, one server."""

    world: World
    box: ToyBox
    server: WebServer
    signed: SignedList

    def asks(self) -> None:
        """The service's side, over HTTP."""
        self.box.ask(HttpSource(self.server.url))

    def forges(self) -> None:
        """What was fetched becomes something else."""
        evil = bundle(self.world.folder / "evil", "1.1.0", "evil").read_bytes()
        for path in (self.box.places.service / "targets").glob("**/*.tar"):
            path.write_bytes(evil)


def _replayed(meeting: Meeting) -> None:
    before = shutil.copytree(meeting.signed.folder, meeting.world.folder / "before")
    meeting.signed.renew_timestamp()
    meeting.asks()
    meeting.box.places.request.unlink()
    meeting.server.folder = before
    meeting.asks()


def _frozen(meeting: Meeting) -> None:
    later = datetime.now(UTC) + timedelta(days=60)
    clock = BoxClock(
        wall_ns=lambda: int(later.timestamp() * 1e9), kernel=lambda: KernelTime(synchronised=True, uncertainty_s=1.0)
    )
    TimeFloor(meeting.box.places.service / "time.json", clock).now()
    meeting.asks()  # by the wall clock, which lags behind the floor


def _wrong_key(meeting: Meeting) -> None:
    stranger = owner(meeting.world.folder / "stranger")
    add_release(stranger, meeting.world.folder / "evil", "1.1.0", "evil")
    meeting.server.folder = stranger.folder
    meeting.asks()


def _mixed(meeting: Meeting) -> None:
    mixed = shutil.copytree(meeting.signed.folder, meeting.world.folder / "mixed")
    add_release(meeting.signed, meeting.world.folder / "more", "1.2.0")
    shutil.copy(meeting.signed.folder / "metadata/timestamp.json", mixed / "metadata")
    newest = max(
        (meeting.signed.folder / "metadata").glob("*.snapshot.json"), key=lambda path: int(path.name.split(".")[0])
    ).name
    shutil.copy(max((mixed / "metadata").glob("*.snapshot.json")), mixed / "metadata" / newest)
    meeting.server.folder = mixed
    meeting.asks()


def _spoilt(how: Callable[[str, bytes], Iterator[bytes]], part: str) -> _Spoil:
    def spoil(meeting: Meeting) -> None:
        meeting.server.spoil = lambda path, content: how(path, content) if part in path else None
        meeting.asks()

    return spoil


def _self_test(meeting: Meeting) -> None:
    add_release(meeting.signed, meeting.world.folder / "more", "1.2.0", "failing")
    meeting.asks()


def _exchanged(meeting: Meeting) -> None:
    meeting.asks()
    meeting.forges()


def _mislabelled(meeting: Meeting) -> None:
    """A bundle for another processor, signed as one for this."""
    path = bundle(meeting.world.folder / "other", "1.2.0", "evil", arch="sparc")
    said = describe(path)
    custom = type(said.custom)(kind="release", version="1.2.0", arch=toy_machine().arch, python=said.custom.python)
    meeting.signed.add(Described(said.name.replace("sparc", "here"), path, custom))
    meeting.asks()


def _half_bundle(meeting: Meeting) -> None:
    """A bundle that was cut short before it was signed."""
    path = bundle(meeting.world.folder / "half", "1.2.0", "evil")
    said, content = describe(path), path.read_bytes()
    meeting.signed.add(Described(said.name, content[: len(content) // 2 // 512 * 512], said.custom))
    meeting.asks()


def _downgrade(meeting: Meeting) -> None:
    """The service asks for a signed release that is older."""
    meeting.signed.withdraw(next(name for name in _names(meeting.signed)))
    add_release(meeting.signed, meeting.world.folder / "more", "0.9.0", "evil")
    meeting.asks()


def _names(signed: SignedList) -> list[str]:
    newest = max((signed.folder / "metadata").glob("*.targets.json"), key=lambda path: int(path.name.split(".")[0]))
    return list(json.loads(newest.read_bytes())["signed"]["targets"])


def _planted_root(meeting: Meeting) -> None:
    """A service that was taken over keeps a stranger's list, its roots and targets, for root."""
    stranger = owner(meeting.world.folder / "stranger")
    add_release(stranger, meeting.world.folder / "evil", "1.1.0", "evil")
    places = meeting.box.places
    own_pin = meeting.world.folder / "own-pin.json"
    shutil.copy(stranger.folder / "metadata/1.root.json", own_pin)
    trust = trust_module.UpdateTrust(places.service, own_pin, limits=DownloadLimits(reserve_bytes=0))
    (offer,) = trust.refresh(FolderSource(stranger.folder))
    trust.fetch(offer, FolderSource(stranger.folder))
    places.request.write_text(json.dumps({"name": offer.name, "sha256": offer.sha256}))


OFFERS: dict[str, _Spoil] = {
    "wrong key": _wrong_key, "frozen, expired": _frozen, "replayed": _replayed, "mixed": _mixed,
    "list cut short": _spoilt(half, "/metadata/"), "endless list": _spoilt(endless, "/metadata/"),
    "dripping list": _spoilt(dripping, "/metadata/"),
    "file cut short": _spoilt(half, "/targets/"), "endless file": _spoilt(endless, "/targets/"), "dripping file": _spoilt(dripping, "/targets/"),
    "self-test fails": _self_test, "exchanged after fetching": _exchanged, "for another machine": _mislabelled, "half a bundle": _half_bundle,
    "older release": _downgrade, "a stranger's root planted": _planted_root,
}  # fmt: skip


def offers(folder: Path, only: Sequence[str] = ()) -> Verdict:
    """What must not be used: one error, and the box as it was."""
    faults: list[str] = []
    chosen = [name for name in OFFERS if not only or name in only]
    for number, name in enumerate(chosen):
        place = folder / f"offer-{number}"
        place.mkdir(parents=True)
        world = World.made(place)
        with world.box("met") as box, WebServer(world.signed.folder) as server:
            box.limits = DownloadLimits(begin_s=0.5, slowest_bytes_s=1e6, reserve_bytes=0)
            box.comes_up()
            said = ""
            try:
                OFFERS[name](Meeting(world, box, server, world.signed))
                box.update(0.2).apply_pending()
            except HolonodeError as error:
                said = str(error)
            if not said:
                faults.append(f"{name}: nothing was told")
            if (running := current(box.layout)) is None or running.version != "1.0.0" or len(releases(box.layout)) != 1:
                faults.append(f"{name}: {running} runs, {releases(box.layout)} are there")
            if not box.comes_up().startswith("1.0.0-"):
                faults.append(f"{name}: another release came up")
            faults += [f"{name}: {line} ran" for line in box.starts() if not line.startswith("1.0.0-")]
            print(f"  {name}: {said[:150]}", flush=True)
    return Verdict("offers that must not be used", len(chosen), tuple(faults))


def room(folder: Path, sizes_kb: Sequence[int]) -> Verdict:
    """A file system of so much room beyond what the box takes: the update comes through whole, or the box stays as it was."""
    faults: list[str] = []
    folder.mkdir()
    world = World.made(folder)
    source, tried, through = FolderSource(world.signed.folder), 0, 0
    for size_kb in sizes_kb:
        mounted = folder / f"room-{size_kb}"
        mounted.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", str(mounted)], check=True)
        try:
            shutil.copytree(folder / "box", mounted / "box", symlinks=True)
            held = os.statvfs(mounted)
            used_kb = (held.f_blocks - held.f_bfree) * held.f_frsize // 1024
            subprocess.run(["mount", "-o", f"remount,size={used_kb + size_kb}k", str(mounted)], check=True)
            box = ToyBox(mounted / "box")
            said = ""
            try:
                box.ask(source)
                update = box.update(60.0)
                update.apply_pending()
                update.watch()
            except (HolonodeError, OSError) as error:
                said = str(error)
            tried += 1
            box.update().at_boot()
            subprocess.run(["mount", "-o", "remount,size=64M", str(mounted)], check=True)
            name = box.comes_up().rpartition("-")[0]
            through += name == "1.1.0"
            if name not in ("1.0.0", "1.1.0") or (name == "1.0.0" and not said):
                faults.append(f"{size_kb} kB: {name} came up, told: {said!r}")
            box.close()
        finally:
            end_toys(mounted / "box")
            subprocess.run(["umount", "-l", str(mounted)], check=False)
    return Verdict(f"a full file system ({through} of {tried} updates had room)", tried, tuple(faults))


def rollbacks(folder: Path, times: int) -> Verdict:
    """From the decision until the release before runs again."""
    folder.mkdir()
    world = World.made(folder, "silent")
    slowest_s, faults = 0.0, list[str]()
    for number in range(times):
        with world.box(f"back-{number}") as box:
            box.comes_up()
            box.ask(FolderSource(world.signed.folder))
            update: ReleaseUpdate = box.update(0.0)
            update.apply_pending()
            began_s = time.monotonic()
            update.watch()
            while not box.starts()[-1].startswith("1.0.0-") or len(box.starts()) < 2:
                if time.monotonic() - began_s > 60:
                    faults.append(f"{number}: the release before doesn't run")
                    break
                time.sleep(0.01)
            slowest_s = max(slowest_s, time.monotonic() - began_s)
    return Verdict("rolled back", times, tuple(faults), slowest_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every part; 4 where a box didn't come up, ran what nobody signed, or took longer than 10 s to roll back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="cut at every n-th file operation (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    sound = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: list[Callable[[], Verdict]] = [
            lambda: offers(folder / "offers"),
            lambda: rollbacks(folder / "rollbacks", 10),
            lambda: cuts(folder / "good", "good", args.every, args.seed),
            lambda: cuts(folder / "silent", "silent", args.every, args.seed),
        ]
        if os.geteuid() == 0:
            parts.append(lambda: room(folder / "room", range(0, 240, 4 * args.every)))
        for part in parts:
            verdict = part()
            print(verdict, flush=True)
            sound = sound and verdict.sound
    return 0 if sound else 4


if __name__ == "__main__":
    sys.exit(main())
