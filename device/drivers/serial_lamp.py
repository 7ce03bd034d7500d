"""The lamp on a serial controller (see serial_protocol). Its state is what the controller acknowledged, never what was asked."""

from __future__ import annotations

import contextlib
import termios
import threading
import time

import serial

from device.drivers.serial_protocol import Kind, Packet, ProtocolError
from device.errors import HardwareError, InputError
from device.frames import LampState

__all__ = ["SerialLamp"]

# What pyserial lets through when a cable is pulled.
_LINE_ERRORS = (serial.SerialException, OSError, termios.error)

_TRIES = 3
_LONGEST_PACKET = 64
_UNKNOWN = LampState(0, 0.0, acknowledged=False)


class SerialLamp:
    """See `ports.Lamp`. Off once it is constructed, off after any error that leaves the line working."""

    def __init__(self, port: str, *, baud: int = 115200, max_current_ma: float = 50.0, timeout_s: float = 0.5) -> None:
        self._port, self._baud = port, baud
        self._max_current_ma, self._timeout_s = max_current_ma, timeout_s
        self._line: serial.Serial | None = None
        self._sequence = 0
        self._boot_id: int | None = None
        self._set_in_boot: int | None = None
        self._closed = False
        self._lock = threading.RLock()
        self.resets = 0
        """Controller resets seen."""
        try:
            self.off()
        except HardwareError:
            # The port is held exclusively: whoever tries again must find it free.
            self._drop_line()
            raise

    @property
    def state(self) -> LampState:
        """What the controller says now; unacknowledged where it doesn't answer or was reset since it was set."""
        with self._lock:
            try:
                answer = self._exchange(Kind.QUERY, tries=1)
            except HardwareError:
                return _UNKNOWN
            known = answer.kind is Kind.ACK and answer.boot_id == self._set_in_boot
            return self._state_of(answer) if known else _UNKNOWN

    def set_current(self, current_ma: float, channel: int = 0) -> LampState:
        """See `ports.Lamp`."""
        with self._lock:
            self._refuse_if_closed()
            if not 0 <= current_ma <= self._max_current_ma:
                self._switch_off_quietly()
                raise InputError(
                    "lamp current out of range", expected=f"0 to {self._max_current_ma:g} mA", got=f"{current_ma:g} mA"
                )
            wanted = round(current_ma * 1000)
            try:
                answer = self._exchange(Kind.SET, channel, wanted)
            except HardwareError:
                # The controller may have obeyed a question whose answer was lost.
                self._switch_off_quietly()
                raise
            # No channel is on at 0 mA, whichever was named.
            in_force = answer.microamps == wanted and (wanted == 0 or answer.channel == channel)
            if answer.kind is not Kind.ACK or not in_force:
                self._switch_off_quietly()
                raise HardwareError(
                    "the lamp controller refused the current", where=self._port, expected=f"{current_ma:g} mA",
                    got=f"{answer.microamps / 1000:g} mA in force", remedy="Check the channel and the driver's limit.",
                )  # fmt: skip
            self._set_in_boot = answer.boot_id
            return self._state_of(answer)

    def off(self) -> LampState:
        """See `ports.Lamp`."""
        with self._lock:
            self._refuse_if_closed()
            answer = self._exchange(Kind.OFF)
            if answer.kind is not Kind.ACK or answer.microamps != 0:
                raise HardwareError(
                    "the lamp controller says the lamp is still on", where=self._port, got=f"{answer.microamps / 1000:g} mA",
                    remedy="Unplug the lamp; the controller is faulty.",
                )  # fmt: skip
            self._set_in_boot = answer.boot_id
            return self._state_of(answer)

    def close(self) -> None:
        """See `ports.Lamp`."""
        with self._lock:
            if self._closed:
                return
            self._switch_off_quietly()
            self._drop_line()
            self._closed = True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise HardwareError("the lamp is closed", where=self._port, remedy="Open it again before using it.")

    def _switch_off_quietly(self) -> None:
        # Whoever calls this already has an error to raise, or is leaving.
        with contextlib.suppress(HardwareError):
            self.off()

    def _state_of(self, answer: Packet) -> LampState:
        return LampState(answer.channel, answer.microamps / 1000, acknowledged=True, acknowledged_ns=time.monotonic_ns())

    def _exchange(self, kind: Kind, channel: int = 0, microamps: int = 0, tries: int = _TRIES) -> Packet:
        """Ask until an answer to this very question comes; HardwareError where none does."""
        self._refuse_if_closed()
        trouble = "no answer"
        for _ in range(tries):
            self._sequence = (self._sequence + 1) % 256
            try:
                line = self._open()
                line.reset_input_buffer()
                line.write(Packet(kind, self._sequence, channel, microamps).to_bytes())
                line.flush()
                answer = self._await(line, self._sequence)
            except _LINE_ERRORS as error:
                # The next try opens the port again.
                trouble = str(error)
                self._drop_line()
                continue
            if answer is not None:
                if self._boot_id not in (None, answer.boot_id):
                    self.resets += 1
                self._boot_id = answer.boot_id
                return answer
        raise HardwareError(
            "the lamp controller doesn't answer", where=self._port, expected=f"an acknowledgement within {self._timeout_s:g} s",
            got=f"{trouble} after {tries} {'tries' if tries > 1 else 'try'}",
            remedy="Check that the port is the controller's, its cable, and its supply; `holonode doctor` lists what is wrong.",
        )  # fmt: skip

    def _open(self) -> serial.Serial:
        if self._line is None:
            self._line = serial.Serial(self._port, self._baud, timeout=0.02, write_timeout=self._timeout_s, exclusive=True)
        return self._line

    def _drop_line(self) -> None:
        if self._line is not None:
            with contextlib.suppress(*_LINE_ERRORS):
                self._line.close()
            self._line = None

    def _await(self, line: serial.Serial, sequence: int) -> Packet | None:
        """The answer with this sequence number, or None in time; everything else on the line is passed over."""
        until = time.monotonic() + self._timeout_s
        held = bytearray()
        while time.monotonic() < until:
            held += line.read(max(line.in_waiting, 1))
            while b"\x00" in held:
                chunk, _, rest = bytes(held).partition(b"\x00")
                held = bytearray(rest)
                with contextlib.suppress(ProtocolError):
                    packet = Packet.from_bytes(chunk)
                    if packet.kind in (Kind.ACK, Kind.NAK) and packet.sequence == sequence:
                        return packet
            # Garbage without a delimiter must not pile up.
            del held[:-_LONGEST_PACKET]
        return None
