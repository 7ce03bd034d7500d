"""All routes of a box, and what serves them."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from device.config import WebConfig
from device.web.api.box import DashboardContext
from device.web.api.commands import CommandEndpoints
from device.web.api.exports import ExportEndpoints
from device.web.api.history import HistoryEndpoints
from device.web.api.instrument import InstrumentEndpoints
from device.web.api.meanings import MeaningEndpoints
from device.web.api.metrics import MetricsEndpoints
from device.web.api.now import NowEndpoints
from device.web.api.records import RecordEndpoints
from device.web.api.review import ReviewEndpoints
from device.web.api.sign_in import SessionEndpoints
from device.web.api.trend import TrendEndpoints
from device.web.security.access_store import AccessStore
from device.web.security.own_certificate import own_certificate, server_context
from device.web.security.requester import HostPolicy, is_loopback
from device.web.serving.access_control import AccessControl, application
from device.web.serving.assets import PAGES, StaticPages
from device.web.serving.governor import Governor
from device.web.serving.routes import Endpoint
from device.web.serving.server import WebServer, listening

__all__ = ["Dashboard", "certificate_of"]


@dataclass(frozen=True)
class Dashboard:
    """A box's dashboard, served from `start` to `stop`."""

    server: WebServer
    app: Starlette
    endpoints: list[Endpoint]
    access: AccessStore
    exports: ExportEndpoints

    @classmethod
    def of(cls, box: DashboardContext, config: WebConfig) -> Dashboard:
        """Bound to its address, not served yet; HolonodeError where that can't be."""
        context = _context(box, config)
        listener = listening(config.address, config.port)
        try:
            access = AccessStore(box.folder)
            place = HostPolicy([*config.hosts, *_own_names(config)], config.trusted_proxies)
            access_control = AccessControl(place, access, cookie=f"holonode-{box.device_id}")
            now, exports = NowEndpoints(box, access_control), ExportEndpoints(box)
            parts = (
                StaticPages(PAGES), SessionEndpoints(access_control, box.device_id, box.audit), now, HistoryEndpoints(box.history, box.device_id), ReviewEndpoints(box), CommandEndpoints(box),
                InstrumentEndpoints(box), RecordEndpoints(box), exports, MeaningEndpoints(box.states), MetricsEndpoints(box.states), TrendEndpoints(box.optics),
            )  # fmt: skip
            endpoints = [way for part in parts for way in part.endpoints()]
            governor = Governor()
            app = application(endpoints, access_control, governor.charge)
            server = WebServer(app, listener, governor, context)
        except BaseException:
            listener.close()
            raise
        server.at_end(now.streams.close)
        return cls(server, app, endpoints, access, exports)

    def start(self) -> None:
        """Begin to serve."""
        self.server.start()

    def stop(self) -> None:
        """Serve no more; safe to call twice."""
        self.exports.close()
        self.server.stop()
        self.access.close()


def certificate_of(folder: Path, device_id: str, config: WebConfig) -> tuple[Path, Path] | None:
    """Certificate and key, made where there are none; None where the dashboard is served on loopback alone, without TLS."""
    if config.cert_file:
        return Path(config.cert_file).expanduser(), Path(config.key_file).expanduser()
    return None if is_loopback(config.address) else own_certificate(folder, device_id)


def _context(box: DashboardContext, config: WebConfig) -> ssl.SSLContext | None:
    files = certificate_of(box.folder, box.device_id, config)
    return None if files is None else server_context(*files)


def _own_names(config: WebConfig) -> list[str]:
    """What this machine is called, where others can come by that name."""
    if is_loopback(config.address):
        return []
    name = socket.gethostname()
    return [name, f"{name}.local"]
