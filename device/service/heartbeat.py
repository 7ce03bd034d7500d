"""The service's heartbeat for its manager: READY, WATCHDOG and STATUS over $NOTIFY_SOCKET, while every stage moves.

Each watched thread says what it is at and how long that may take. A thread of the heartbeat's own feeds the watchdog while
nobody is late; a stage that hangs triggers it, and the manager starts the service anew.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from device.health.watchdog import FEED_EVERY_S
from device.processes import thread_activity, waits_for_disk

__all__ = ["Heartbeat", "Notifier", "Steps"]

log = logging.getLogger("holonode")

_ONE_LINE = {10: " ", 13: " "}
_EXTEND_S = 30.0
"""Asked for again and again while the start or the end goes on."""


class Notifier:
    """A service manager's datagram socket; nothing is sent where there is none."""

    def __init__(self, address: str = "", feed_every_s: float = FEED_EVERY_S) -> None:
        """`address`: a path, or a name in the abstract namespace after an @."""
        self.feed_every_s = feed_every_s
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls) -> Notifier:
        """The manager that started this process; programs started by this one are none of its business."""
        address, watchdog_us = os.environ.pop("NOTIFY_SOCKET", ""), os.environ.pop("WATCHDOG_USEC", "")
        for_us = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        feed_every_s = FEED_EVERY_S
        if for_us and watchdog_us.isdigit() and int(watchdog_us):
            feed_every_s = min(FEED_EVERY_S, int(watchdog_us) * 1e-6 / 4)
        return cls(address, feed_every_s)

    @property
    def heard(self) -> bool:
        """Whether there is somebody to tell."""
        return self._socket is not None

    def send(self, **told: str | int) -> None:
        """Variables of sd_notify(3); a manager that doesn't listen holds nobody up."""
        if self._socket is None:
            return
        lines = "\n".join(f"{name}={str(value).translate(_ONE_LINE)}" for name, value in told.items())
        with contextlib.suppress(OSError):
            self._socket.sendto(lines.encode(errors="replace"), self._address)

    def close(self) -> None:
        """Say no more; safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_MOVED_S = 0.05
"""Of the processor; less is a wait that wakes now and then."""


@dataclass(frozen=True)
class _WatchedStep:
    name: str
    allow_s: float
    until_s: float
    still_s: float = math.inf
    """A step that computes hangs after so long without the processor, however long it may take."""
    stillness: Stillness | None = None


class Stillness:
    """For how long one thread got on no more; a machine that stands still as a whole doesn't count, nor a wait for a disk."""

    def __init__(
        self,
        native_id: int,
        monotonic: Callable[[], float] = time.monotonic,
        activity: Callable[[int], float] = thread_activity,
        on_disk: Callable[[], bool] = waits_for_disk,
    ) -> None:
        self._native_id, self._monotonic, self._activity, self._on_disk = native_id, monotonic, activity, on_disk
        self._took_s = activity(native_id)
        self._looked_s, self._still_s = monotonic(), 0.0

    def look(self) -> float:
        """In seconds; to be asked every few of them."""
        took_s = self._activity(self._native_id)
        now_s = self._monotonic()
        since_s, self._looked_s = now_s - self._looked_s, now_s
        if self._on_disk() or took_s - self._took_s >= _MOVED_S:
            self._took_s, self._still_s = took_s, 0.0
        else:
            self._still_s += min(since_s, 2 * FEED_EVERY_S)
        return self._still_s


class Steps:
    """What one thread is at, steps within steps; the innermost is the one that is looked at."""

    def __init__(
        self,
        name: str,
        allow_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        stillness_of: Callable[[int], Stillness] = Stillness,
    ) -> None:
        self.on_step: Callable[[Sequence[str]], None] = lambda _names: None
        """Hears in this thread of every step that begins or goes on, with those around it, the innermost last."""
        self._monotonic, self._stillness_of = monotonic, stillness_of
        self._stack = [_WatchedStep(name, allow_s, monotonic() + allow_s)]

    @contextlib.contextmanager
    def step(self, name: str, allow_s: float, still_s: float = math.inf) -> Generator[None]:
        """Something that may take so long; `still_s`: it computes, and hangs after so long without the processor."""
        # Replaced whole: the heartbeat's thread looks at any moment.
        outer = self._stack
        stillness = self._stillness_of(threading.get_native_id()) if still_s < math.inf else None
        self._stack = [*outer, _WatchedStep(name, allow_s, self._monotonic() + allow_s, still_s, stillness)]
        self._tell()
        try:
            yield
        finally:
            self._stack = outer
            self.beat()
            self._tell()

    def _tell(self) -> None:
        self.on_step([step.name for step in self._stack])

    def beat(self) -> None:
        """What is under way makes progress: its time begins anew."""
        last = self._stack[-1]
        self._stack = [*self._stack[:-1], replace(last, until_s=self._monotonic() + last.allow_s)]

    @property
    def now_at(self) -> str:
        """The innermost step."""
        return self._stack[-1].name

    def late(self) -> str | None:
        """Which step takes longer than it may; None where none does."""
        last = self._stack[-1]
        if last.stillness is not None and last.stillness.look() > last.still_s:
            return f"{last.name} got on no more for {last.still_s:g} s"
        return None if self._monotonic() <= last.until_s else f"{last.name} takes more than {last.allow_s:g} s"


class Heartbeat:
    """Feeds the manager's watchdog from a thread of its own, while nobody is late."""

    def __init__(self, notifier: Notifier, describe: Callable[[], str] = str) -> None:
        """`describe`: the status line."""
        self._notifier, self._describe = notifier, describe
        self._watched: list[Callable[[], str | None]] = []
        self._ready = self._stopping = False
        self._starved = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)

    def watch(self, late: Callable[[], str | None]) -> None:
        """Look at a thread, too: `late` says what takes too long in it."""
        self._watched = [*self._watched, late]

    def start(self) -> None:
        """Feed, in the background, where somebody listens."""
        if self._notifier.heard:
            self._thread.start()

    def ready(self) -> None:
        """The store is open, the camera gave a frame; told once."""
        if self._ready or self._stopping:
            return
        self._ready = True
        self._notifier.send(READY=1, STATUS=self._describe())

    def stopping(self) -> None:
        """What is under way ends."""
        self._stopping = True
        self._notifier.send(STOPPING=1, STATUS="stopping")

    def stop(self) -> None:
        """Safe to call twice, and without a start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._notifier.feed_every_s)
        self._notifier.close()

    def poll(self) -> None:
        """Feed once, unless somebody is late."""
        late = next((why for watched in self._watched if (why := watched())), "")
        if late and late != self._starved:
            log.error("the service hangs: %s. Its manager is asked to start it anew.", late)
            # Managers that don't know the word find out by themselves: they are fed no more.
            self._notifier.send(STATUS=f"hangs: {late}", WATCHDOG="trigger")
        self._starved = late
        if late:
            return
        told: dict[str, str | int] = {"WATCHDOG": 1}
        if not self._ready or self._stopping:
            told["EXTEND_TIMEOUT_USEC"] = int(_EXTEND_S * 1e6)
        if not self._stopping:
            told["STATUS"] = self._describe()
        self._notifier.send(**told)

    def _work(self) -> None:
        while True:
            self.poll()
            if self._stop.wait(self._notifier.feed_every_s):
                return
