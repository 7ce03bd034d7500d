"""The service's side: look what is offered, fetch it, take models into the store, ask root for a release.

Nothing here needs root. What is fetched stays where root reads it, and verifies it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from device.config import Config
from device.errors import CheckError, InputError
from device.inference.active import activate, install
from device.inference.bounds import version_key
from device.inference.store import ModelStore
from device.inference.tasks.kinds import task_kinds
from device.messaging.details import Updated
from device.optics.geometry import Geometry
from device.records import iso_time
from device.releases import Layout, Machine, current, this_machine
from device.updates.files import remove, sole_change, write_whole
from device.updates.notice import UpdateNotice, keep_notice
from device.updates.offers import Offer, newest_release, release_key
from device.updates.sources import UpdateSource, update_source
from device.updates.trials import TrialBook, UpdatePlaces, UpdateRequest
from device.updates.trust import UpdateTrust

__all__ = ["UpdateAsk", "UpdateNews", "What"]


What = Literal["check", "fetch", "apply"]


@dataclass(frozen=True)
class UpdateNews:
    """What is offered and newer than what is here."""

    release: Offer | None
    models: tuple[Offer, ...]
    passed_over: str = ""
    """Why the newest release is none of it, where it is not."""

    @property
    def offers(self) -> tuple[Offer, ...]:
        """All of them."""
        return (self.release, *self.models) if self.release is not None else self.models


@dataclass(frozen=True)
class UpdateAsk:
    """One box and one source."""

    places: UpdatePlaces
    source: UpdateSource
    trust: UpdateTrust
    machine: Machine
    running: str | None
    """Version of the installed release that runs; None: this is none."""
    uses: frozenset[str] | None = None
    """Names of the models that this box works with: a list is for boxes of many kinds. None: all that it holds."""

    @classmethod
    def of(cls, config: Config, source: str = "") -> UpdateAsk:
        """As configured; InputError where no source is named."""
        settings = config.updates
        if not (written := source or settings.source):
            raise InputError("no source of updates is named", where="updates.source", expected="https://... or --source FOLDER")
        layout = Layout()
        places, running = UpdatePlaces(layout, Path(settings.folder).expanduser()), current(layout)
        trust = UpdateTrust(places.service, Path(settings.root_file).expanduser())
        uses = frozenset(kind.chosen(config.analysis) for kind in task_kinds().values())
        return cls(places, update_source(written), trust, this_machine(), running and running.version, uses)

    def carry_out(self, what: What, store: ModelStore, geometry: Geometry | None) -> Updated:
        """Look, and fetch, and take models and ask for the release, as far as `what` goes."""
        news, done = self.look(store), list[str]()
        for offer in news.offers if what != "check" else ():
            self.fetch(offer)
        for offer in news.models if what == "apply" else ():
            self.take_model(offer, store, geometry)
            done.append(f"{offer.custom.name} {offer.custom.version} is active")
        if what == "apply" and news.release is not None:
            self.ask(news.release)
            done.append(f"{news.release.name} is asked for: root verifies it again, `holonode update status` tells")
        offered = () if what == "apply" else tuple(offer.name for offer in news.offers)
        keep_notice(self.places, UpdateNotice(iso_time(datetime.now(UTC)), offered))
        return Updated(
            release=news.release and news.release.name, models=tuple(one.name for one in news.models), passed_over=news.passed_over,
            done=tuple(done),
        )  # fmt: skip

    def look(self, store: ModelStore) -> UpdateNews:
        """Verified; CheckError where the list can't be trusted, TransientError where it can't be had."""
        with sole_change(self.places.service):
            offers = self.trust.refresh(self.source)
        names = [name for name in store.names() if self.uses is None or name in self.uses]
        models = tuple(filter(None, (self._newer_model(name, offers, store) for name in names)))
        newest = newest_release(offers, arch=self.machine.arch, python=self.machine.python)
        if newest is None or self.running is None or release_key(newest.custom.version) <= release_key(self.running):
            return UpdateNews(None, models)
        for outcome in TrialBook(self.places).outcomes():
            if outcome.sha256 == newest.sha256 and outcome.result in ("refused", "rolled back"):
                return UpdateNews(None, models, f"{newest.name} was {outcome.result} here: {outcome.reason}")
        return UpdateNews(newest, models)

    def fetch(self, offer: Offer) -> Path:
        """Verified, where root finds it."""
        with sole_change(self.places.service):
            return self.trust.fetch(offer, self.source)

    def ask(self, offer: Offer) -> None:
        """Leave a request for root, which watches for it; InputError where the file was not fetched."""
        if not (self.places.service / "targets" / offer.stored).is_file():
            raise InputError("this file was not fetched yet", got=offer.name)
        write_whole(self.places.request, msgspec.json.encode(UpdateRequest(offer.name, offer.sha256)))

    def take_model(self, offer: Offer, store: ModelStore, geometry: Geometry | None) -> None:
        """Install and activate a fetched model: digest, optics and golden self-test are looked at as of any other.

        CheckError or InputError where it can't be used here; the one before it stays active.
        """
        file = self.places.service / "targets" / offer.stored
        try:
            change = install(store, file, geometry)
            found = (change.bundle.manifest.name, change.bundle.manifest.version)
            if found != (offer.custom.name, offer.custom.version):
                raise CheckError(
                    "the model is not what was signed", expected=f"{offer.custom.name} {offer.custom.version}", got=found
                )
            activate(store, offer.custom.name, offer.custom.version, geometry)
        finally:
            remove(file)

    @staticmethod
    def _newer_model(name: str, offers: tuple[Offer, ...], store: ModelStore) -> Offer | None:
        of_name = [one for one in offers if (one.custom.kind, one.custom.name) == ("model", name)]
        newest = max(of_name, key=lambda one: version_key(one.custom.version), default=None)
        here = [version_key(path.stem.rpartition("-")[2]) for path in store.models(name)]
        return newest if newest is not None and version_key(newest.custom.version) > max(here, default=(0,)) else None
