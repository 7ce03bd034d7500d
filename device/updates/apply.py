"""Root's side of an update: verify again, stage, test, swap, and wait for the service's word or roll back.

Whatever the service left is read as an untrusted source. Each step may be cut off: what is on the disk then is the old release,
or the new one with a trial that the next start of the machine counts and ends (`at_boot`).
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device.errors import CheckError, HolonodeError, InputError, TransientError
from device.records import iso_time
from device.releases import (
    Bundle,
    Layout,
    Machine,
    Release,
    activate,
    current,
    drop,
    read_bundle,
    roll_back,
    stage,
    this_machine,
)
from device.releases.system import check_store, link_system, store_schema_of
from device.updates.control import ReleaseTest, ServiceControl
from device.updates.downloads import DownloadLimits
from device.updates.files import remove, sole_change
from device.updates.floor import TimeFloor
from device.updates.kept_store import KeptStore
from device.updates.offers import Custom, Offer, release_key
from device.updates.sources import KeptSource
from device.updates.trials import Trial, TrialBook, UpdateOutcome, UpdatePlaces, UpdateRequest

__all__ = ["CONFIRM_WITHIN_S", "MOST_BOOTS", "MOST_RESTARTS", "ReleaseUpdate"]

CONFIRM_WITHIN_S = 1800.0
"""Within which camera, lamp, inference and broker have to work after a swap: the first interval of a slow board takes eight
minutes, and models are tested anew under another runtime."""
MOST_BOOTS = 3
"""Starts of the machine that a trial may see: whoever cuts the power of a box that doesn't come up has seen it often enough."""
MOST_RESTARTS = 4
"""Of the service on trial: one that ends at once is not waited for, and one that a slow start ended is given another try or two."""
_MOST_ATTEMPTS = 3
_LOOK_S = 1.0


