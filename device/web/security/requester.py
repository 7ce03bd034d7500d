"""Who asks, as far as the connection and its headers tell.

What a reverse proxy adds counts only from an address that is named as one. A name in `Host` that nobody gave this machine is
refused: else a page from elsewhere could have its own name lead here and read everything (DNS rebinding). A write must come
from a page of this very place (`Origin`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from device.errors import InputError

__all__ = ["HostPolicy", "Requester", "is_loopback"]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Requester:
    """One request's sender."""

    address: str
    """Of the client; beyond a proxy that is named, as that tells it."""
    is_local: bool
    """On this machine, with nothing in between."""
    scheme: str
    """http or https, as the client sees it."""
    host: str
    """`Host`, with its port where it tells one, as the client sees it."""


class HostPolicy:
    """The names this server goes by, and the proxies it listens to."""

    def __init__(self, hosts: Iterable[str], trusted_proxies: Iterable[str] = ()) -> None:
        """`hosts` beside loopback's names; InputError where a proxy is no address or network."""
        self._hosts = frozenset(_bare(host) for host in hosts)
        self._proxies = tuple(_network(one) for one in trusted_proxies)

    def requester(self, peer: str, scheme: str, headers: Mapping[str, str]) -> Requester:
        """Of a request; `headers` with small letters."""
        host = headers.get("host", "")
        if not self._is_proxy(peer):
            # A proxy that nobody named stands between: whoever asks is not on this machine for that.
            local = is_loopback(peer) and not any(name in headers for name in _FORWARDED)
            return Requester(peer, local, scheme, host)
        hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
        # From the nearest: whatever the client wrote there itself stands farther away.
        address = next((hop for hop in reversed(hops) if not self._is_proxy(hop)), peer)
        told = headers.get("x-forwarded-proto", scheme).strip().lower()
        return Requester(address, False, told if told in _DEFAULT_PORTS else "http", headers.get("x-forwarded-host", host))

    def is_here(self, requester: Requester, own_address: str) -> bool:
        """Whether the name that was asked for is one of this place: given to it, loopback's, or the very address."""
        name = _bare(requester.host)
        return name in self._hosts or (name in _LOOPBACK_NAMES and requester.is_local) or name == _bracketed(own_address)

    def is_from_here(self, requester: Requester, headers: Mapping[str, str]) -> bool:
        """Whether a page of this very place sent it."""
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        try:
            origin = urlsplit(headers.get("origin", ""))
            port = origin.port
        except ValueError:
            return False
        here = urlsplit(f"{requester.scheme}://{requester.host}")
        try:
            here_port = here.port
        except ValueError:
            return False
        default = int(_DEFAULT_PORTS.get(requester.scheme, "0"))
        return (origin.scheme, origin.hostname, port or default) == (requester.scheme, here.hostname, here_port or default)

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies if network.version == found.version)


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InputError(
            "not an address", where="web.trusted_proxies", expected="an address or a network, e.g. 127.0.0.1", got=text
        ) from error


def is_loopback(address: str) -> bool:
    """Whether only this machine can use an address; a name is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _bare(host: str) -> str:
    """Without a port, in small letters."""
    name = host.strip().lower().rstrip(".")
    head, colon, port = name.rpartition(":")
    return head if colon and port.isdigit() and (not head.startswith("[") or head.endswith("]")) else name


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
