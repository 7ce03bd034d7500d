"""What commands do. Each returns what it answers; what needs the instrument is done by the loop between two samples.

`set`, `activate` and `rollback` make another `Work`: the loop goes on as that from the next sample on, with a fresh look at the
window; nothing is restarted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from device.calibration import Calibrations, commissioning_record
from device.config import Config
from device.errors import CheckError, HolonodeError, InputError, TransientError
from device.health.armed import arm
from device.health.delivery import link_checks
from device.health.endurance import facts_of
from device.health.preflight import Preflight, preflight
from device.inference import active
from device.instrument import Instrument
from device.messaging.link import LinkState, MqttLink, parse_url
from device.messaging.payloads import Check
from device.messaging.request_messages import Activate, Arm, Media, Request, Rollback, Set
from device.messaging.topics import Topics
from device.rig.models import model_store
from device.rig.rig import Rig
from device.service.loop_requests import LoopRequests
from device.service.request_dispatcher import CompletionCallback, RequestHandler
from device.service.support import bundle_path, secrets_of, write_bundle
from device.service.update_requests import UpdateRequests
from device.service.work import Work
from device.settings import STATE_KEY, changed, overlaid, overlay_of
from device.storage.crop_pictures import crop_picture
from device.storage.outbox import Outbox
from device.storage.reading import StoreReader
from device.storage.review import FOLDER as REVIEW_FOLDER
from device.storage.review import ReviewFolder

__all__ = ["RequestHandlers", "takes_requests"]

_FROM_NEXT = "from the next sample on"
_LAST_RECORDS = 200
_LARGEST_MEDIA = 2 * 2**20
"""Bytes: a bundle is some 100 kB; a broker that takes less than it is sent hangs up."""


def takes_requests(config: Config, *, own: bool) -> bool:
    """Whether commands are taken: as configured, else from this machine alone (its `own` broker) or over TLS."""
    if config.commands.enabled is not None:
        return config.commands.enabled
    if own:
        return True
    address = parse_url(config.mqtt.url)
    return address.tls or address.host in ("localhost", "::1") or address.host.startswith("127.")


@dataclass
class RequestHandlers:
    """Everything that a command may touch."""

    file: Config
    """The configuration without what was changed from afar."""
    work: Work
    """What is sampled by, or will be from the next sample on."""
    nominal: Instrument
    calibrated: Calibrations
    outbox: Outbox
    loop_requests: LoopRequests
    link: MqttLink
    drivers: Rig
    describe: Callable[[], dict[str, object]]
    """For a support bundle: what is told of the box, by name."""
    log_tail: Callable[[], str]

    def by_name(self) -> dict[str, RequestHandler]:
        """By command."""
        at_once: dict[str, Callable[[Any], dict[str, Any]]] = {
            "start": self._start, "stop": self._stop, "sample_now": self._sample_now, "set": self._set, "media": self._media,
            "activate": self._activate, "rollback": self._rollback, "support_bundle": self._support_bundle,
        }  # fmt: skip
        handlers: dict[str, RequestHandler] = {name: _now(handler) for name, handler in at_once.items()}
        updates = UpdateRequests(self.file, lambda: self.calibrated.instrument.geometry, self._reopen)
        return handlers | {"arm": self._arm, "update": updates.begin}

    def _start(self, _request: Request) -> dict[str, Any]:
        self.loop_requests.pause(paused=False)
        return {"sampling": "started"}

    def _stop(self, _request: Request) -> dict[str, Any]:
        self.loop_requests.pause(paused=True)
        return {"sampling": "stopped", "applies": "once the sample that runs is over"}

    def _sample_now(self, _request: Request) -> dict[str, Any]:
        self.loop_requests.ask_sample()
        return {"applies": "once the sample that runs is over"}

    def _set(self, request: Set) -> dict[str, Any]:
        overlay = changed(self.file, overlay_of(self.outbox.get_state(STATE_KEY)), request.settings)
        work = self.work.with_config(overlaid(self.file, overlay), self.calibrated)
        self.outbox.keep({STATE_KEY: msgspec.json.encode(overlay).decode()})
        self._go_on_as(work)
        return {"settings": overlay, "config_hash": work.origin.config_hash, "applies": _FROM_NEXT}

    def _go_on_as(self, work: Work) -> None:
        self.work = work
        self.loop_requests.give_work(work)

    # -- models -----------------------------------------------------------------------------------------------------------

    def _activate(self, request: Activate) -> dict[str, Any]:
        store, geometry = model_store(self.work.config), self.calibrated.instrument.geometry
        change = active.activate(store, request.name, request.version, geometry, allow_older=request.allow_older)
        try:
            self._reopen()
        except HolonodeError:
            if change.changed:
                active.rollback(store, request.name)
            raise
        use = change.bundle.use
        return {"active": msgspec.to_builtins(use), "changed": change.changed, "applies": _FROM_NEXT}

    def _rollback(self, request: Rollback) -> dict[str, Any]:
        store, geometry = model_store(self.work.config), self.calibrated.instrument.geometry
        before = store.activations().get(request.name, ())
        bundle = active.rollback(store, request.name)
        try:
            self._reopen()
        except HolonodeError:
            active.activate(store, request.name, before[-1].version, geometry, allow_older=True)
            raise
        return {"active": msgspec.to_builtins(bundle.use), "changed": True, "applies": _FROM_NEXT}

    def _reopen(self) -> None:
        # Where a model is left out already, mending another one must not fail for it.
        tolerant = bool(self.work.left_out)
        self._go_on_as(Work.of(self.work.config, self.calibrated, self.outbox.spool_id, tolerant=tolerant))

    # -- media ------------------------------------------------------------------------------------------------------------

    def _media(self, request: Media) -> dict[str, Any]:
        kind = "application/zip" if request.id.startswith("support-") else "image/png"
        content = self._bundle(request.id) if kind == "application/zip" else self._picture(request.id)
        topic = f"media/{request.id}"
        self.link.send(Topics(self.outbox.device_id).of(topic), content, content=kind)
        return {"topic": topic, "bytes": len(content), "content_type": kind}

    def _bundle(self, bundle_id: str) -> bytes:
        try:
            content = bundle_path(self.outbox.folder, bundle_id).read_bytes()
        except OSError as error:
            raise InputError(
                "there is no such support bundle", where="id", got=bundle_id, remedy="Ask for one: support_bundle."
            ) from error
        if len(content) > _LARGEST_MEDIA:
            raise InputError(
                "the bundle is too large to publish", where="id", expected=f"at most {_LARGEST_MEDIA} bytes", got=len(content),
                remedy=f"It lies in {bundle_path(self.outbox.folder, bundle_id)}.",
            )  # fmt: skip
        return content

    def _picture(self, detection_id: str) -> bytes:
        review = ReviewFolder(self.outbox.folder / REVIEW_FOLDER)
        entry = next((entry for entry in review.entries() if entry.id == detection_id), None)
        crop = review.read(entry) if entry else None
        if crop is None:
            raise InputError(
                "no picture is kept of this detection", where="id", got=detection_id,
                remedy="Only uncertain ones and a random share are kept (review.budget_mb, review.random_share).",
            )  # fmt: skip
        return crop_picture(crop)

    def _support_bundle(self, _request: Request) -> dict[str, Any]:
        records = self.outbox.ask(lambda store: store.last(_LAST_RECORDS))
        try:
            path = write_bundle(self.outbox.folder, self.describe(), self.log_tail(), records, secrets_of(self.work.config))
        except OSError as error:
            raise TransientError("the bundle can't be written", where=self.outbox.folder, got=error.strerror) from error
        return {"id": path.stem, "bytes": path.stat().st_size, "file": path.name, "fetch": f"media {path.stem}"}

    # -- arm --------------------------------------------------------------------------------------------------------------

    def _arm(self, request: Arm, done: CompletionCallback) -> dict[str, Any] | None:
        until_s = time.monotonic() + self.file.commands.max_age_s

        def job(under_way: bool) -> None:
            data: dict[str, Any] = {}
            try:
                data, failure = self._armed(request, under_way=under_way, late=time.monotonic() > until_s)
            except HolonodeError as error:
                failure = error
            done(data, failure)

        if not self.loop_requests.give_job(job):
            raise TransientError("another preflight waits for a sample to end", remedy="Its answer tells.")
        return None

    def _armed(self, request: Arm, *, under_way: bool, late: bool) -> tuple[dict[str, Any], HolonodeError | None]:
        if late:
            raise TransientError(
                "no sample ended in time", expected=f"within commands.max_age_s = {self.file.commands.max_age_s:g} s",
                remedy="Nothing was checked. Stop sampling first, then arm.",
            )  # fmt: skip
        if under_way:
            raise TransientError("an assay is under way and needs the instrument", remedy="Arm once it is over.")
        outcome = self._looked(request.days)
        good = not outcome.failed or bool(request.force.strip())
        if good:
            arm(self.outbox, outcome.armed(request.by, request.force))
        # Pump and lamp were on: what lies on the window is looked at afresh.
        self.loop_requests.give_work(self.work, unless_given=True)
        data = {"armed": good, "reason": request.force or None, **outcome.to_builtins()}
        return data, None if good else CheckError(
            "not armed", got=f"failed: {', '.join(outcome.failed)}", remedy="Mend it, or arm all the same with `force`: why."
        )

    def _looked(self, days: float) -> Preflight:
        config, outbox = self.work.config, self.outbox
        return preflight(
            config,
            self.calibrated,
            model_store(config),
            self.drivers,
            sleep=self.drivers.time.sleep,
            facts=facts_of(outbox.get_state, outbox.folder, outbox.ask(StoreReader.history)),
            days=days,
            clock=outbox.clock.quality(),
            broker=self._broker_check,
            commissioned=commissioning_record(Path(config.calibration.folder).expanduser(), self.nominal),
        )

    def _broker_check(self, _checks: Sequence[Check]) -> Check:
        """The service's own link, by what it delivers: it has just brought the command."""
        found = [check for check in link_checks(self.link.report(), self.outbox) if check.status != "ok"]
        up = self.link.state is LinkState.CONNECTED
        status = "ok" if up and not found else "warning" if up and not _keeps_records(found) else "failed"
        told = [f"{check.name}: {check.message}" for check in found]
        return Check(
            name="broker", status=status, message="; ".join([self.link.state.value, *told]),
            remedy="; ".join(check.remedy for check in found) or ("" if up else "Check mqtt.url and what this device may write"),
        )  # fmt: skip


def _keeps_records(found: Sequence[Check]) -> bool:
    """Whether any of it keeps records on the box."""
    return any(check.status == "failed" or check.name == "delivery" for check in found)


def _now(handler: Callable[[Any], dict[str, Any]]) -> RequestHandler:
    return lambda request, _done: handler(request)