@dataclass
class ReleaseUpdate:
    """Updates of one installation."""

    layout: Layout
    control: ServiceControl
    """Stops and starts the service."""
    test: ReleaseTest
    """Tests a staged release in a process of its own."""
    machine: Machine = field(default_factory=this_machine)
    confirm_within_s: float = CONFIRM_WITHIN_S
    limits: DownloadLimits = field(default_factory=DownloadLimits)
    """Of what is copied from the service's folder."""
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.places = UpdatePlaces(self.layout)
        self.book = TrialBook(self.places)
        self._floor = TimeFloor(self.places.own / "time.json")
        self._store = KeptStore(self.layout)

    # -- apply ------------------------------------------------------------------------------------------------------------

    def apply_pending(self) -> str:
        """Put on trial what the service asks for; returns what was done. Whatever can't be used is refused, once."""
        self._require_installed()
        with sole_change(self.places.own):
            request, final = UpdateRequest("the request", ""), False
            try:
                asked = self.book.request()
                if asked is None:
                    return "nothing is asked for"
                request = UpdateRequest(asked.name[:200], asked.sha256[:64])
                self._refuse_second_trial()
                final = self.book.attempt(request.sha256) > _MOST_ATTEMPTS
                if final:
                    raise CheckError("this update was cut off too often", where=request.name, got=f"{_MOST_ATTEMPTS} times")
                offer, file = self._verified(request)
                # From here on it is the bundle that is judged, not the list or this moment.
                final = True
                release = self._put_on_trial(file, request.sha256, offer.custom)
            except HolonodeError as error:
                self._refused(request, str(error), final=final and isinstance(error, CheckError))
                raise
            except OSError as error:
                self._refused(request, str(error), final=False)
                raise TransientError("the update can't be made", where=error.filename, got=error.strerror) from error
            remove(self.places.request)
            self._forget_files()
        return f"{release.name} is on trial"

    def apply_unsigned(self, file: Path) -> str:
        """The same for a bundle that a person at this box vouches for."""
        self._require_installed()
        with sole_change(self.places.own):
            self._refuse_second_trial()
            release = self._put_on_trial(file, "", None)
        return f"{release.name} is on trial, unsigned"

    def _require_installed(self) -> Release:
        if (running := current(self.layout)) is None:
            raise InputError("nothing is installed here that could be updated", where=self.layout.current)
        return running

    def _refuse_second_trial(self) -> None:
        if (trial := self.book.trial()) is not None:
            raise TransientError(
                "another release is on trial", where=trial.release, remedy="Wait until it is good or rolled back."
            )

    def _refused(self, request: UpdateRequest, reason: str, *, final: bool) -> None:
        """Told and gone: root's unit would be started again and again for a request that stays."""
        result = "refused" if final else "put off"
        with contextlib.suppress(OSError):  # a full disk
            self.book.tell(
                UpdateOutcome(result=result, release=request.name, sha256=request.sha256, reason=reason, at=self._at())
            )
        remove(self.places.request)
        self._forget_files()

    def _verified(self, request: UpdateRequest) -> tuple[Offer, Path]:
        """The file that is asked for, by root's own trust and in root's own folder."""
        from device.updates.trust import UpdateTrust

        trust = UpdateTrust(self.places.own, self.places.pinned, floor=self._floor, limits=self.limits)
        source = KeptSource(self.places.service)
        for offer in trust.refresh(source):
            if (offer.name, offer.sha256, offer.custom.kind) == (request.name, request.sha256, "release"):
                return offer, trust.fetch(offer, source)
        raise CheckError("no signed list names this release", where=request.name[:200], remedy="It is not used.")

    def _put_on_trial(self, file: Path, sha256: str, signed: Custom | None) -> Release:
        bundle, running = read_bundle(file), self._require_installed()
        self._refuse(bundle, running, signed)
        release = stage(bundle, self.layout, self.machine)
        try:
            self.test(release)
        except HolonodeError:
            self._discard(release)
            raise
        self._swap(bundle, release, running, sha256)
        return release

    def _refuse(self, bundle: Bundle, running: Release, signed: Custom | None) -> None:
        if bundle.release_name == running.name:
            raise InputError("this release runs already", where=running.name)
        check_store(self.layout, bundle.store_schema)
        if signed is None:
            return
        says, is_ = (signed.version, signed.arch, signed.python), (bundle.version, bundle.arch, bundle.python)
        if says != is_:
            raise CheckError("the bundle is not what was signed", expected=" ".join(says), got=" ".join(is_))
        if release_key(bundle.version) < release_key(running.version):
            raise CheckError(
                "this release is older than the one that runs", expected=f"{running.version} or newer", got=bundle.version,
                remedy="What newer ones mended would come back: a person at the box may apply its bundle with --unsigned.",
            )  # fmt: skip

    def _swap(self, bundle: Bundle, release: Release, running: Release, sha256: str) -> None:
        remove(self.places.confirmed)
        self._store.require_room(self._raises_schema(bundle))
        self.control.stop(at_once=False)
        try:
            kept = self._store.keep() if self._raises_schema(bundle) else ""
            self.book.keep(
                Trial(id=secrets.token_hex(8), release=release.name, before=running.name, sha256=sha256, kept_store=kept)
            )
            activate(self.layout, release)
            link_system(self.layout)
        except (HolonodeError, OSError):
            self._back_out(release)
            raise
        finally:
            self.control.start()
        self.control.watch()

    def _back_out(self, release: Release) -> None:
        """The swap did not come about."""
        if current(self.layout) == release:
            roll_back(self.layout)
        self._store.forget()
        self.book.end(None)
        self._discard(release)

    def _raises_schema(self, bundle: Bundle) -> bool:
        """Whether the release before could not read the store any more once the new one opened it."""
        schema = store_schema_of(self.layout)
        return schema is not None and schema < bundle.store_schema

    # -- the trial --------------------------------------------------------------------------------------------------------

    def watch(self) -> str:
        """Wait for the service's word on the trial, or roll back; returns how it came out."""
        until_s = self.monotonic() + self.confirm_within_s
        while True:
            trial = self.book.trial()
            if trial is None:
                return "nothing is on trial"
            if trial.failed or current(self.layout) != self.layout.release(trial.release):
                return self.at_boot() or "nothing is on trial"
            if self.book.confirmation(trial) is not None:
                return self._good(trial)
            why = ""
            if self.monotonic() > until_s:
                why = f"not confirmed within {self.confirm_within_s:.0f} s"
            elif (restarts := self.control.restarts()) > MOST_RESTARTS:
                why = f"the service ended by itself {restarts} times"
            if why:
                with sole_change(self.places.own, waits=True):
                    return self._undo(trial, why, runs=True)
            self.sleep(_LOOK_S)

    def at_boot(self) -> str:
        """Before the service starts: count, and end a trial that saw too many starts or was cut off; empty where there is none."""
        trial = self.book.trial()
        if trial is None:
            return ""
        with sole_change(self.places.own, waits=True):
            if trial.failed:
                return self._undo(trial, trial.failed, runs=False)
            if current(self.layout) != self.layout.release(trial.release):
                self._store.forget()
                self.book.end(None)
                return f"{trial.release} never came to run"
            trial = msgspec.structs.replace(trial, boots=trial.boots + 1)
            self.book.keep(trial)
            if trial.boots > MOST_BOOTS:
                return self._undo(trial, f"not confirmed over {MOST_BOOTS} starts of the machine", runs=False)
        return f"{trial.release} is on trial, start {trial.boots} of {MOST_BOOTS}"

    def _good(self, trial: Trial) -> str:
        with sole_change(self.places.own, waits=True):
            self.book.end(UpdateOutcome(result="good", release=trial.release, sha256=trial.sha256, at=self._at()))
            remove(self.places.confirmed)
            self._store.forget()
            drop(self.layout, keep=2)
        return f"{trial.release} is good"

    def _undo(self, trial: Trial, reason: str, *, runs: bool) -> str:
        """Back to the release before; may be cut off and begun again at any point."""
        self.book.keep(msgspec.structs.replace(trial, failed=reason))
        if runs:
            self.control.stop(at_once=True)
        if trial.kept_store:
            self._store.put_back()
        if current(self.layout) == self.layout.release(trial.release):
            roll_back(self.layout)
        link_system(self.layout)
        if runs:
            self.control.start()
        self.book.end(
            UpdateOutcome(result="rolled back", release=trial.release, sha256=trial.sha256, reason=reason, at=self._at())
        )
        self._discard(self.layout.release(trial.release))
        return f"{trial.release} is rolled back: {reason}"

    def _discard(self, release: Release) -> None:
        """Remove a release that doesn't run."""
        if release.path.is_dir() and release != current(self.layout):
            gone = self.layout.releases / f".dropped-{release.name}"
            release.path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _forget_files(self) -> None:
        for folder in (self.places.own, self.places.service):
            shutil.rmtree(folder / "targets", ignore_errors=True)

    def _at(self) -> str:
        try:
            return iso_time(self._floor.now())
        except CheckError:
            return "unknown"
