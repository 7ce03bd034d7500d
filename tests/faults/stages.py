"""Every stage and child hung, stopped or killed under a service manager's rules: `python -m tests.faults.stages`.

The manager does what systemd does by the shipped unit: it ends a service that asks for it or is silent for WatchdogSec, and starts
it again RestartSec later. Measured is the time from the fault to the first interval at the broker that was made after it, and
whether anybody was told. The twin samples as fast as it goes, with the allowances of the field.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device.health.watchdog import WATCHDOG_S
from device.messaging.broker import _running  # pyright: ignore[reportPrivateUsage]
from tests.brokers import Subscriber, broker, free_port
from tests.managers import Manager
from tests.services import Service

BAR_S = 30.0
RESTART_S = 5.0
"""RestartSec of the unit."""
HANGS = ("camera", "analysis", "store", "link")
SIGNALS = {"killed": signal.SIGKILL, "crashed": signal.SIGSEGV, "stopped": signal.SIGSTOP}
BROKER = {"own broker killed": signal.SIGKILL, "own broker stopped": signal.SIGSTOP}
FAULTS = (*(f"{stage} hangs" for stage in HANGS), *(f"service {what}" for what in SIGNALS), *BROKER)


@dataclass(frozen=True)
class Recovery:
    """After one fault."""

    fault: str
    publishing_s: float
    told: str
    """By what; empty: by nothing."""
    starts: int

    def __str__(self) -> str:
        verdict = "" if self.publishing_s <= BAR_S else f"   MISSED: more than {BAR_S:g} s"
        return f"{self.fault:20} publishing again after {self.publishing_s:5.1f} s, told: {self.told or 'NO'}{verdict}"


class Supervisor:
    """A service manager that restarts, in the caller's thread."""

    def __init__(self, service: Service, folder: Path, program: tuple[str, ...]) -> None:
        self._service, self._program = service, program
        self._manager = Manager(str(folder / "notify"))
        self.starts, self.hung, self.on_end = 0, "", lambda: None
        self._start()

    def _start(self) -> None:
        self.starts += 1
        self._fed_s: float | None = None
        self._service.start(
            self._program, NOTIFY_SOCKET=self._manager.address, WATCHDOG_USEC=str(WATCHDOG_S * 1_000_000),
            HOLONODE_TEST_ALLOWANCES="field",
        )  # fmt: skip

    def tend(self, seconds: float) -> None:
        """Do a manager's work for a moment."""
        said = self._manager.listen(seconds)
        triggered = said is not None and said.get("WATCHDOG") == "trigger"
        if said is not None and said.get("STATUS", "").startswith("hangs"):
            self.hung = said["STATUS"]
        if said is not None and said.get("WATCHDOG") == "1":
            self._fed_s = time.monotonic()
        silent = self._fed_s is not None and time.monotonic() - self._fed_s > WATCHDOG_S
        if triggered or silent:
            self.hung = self.hung or "silent"
            self._service.send(signal.SIGKILL)
        if not self._service.is_running:
            self.on_end()
            time.sleep(RESTART_S)
            self._start()

    def until(self, true: Callable[[], bool], timeout_s: float) -> None:
        until_s = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < until_s, f"not within {timeout_s} s: {self._service.said[-2000:]}"
            self.tend(0.2)

    def close(self) -> None:
        self._service.stop()
        self._manager.close()


def recovery(fault: str, folder: Path, timeout_s: float = 400.0) -> Recovery:
    """One fault of a service that publishes."""
    subject, _, what = fault.rpartition(" ")
    trigger, program = folder / "hang", ("-m", "device")
    with contextlib.ExitStack() as ends:
        own = subject == "own broker"
        port = free_port() if own else ends.enter_context(broker(folder / "broker")).port
        changes = {"mqtt": f"own_broker_port = {port}"} if own else {}
        service = Service.configured(folder / "box", "" if own else f"mqtt://127.0.0.1:{port}", **changes)
        if what == "hangs":
            program = ("-m", "tests.faults.hanging_service", subject, str(trigger))
        supervisor = Supervisor(service, folder, program)
        ends.callback(_end_broker, folder / "box" / "store")
        ends.callback(supervisor.close)
        # The one that the next start must not find again.
        supervisor.on_end = lambda: trigger.unlink(missing_ok=True)
        supervisor.until(lambda: "particles (" in service.said, timeout_s)
        listener = Subscriber(port)
        ends.callback(listener.close)
        supervisor.until(lambda: _interval(listener), timeout_s)
        if what == "hangs":
            trigger.touch()
        elif own:
            running = _running((folder / "box" / "store").resolve())
            assert running is not None
            os.kill(running.process.pid, BROKER[fault])
        else:
            service.send(SIGNALS[what])
        began_s = time.monotonic()
        if own:
            told = "event broker_restarted"
            supervisor.until(lambda: "it was started again" in service.said, timeout_s)
        else:
            supervisor.until(lambda: supervisor.starts > 1, timeout_s)
            told = supervisor.hung or f"exit by {what}"
        while _interval(listener):  # of before
            pass
        supervisor.until(lambda: _interval(listener), timeout_s)
        return Recovery(fault, time.monotonic() - began_s, told, supervisor.starts)


def _end_broker(store: Path) -> None:
    running = _running(store.resolve())
    if running is not None:
        running.process.end()


def _interval(listener: Subscriber) -> bool:
    """Whether an interval came; takes everything up to it."""
    while not listener.messages.empty():
        if listener.messages.get_nowait()[0].endswith("/intervals"):
            return True
    return False


def main() -> int:
    """Print each recovery; 1 where one took longer than the bar, or was told to nobody."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of: {', '.join(FAULTS)}; default: all")
    sound = True
    for fault in parser.parse_args().faults or FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            came = recovery(fault, Path(folder))
        print(came, flush=True)
        sound = sound and came.publishing_s <= BAR_S and bool(came.told)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
