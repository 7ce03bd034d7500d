"""A service manager for tests."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable


class Manager:
    """What systemd is for a service of Type=notify."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.heard: list[dict[str, str]] = []

    def listen(self, timeout_s: float) -> dict[str, str] | None:
        """The next datagram; None where none comes."""
        self._socket.settimeout(timeout_s)
        with contextlib.suppress(TimeoutError):
            said = dict(line.split("=", 1) for line in self._socket.recv(65536).decode().splitlines())
            self.heard.append(said)
            return said
        return None

    def until(self, true: Callable[[dict[str, str]], bool], timeout_s: float = 200) -> dict[str, str]:
        end_s = time.monotonic() + timeout_s
        while (said := self.listen(max(end_s - time.monotonic(), 0.01))) is not None:
            if true(said):
                return said
        raise AssertionError(f"not heard within {timeout_s} s: {self.heard[-5:]}")

    def close(self) -> None:
        self._socket.close()
