"""A simulated lamp controller on a pseudo-terminal, with the faults of a field cable."""

from __future__ import annotations

import os
import select
import threading
import tty
from dataclasses import replace

from device.drivers.serial_protocol import Kind, Packet, ProtocolError


class Controller:
    """Follows deploy/firmware/PROTOCOL.md; faults are switched on by setting attributes."""

    def __init__(self, max_microamps: int = 50_000) -> None:
        self.microamps = 0
        self.channel = 0
        self.boot_id = 0x1234
        self.silent = False
        self.byte_by_byte = False
        self.garbage = b""
        """Sent before every answer."""
        self.lose_next = 0
        """Questions that are not heard."""
        self.corrupt_next = 0
        """Answers whose checksum is broken."""
        self.stale = False
        """Send an old acknowledgement before the right one."""
        self.heard = 0
        self._max = max_microamps
        self._old: bytes = b""
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        self.port = os.ttyname(self._slave)
        self._running = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """As after a brown-out: lamp off, another boot id, a banner on the line."""
        self.microamps, self.channel, self.boot_id = 0, 0, self.boot_id + 1
        os.write(self._master, b"\x00boot v1\r\n")

    def unplug(self) -> None:
        """The port is gone."""
        self._running = False
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        held = b""
        while self._running:
            if not select.select([self._master], [], [], 0.02)[0]:
                continue
            held += os.read(self._master, 256)
            while b"\x00" in held:
                chunk, _, held = held.partition(b"\x00")
                try:
                    self._answer(Packet.from_bytes(chunk))
                except ProtocolError:
                    continue

    def _answer(self, question: Packet) -> None:
        self.heard += 1
        if self.silent or self.lose_next > 0:
            self.lose_next -= 1
            return
        kind = Kind.ACK
        if question.kind is Kind.SET:
            if question.microamps > self._max:
                kind = Kind.NAK
            else:
                self.channel, self.microamps = question.channel, question.microamps
        elif question.kind is Kind.OFF:
            self.channel, self.microamps = 0, 0
        answer = Packet(kind, question.sequence, self.channel, self.microamps, self.boot_id)
        wire = answer.to_bytes()
        if self.corrupt_next > 0:
            self.corrupt_next -= 1
            wire = bytes([wire[0], wire[1] ^ 0x40]) + wire[2:]
        if self.stale:
            wire = (self._old or replace(answer, sequence=(question.sequence + 100) % 256).to_bytes()) + wire
        self._old = answer.to_bytes()
        for part in [bytes([b]) for b in self.garbage + wire] if self.byte_by_byte else [self.garbage + wire]:
            os.write(self._master, part)
