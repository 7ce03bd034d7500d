"""What is served, and where: pages, sessions and limits as on a box, the routes of the fleet."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from deploy.fleet.dashboard.endpoints import FleetEndpoints
from deploy.fleet.dashboard.pool import ConnectionPool
from device.errors import InputError
from device.storage.audit import AuditLog
from device.web.api.meanings import MeaningEndpoints
from device.web.api.sign_in import SessionEndpoints
from device.web.security.access_store import AccessStore
from device.web.security.own_certificate import own_certificate, server_context
from device.web.security.requester import HostPolicy, is_loopback
from device.web.serving.access_control import AccessControl, application
from device.web.serving.assets import PAGES, StaticPages
from device.web.serving.governor import Governor
from device.web.serving.routes import Endpoint
from device.web.serving.server import WebServer, listening

__all__ = ["FleetDashboard", "Served"]


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where, and to whom."""

    folder: Path
    """Holds passwords, sessions and the certificate that is made here; for its owner alone."""
    address: str = "127.0.0.1"
    """Beyond loopback over TLS and with a password."""
    port: int = 8090
    """The next free one where it is taken; 0: any."""
    hosts: tuple[str, ...] = ()
    """Further names that it is asked by."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies whose forwarded headers count."""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class FleetDashboard:
    """Served from `start` to `stop`."""

    server: WebServer
    app: Starlette
    endpoints: list[Endpoint]
    access: AccessStore
    pool: ConnectionPool

    @classmethod
    def of(cls, database: str, served: Served) -> FleetDashboard:
        """Bound to its address, not served yet; HolonodeError where that can't be."""
        if bool(served.cert_file) != bool(served.key_file):
            raise InputError("a certificate goes with its key", where="--cert-file, --key-file", expected="both or neither")
        served.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = (Path(served.cert_file), Path(served.key_file)) if served.cert_file else None
        if files is None and not is_loopback(served.address):
            files = own_certificate(served.folder, "holonode-fleet")
        listener = listening(served.address, served.port)
        try:
            access = AccessStore(served.folder)
            own = [] if is_loopback(served.address) else [socket.gethostname()]
            policy = HostPolicy([*served.hosts, *own], list(served.trusted_proxies))
            control = AccessControl(policy, access, cookie="holonode-fleet")
            sessions = SessionEndpoints(
                control, "fleet", AuditLog(served.folder), place="fleet", code_command="holonode-fleet dashboard --code"
            )
            pages = StaticPages(PAGES, also=("/boxes/{device}", "/boxes/{device}/"))
            pool = ConnectionPool(database)
            parts = (pages, sessions, FleetEndpoints(pool), MeaningEndpoints())
            endpoints = [one for part in parts for one in part.endpoints()]
            governor = Governor(share=0.9)  # no sampler beside it
            app = application(endpoints, control, governor.charge)
            server = WebServer(app, listener, governor, None if files is None else server_context(*files))
        except BaseException:
            listener.close()
            raise
        return cls(server, app, endpoints, access, pool)

    def start(self) -> None:
        """Begin to serve."""
        self.server.start()

    def stop(self) -> None:
        """Serve no more; safe to call twice."""
        self.server.stop()
        self.access.close()
        self.pool.close()
