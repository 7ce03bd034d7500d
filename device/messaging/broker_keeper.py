"""Watches the service's own broker: one that ends or hangs is told and started again at its port, ever later while that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from device.errors import HolonodeError
from device.messaging.broker import USUAL_PORT, OwnBroker
from device.messaging.payloads import Check

__all__ = ["BrokerKeeper"]

_POLL_EVERY_S = 3.0
_SILENT_LOOKS = 3
"""Looks in a row without an answer after which it hangs."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STEADY_S = 300.0
"""A broker that stood for so long is sound again."""

EventCallback = Callable[[str, str, str], None]
"""Hears of an event: code, severity, message."""


@dataclass
class _RestartCounters:
    restarts: int = 0
    failures: int = 0


class BrokerKeeper:
    """One broker, kept up in the background."""

    def __init__(self, broker: OwnBroker, on_event: EventCallback, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.broker = broker
        self.counts = _RestartCounters()
        self._on_event, self._monotonic = on_event, monotonic
        self._silent = 0
        self._down = False
        self._pause_s, self._again_s, self._since_s = _FIRST_PAUSE_S, 0.0, monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="broker keeper", daemon=True)

    def start(self) -> None:
        """Look now and then, in the background."""
        if self.broker.usual_port_taken:
            message = f"Port {USUAL_PORT} belongs to another program; the service's own broker listens on {self.broker.port}."
            self._on_event("broker_port_taken", "info", message)
        self._thread.start()

    def stop(self) -> None:
        """Look no more, then end the broker; safe to call twice, and without a start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.broker.stop()

    def poll(self) -> None:
        """Once."""
        alive = self.broker.process.is_alive
        if alive and self.broker.answers():
            self._silent, self._down = 0, False
            if self._monotonic() - self._since_s > _STEADY_S:
                self._pause_s = _FIRST_PAUSE_S
            return
        self._silent += 1
        if (alive and self._silent < _SILENT_LOOKS) or self._monotonic() < self._again_s or self._stop.is_set():
            return
        self._restart("answers nothing" if alive else "has ended")

    def check(self) -> Check:
        """For `health`."""
        restarts = self.counts.restarts
        return Check(
            name="own broker", status="warning" if self._down or restarts else "ok", value=float(restarts), unit="restarts",
            message=("it doesn't start again" if self._down else f"port {self.broker.port}"),
            remedy=f"Look at {self.broker.folder / 'broker.log'}" if self._down or restarts else "",
        )  # fmt: skip

    def _restart(self, why: str) -> None:
        self._again_s = self._monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        try:
            self.broker = self.broker.again()
        except HolonodeError as error:
            self.counts.failures += 1
            if not self._down:
                self._down = True
                self._on_event("broker_down", "alarm", f"The service's own broker {why} and doesn't start again: {error}")
            return
        self.counts.restarts += 1
        self._silent, self._down, self._since_s = 0, False, self._monotonic()
        message = f"The service's own broker {why}; it was started again, the {self.counts.restarts}. time."
        self._on_event("broker_restarted", "warning", message)

    def _work(self) -> None:
        while not self._stop.wait(_POLL_EVERY_S):
            self.poll()
