"""A pseudo-controller on a pseudo-terminal, with the faults of a field cable."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty
from dataclasses import replace

from device.drivers.serial_protocol import (
    FULL_DRIVE,
    ControllerCommand,
    ControllerReply,
    ControllerStatus,
    PacketKind,
    ProtocolError,
)
from tests.ports import PortNames

SILENCE_S = 10.0


class Controller:
    """Follows deploy/firmware/PROTOCOL.md; faults are switched on by setting attributes."""

    def __init__(self, max_microamps: int = 50_000, channels: int = 2) -> None:
        self.status = ControllerStatus(boot_id=0x1234, reset_cause=1)
        self.silent = False
        self.byte_by_byte = False
        self.garbage = b""
        """Sent before every answer."""
        self.lose_next = 0
        """Questions that are not heard."""
        self.corrupt_next = 0
        """Answers whose checksum is broken."""
        self.cut_next = 0
        """Answers that end in the middle."""
        self.stale = False
        """Send an old acknowledgement before the right one."""
        self.heard = 0
        self._max, self._channels = max_microamps, channels
        self._old: bytes = b""
        self._last_heard_s = time.monotonic()
        self._lock = threading.RLock()
        self._master = self._slave = -1
        self._running = False
        self.names = PortNames()
        self.plug()

    @property
    def port(self) -> str:
        return self.names.port

    @property
    def microamps(self) -> int:
        return self.status.lamp_microamps

    @property
    def boot_id(self) -> int:
        return self.status.boot_id

    def light(self) -> tuple[int, float]:
        """The lamp's true (channel, mA)."""
        return self.status.lamp_channel, self.status.lamp_microamps / 1000

    def pump(self) -> float:
        """The pump's true drive, 0 to 1."""
        return self.status.pump_drive / FULL_DRIVE

    def reset(self) -> None:
        """As after a brown-out: everything off, another boot id, a banner on the line."""
        with self._lock:
            self.status = ControllerStatus(boot_id=self.status.boot_id % 0xFFFF + 1, reset_cause=4, sensors=self.status.sensors)
            self.to_host(b"\x00boot v2\r\n")

    def set_sensors(self, *shares: float) -> None:
        with self._lock:
            self.status = replace(self.status, sensors=shares)

    def pulse_flow(self, count: int) -> None:
        with self._lock:
            self.status = replace(self.status, flow_pulses=self.status.flow_pulses + count)

    def frame(self, count: int = 1) -> None:
        """Triggers of the sensor."""
        with self._lock:
            lit = self.status.lamp_microamps > 0 and self.status.strobe_width_us > 0
            self.status = replace(
                self.status, triggers=self.status.triggers + count, strobes=self.status.strobes + count * int(lit)
            )

    def to_host(self, data: bytes) -> None:
        """Bytes that nobody sent."""
        with self._lock, contextlib.suppress(OSError):
            os.write(self._master, data)

    def to_controller(self, data: bytes) -> None:
        self._take(data)

    def plug(self) -> None:
        """The port is there, under a name of its own."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        self.names.plug(os.ttyname(self._slave))
        self._held = b""
        self._running = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """The port is gone."""
        if not self._running:
            return
        self.names.unplug()
        self._running = False
        self._thread.join()
        with self._lock:
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

    close = unplug

    def _serve(self) -> None:
        while self._running:
            if time.monotonic() - self._last_heard_s > SILENCE_S:
                self.status = replace(self.status, lamp_channel=0, lamp_microamps=0, pump_drive=0, valve_open=False)
            if select.select([self._master], [], [], 0.005)[0]:
                self._take(os.read(self._master, 256))

    def _take(self, data: bytes) -> None:
        with self._lock:
            self._held += data
            while b"\x00" in self._held:
                chunk, _, self._held = self._held.partition(b"\x00")
                with contextlib.suppress(ProtocolError):
                    self._answer(ControllerCommand.from_bytes(chunk))

    def _answer(self, question: ControllerCommand) -> None:
        self.heard += 1
        if self.silent or self.lose_next > 0:
            self.lose_next -= 1
            return
        self._last_heard_s = time.monotonic()
        answer = ControllerReply(self._obey(question.kind, *question.arguments), question.sequence, self.status)
        wire = answer.to_bytes()
        if self.corrupt_next > 0:
            self.corrupt_next -= 1
            wire = bytes([wire[0], wire[1] ^ 0x40]) + wire[2:]
        if self.cut_next > 0:
            self.cut_next -= 1
            wire = wire[: len(wire) // 2]
        if self.stale:
            wire = (self._old or replace(answer, sequence=(question.sequence + 100) % 256).to_bytes()) + wire
        self._old = answer.to_bytes()
        for part in [bytes([b]) for b in self.garbage + wire] if self.byte_by_byte else [self.garbage + wire]:
            self.to_host(part)

    def _obey(self, kind: PacketKind, *arguments: int) -> bool:
        """Whether it could be done; what can't be done changes nothing."""
        off = {"lamp_channel": 0, "lamp_microamps": 0}
        changes: dict[str, int | bool] = {}
        if kind is PacketKind.LAMP:
            channel, microamps = arguments
            if channel >= self._channels or microamps > self._max:
                return False
            changes = {"lamp_channel": channel, "lamp_microamps": microamps} if microamps else off
        elif kind is PacketKind.OFF:
            changes = off
        elif kind is PacketKind.STROBE:
            if arguments != (0, 0) and not all(20 <= us <= 16_000 for us in arguments):
                return False
            changes = off | dict(zip(("strobe_delay_us", "strobe_width_us"), arguments, strict=True))
        elif kind is PacketKind.PUMP:
            if arguments[0] > FULL_DRIVE:
                return False
            changes = {"pump_drive": arguments[0]}
        elif kind is PacketKind.VALVE:
            if arguments[0] > 1:
                return False
            changes = {"valve_open": bool(arguments[0])}
        self.status = replace(self.status, **changes)
        return True
