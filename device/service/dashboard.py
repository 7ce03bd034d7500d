"""The dashboard in the service: what it is given, and that its trouble is nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from device.config import WebConfig
from device.errors import HolonodeError
from device.health.trend import FigureDays
from device.messaging.payloads import Check
from device.records import Event
from device.rig.models import model_store
from device.service.look import LookBoard
from device.service.recorder import Recorder
from device.service.request_dispatcher import RequestDispatcher
from device.service.request_handlers import RequestHandlers
from device.service.state import StateBoard
from device.service.support import LogTail
from device.storage.audit import AuditLog
from device.storage.history import HistoryReader
from device.storage.rows import Record
from device.web.api.box import DashboardContext
from device.web.api.table import Dashboard, certificate_of
from device.web.security.own_certificate import fingerprint_of

__all__ = ["DashboardKeeper", "fingerprint"]


class DashboardKeeper:
    """Serves it where that can be, and says where it can't."""

    def __init__(self, box: DashboardContext, say: Callable[[str], None]) -> None:
        self._box, self._say = box, say
        self._dashboard: Dashboard | None = None
        self._trouble: HolonodeError | None = None

    @classmethod
    def of(
        cls,
        handlers: RequestHandlers,
        board: StateBoard,
        dispatcher: RequestDispatcher,
        audit: AuditLog,
        log_tail: LogTail,
        say: Callable[[str], None],
        recorder: Recorder,
        history: HistoryReader,
        looks: LookBoard,
        optics: Callable[[], list[FigureDays]],
    ) -> DashboardKeeper:
        """Of a service."""
        outbox = handlers.outbox
        box = DashboardContext(
            outbox.device_id, outbox.folder, handlers.file,
            config=lambda: handlers.work.config, nominal=handlers.nominal, states=board, looks=looks, history=history,
            receive=dispatcher.receive, audit=audit, log_tail=log_tail.text, models=lambda: model_store(handlers.work.config),
            geometry=lambda: (handlers.calibrated.instrument.geometry, handlers.work.pipeline.binning), optics=optics,
        )  # fmt: skip

        def hear(records: Sequence[Record]) -> None:
            for record in records:
                if isinstance(record, Event):
                    box.events.add(record)

        recorder.hearers += (hear,)
        return cls(box, say)

    def start(self) -> None:
        """Nothing is raised: a box without a dashboard samples."""
        try:
            self._dashboard = Dashboard.of(self._box, self._box.file.web)
            self._dashboard.start()
        except HolonodeError as error:
            self._trouble = error
            self._say(f"no dashboard: {error}")
            return
        first = "" if self._dashboard.access.is_set_up else " (no password yet: the first visit on this machine sets it)"
        self._say(f"dashboard {self._dashboard.server.url}{first}")

    def check(self) -> list[Check]:
        """For `health`: nothing where all is well."""
        trouble = self._trouble
        if trouble is None and (self._dashboard is None or self._dashboard.server.is_serving):
            return []
        message = "its server broke" if trouble is None else str(trouble)
        return [Check(name="dashboard", status="warning", message=message, remedy="Start the service again; its log has more.")]

    def stop(self) -> None:
        """Serve no more; safe to call twice."""
        if self._dashboard is not None:
            self._dashboard.stop()


def fingerprint(folder: Path, device_id: str, config: WebConfig) -> str | None:
    """Of the dashboard's certificate; None where it has none, or it can't be read: `health` tells why."""
    try:
        files = certificate_of(folder, device_id, config)
        return None if files is None else fingerprint_of(files[0])
    except HolonodeError:
        return None
