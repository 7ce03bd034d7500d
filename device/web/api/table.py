"""All routes of a box, and what serves them."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from device.config import WebConfig
from device.web.api.box import Dashboarded
from device.web.api.commands import Commands
from device.web.api.exports import Exports
from device.web.api.history import HistoryWays
from device.web.api.instrument import InstrumentWays
from device.web.api.meaning_of import MeaningOf
from device.web.api.now import Now
from device.web.api.records import Records
from device.web.api.review import Review
from device.web.api.sign_in import SignIn
from device.web.security.access_store import AccessStore
from device.web.security.own_certificate import own_certificate, server_context
from device.web.security.requester import Place, is_loopback
from device.web.serving.assets import Pages
from device.web.serving.gate import Gate, application
from device.web.serving.routes import Way
from device.web.serving.server import WebServer, listening

__all__ = ["Dashboard", "certificate_of"]

PAGES = Path(__file__).resolve().parents[1] / "pages"


@dataclass(frozen=True)
class Dashboard:
    """A box's dashboard, served from `start` to `stop`."""

    server: WebServer
    app: Starlette
    ways: list[Way]
    access: AccessStore
    exports: Exports

    @classmethod
    def of(cls, box: Dashboarded, config: WebConfig) -> Dashboard:
        """Bound to its address, not served yet; HolonodeError where that can't be."""
        context = _context(box, config)
        listener = listening(config.address, config.port)
        try:
            access = AccessStore(box.folder)
            place = Place([*config.hosts, *_own_names(config)], config.trusted_proxies)
            gate = Gate(place, access, cookie=f"holonode-{box.device_id}")
            now, exports = Now(box, gate), Exports(box)
            parts = (
                Pages(PAGES), SignIn(gate, box.device_id, box.audit), now, HistoryWays(box), Review(box), Commands(box),
                InstrumentWays(box), Records(box), exports, MeaningOf(box),
            )  # fmt: skip
            ways = [way for part in parts for way in part.ways()]
            app = application(ways, gate)
            server = WebServer(app, listener, context)
        except BaseException:
            listener.close()
            raise
        server.at_end(now.streams.close)
        return cls(server, app, ways, access, exports)

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


def _context(box: Dashboarded, config: WebConfig) -> ssl.SSLContext | None:
    files = certificate_of(box.folder, box.device_id, config)
    return None if files is None else server_context(*files)


def _own_names(config: WebConfig) -> list[str]:
    """What this machine is called, where others can come by that name."""
    if is_loopback(config.address):
        return []
    name = socket.gethostname()
    return [name, f"{name}.local"]
