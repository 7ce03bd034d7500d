"""The line to the controller: one for lamp, pump and environment, found again when its port was pulled or renamed."""

from __future__ import annotations

import contextlib
import glob
import random
import termios
import threading
import time
from typing import Self

import serial
from serial.tools import list_ports

from device.drivers.serial_protocol import ControllerCommand, ControllerReply, ControllerStatus, PacketKind, ProtocolError
from device.errors import HardwareError

__all__ = ["SerialLine", "find_port"]

# What pyserial lets through when a cable is pulled.
_LINE_ERRORS = (serial.SerialException, OSError, termios.error)

_TRIES = 3
_LONGEST_PACKET = 64
_KEEP_ALIVE_S = 3.0
"""The controller takes 10 s of silence for a dead host and turns everything off."""
_REOPEN_S = 0.02


def find_port(port: str) -> str:
    """The device file that a name stands for today; HardwareError where there is none, or more than one.

    A path (best one of /dev/serial/by-id, which keeps its name), a glob, or `usb:VENDOR:PRODUCT` with an optional `:SERIAL`,
    vendor and product in hexadecimal.
    """
    if port.startswith("usb:"):
        found = [p.device for p in list_ports.comports() if _is(p, port)]
    elif glob.has_magic(port):
        found = sorted(glob.glob(port))  # noqa: PTH207  Path.glob takes no absolute patterns
    else:
        return port
    if len(found) == 1:
        return str(found[0])
    raise HardwareError(
        "the controller's port isn't there" if not found else "several ports could be the controller's", where=port,
        expected="one port", got=", ".join(map(str, found)) or "none",
        remedy="Plug the controller in; ls /dev/serial/by-id shows its name for controller.port.",
    )  # fmt: skip


def _is(candidate: object, port: str) -> bool:
    vendor, product, number = (getattr(candidate, key, None) for key in ("vid", "pid", "serial_number"))
    if vendor is None or product is None:
        return False
    name = f"usb:{vendor:04x}:{product:04x}"
    return port.lower() in (name, f"{name}:{number}".lower())


class SerialLine:
    """Asks and waits for the answer, one question at a time, whoever asks.

    Whoever uses it calls `share` and, when done, `close`; the last one closes the port. While something is on, the line asks
    by itself so that the controller knows that the host lives.
    """

    def __init__(self, port: str, *, baud: int = 115200, timeout_s: float = 0.5) -> None:
        self.port = port
        """As configured; see find_port."""
        self.resets = 0
        """Controller resets seen."""
        self._baud, self._timeout_s = baud, timeout_s
        self._serial: serial.Serial | None = None
        # An answer to a question of a process before this one must not fit.
        self._sequence = random.randrange(256)
        self._mute = False
        self._boot_id: int | None = None
        self._users = 0
        self._lock = threading.RLock()
        self._something_on = False
        self._quiet = threading.Event()
        self._keeper: threading.Thread | None = None

    def share(self) -> Self:
        """Count one more user."""
        with self._lock:
            self._users += 1
            return self

    def close(self) -> None:
        """Count one user less; the port is closed after the last."""
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
            self._drop()
            self._quiet.set()
        if self._keeper is not None:
            self._keeper.join(_TRIES * self._timeout_s)

    def ask(self, kind: PacketKind, *arguments: int, tries: int = _TRIES) -> ControllerReply:
        """The controller's answer to this very question; HardwareError where none comes."""
        trouble = "no answer"
        with self._lock:
            # Who cleans up after a failure must not wait as long again.
            tries = 1 if self._mute else tries
            for _ in range(tries):
                self._sequence = (self._sequence + 1) % 256
                until = time.monotonic() + self._timeout_s
                try:
                    line = self._opened()
                    line.reset_input_buffer()
                    # The delimiter in front ends what noise began.
                    line.write(b"\x00" + ControllerCommand(kind, self._sequence, arguments).to_bytes())
                    answer = self._await(line, until)
                except (*_LINE_ERRORS, HardwareError) as error:
                    trouble = error.what if isinstance(error, HardwareError) else str(error)
                    self._drop()
                    # A cable that is being plugged in has its port a moment later.
                    time.sleep(min(_REOPEN_S, self._timeout_s))
                    continue
                if answer is not None:
                    self._mute = False
                    self._note(answer.status)
                    return answer
            # The port that is open may be nobody's by now.
            self._drop()
            self._mute = True
        raise HardwareError(
            "the controller doesn't answer", where=self.port, expected=f"an acknowledgement within {self._timeout_s:g} s",
            got=f"{trouble} after {tries} {'tries' if tries > 1 else 'try'}",
            remedy="Check that the port is the controller's, its cable, its supply and that its firmware speaks protocol 2; "
            "`holonode doctor` lists what is wrong.",
        )  # fmt: skip

    def _note(self, status: ControllerStatus) -> None:
        if self._boot_id not in (None, status.boot_id):
            self.resets += 1
        self._boot_id = status.boot_id
        self._something_on = status.lamp_microamps > 0 or status.pump_drive > 0 or status.valve_open
        if self._something_on and self._keeper is None:
            self._keeper = threading.Thread(target=self._keep_alive, name="controller-keep-alive", daemon=True)
            self._keeper.start()

    def _keep_alive(self) -> None:
        while not self._quiet.wait(_KEEP_ALIVE_S):
            # Who owns the lamp or the pump finds out for himself that the line is down.
            with contextlib.suppress(HardwareError), self._lock:
                if self._something_on and self._users > 0:
                    self.ask(PacketKind.QUERY, tries=1)

    def _opened(self) -> serial.Serial:
        if self._serial is None:
            path = find_port(self.port)
            self._serial = serial.Serial(path, self._baud, timeout=0.02, write_timeout=self._timeout_s, exclusive=True)
        return self._serial

    def _drop(self) -> None:
        if self._serial is not None:
            with contextlib.suppress(*_LINE_ERRORS):
                self._serial.close()
            self._serial = None

    def _await(self, line: serial.Serial, until: float) -> ControllerReply | None:
        """The answer to the question asked last, or None in time; everything else on the line is passed over."""
        held = bytearray()
        while time.monotonic() < until:
            held += line.read(max(line.in_waiting, 1))
            while b"\x00" in held:
                chunk, _, rest = bytes(held).partition(b"\x00")
                held = bytearray(rest)
                with contextlib.suppress(ProtocolError):
                    answer = ControllerReply.from_bytes(chunk)
                    if answer.sequence == self._sequence:
                        return answer
            # Garbage without a delimiter must not pile up.
            del held[:-_LONGEST_PACKET]
        return None
