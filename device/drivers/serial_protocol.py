"""The controller's protocol, version 2: packets, and the bytes they are.

A packet is COBS-encoded (Cheshire and Baker, IEEE/ACM Trans. Netw. 7, 159 (1999), doi:10.1109/90.769765) and ended by a
zero byte, so that a receiver finds the next packet after any garbage. Inside: version, kind, sequence number, payload,
CRC-16/CCITT-FALSE, all little-endian. deploy/firmware/PROTOCOL.md says the same for firmware.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

__all__ = [
    "FULL_DRIVE",
    "VERSION",
    "ControllerCommand",
    "ControllerReply",
    "ControllerStatus",
    "PacketKind",
    "ProtocolError",
    "crc16",
]

VERSION = 2
FULL_DRIVE = 10_000
"""Drive of a pump that runs as hard as it can."""

_HEAD = struct.Struct("<BBB")
_CRC = struct.Struct("<H")
_SENSOR_SPAN = 16_384


class ProtocolError(ValueError):
    """Bytes that are no packet; the receiver waits for the next delimiter."""


class PacketKind(IntEnum):
    """What a packet says."""

    LAMP = 0x01
    """Host: this current (microamperes) on this channel, the other channels off."""
    OFF = 0x02
    """Host: every channel of the lamp off."""
    QUERY = 0x03
    """Host: what is the state?"""
    STROBE = 0x04
    """Host: light so long (us) after every trigger, with this width (us); both 0: continuous."""
    PUMP = 0x05
    """Host: this drive, of FULL_DRIVE."""
    VALVE = 0x06
    """Host: 1 open, 0 closed."""
    ACK = 0x81
    """Controller: the state in force, after what was asked."""
    NAK = 0x82
    """Controller: refused; the state in force stays."""


_ARGUMENTS = {
    PacketKind.LAMP: struct.Struct("<BI"),
    PacketKind.OFF: struct.Struct("<"),
    PacketKind.QUERY: struct.Struct("<"),
    PacketKind.STROBE: struct.Struct("<HH"),
    PacketKind.PUMP: struct.Struct("<H"),
    PacketKind.VALVE: struct.Struct("<B"),
}


@dataclass(frozen=True)
class ControllerCommand:
    """What the host asks."""

    kind: PacketKind
    """Not ACK or NAK."""
    sequence: int
    """0 to 255."""
    arguments: tuple[int, ...] = ()
    """As the kind wants them: LAMP channel, microamps; STROBE delay, width in us; PUMP drive; VALVE open."""

    def to_bytes(self) -> bytes:
        """On the wire, delimiter included."""
        return _sealed(self.kind, self.sequence, _ARGUMENTS[self.kind].pack(*self.arguments))

    @classmethod
    def from_bytes(cls, data: bytes) -> ControllerCommand:
        """From what lay between two delimiters; ProtocolError where it isn't a question."""
        kind, sequence, payload = _opened(data)
        layout = _ARGUMENTS.get(kind)
        if layout is None or layout.size != len(payload):
            raise ProtocolError(f"{kind.name} with {len(payload)} bytes")
        return cls(kind, sequence, layout.unpack(payload))


@dataclass(frozen=True)
class ControllerStatus:
    """The controller's whole state, as every answer tells it."""

    boot_id: int = 0
    """Another one at each start."""
    reset_cause: int = 0
    """Bits: 1 power, 2 reset pin, 4 brown-out, 8 watchdog."""
    lamp_channel: int = 0
    """The channel that is on; 0 where none is."""
    lamp_microamps: int = 0
    """Its current; 0 is off."""
    strobe_delay_us: int = 0
    """From trigger to light."""
    strobe_width_us: int = 0
    """Of the light; 0 is continuous light."""
    triggers: int = 0
    """Of the sensor since the start, modulo 2^32."""
    strobes: int = 0
    """Pulses of light since the start, modulo 2^32."""
    pump_drive: int = 0
    """Of FULL_DRIVE; 0 is off."""
    valve_open: bool = False
    flow_pulses: int = 0
    """Of the flow meter since the start, modulo 2^32."""
    sensors: tuple[float, ...] = field(default=(0.0,) * 5)
    """Photodiode, thermistor, humidity, pressure, reference: each as its share of the supply, 0 to 1."""

    _LAYOUT: ClassVar = struct.Struct("<HBBIHHIIHBI5H")

    def to_bytes(self) -> bytes:
        """An answer's payload."""
        head = (
            self.boot_id, self.reset_cause, self.lamp_channel, self.lamp_microamps, self.strobe_delay_us, self.strobe_width_us,
            self.triggers, self.strobes, self.pump_drive, int(self.valve_open), self.flow_pulses,
        )  # fmt: skip
        return self._LAYOUT.pack(*head, *(round(share * _SENSOR_SPAN) for share in self.sensors))

    @classmethod
    def from_bytes(cls, payload: bytes) -> ControllerStatus:
        """From an answer's payload; ProtocolError where it isn't one."""
        if len(payload) != cls._LAYOUT.size:
            raise ProtocolError(f"a state of {len(payload)} bytes")
        values = cls._LAYOUT.unpack(payload)
        *head, valve, pulses = values[:11]
        if valve > 1:
            raise ProtocolError(f"valve {valve}")
        return cls(*head, valve_open=bool(valve), flow_pulses=pulses, sensors=tuple(v / _SENSOR_SPAN for v in values[11:]))


@dataclass(frozen=True)
class ControllerReply:
    """What the controller says: acknowledged or refused, and the state in force."""

    acknowledged: bool
    sequence: int
    """Its question's."""
    status: ControllerStatus

    def to_bytes(self) -> bytes:
        """On the wire, delimiter included."""
        return _sealed(PacketKind.ACK if self.acknowledged else PacketKind.NAK, self.sequence, self.status.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> ControllerReply:
        """From what lay between two delimiters; ProtocolError where it isn't an answer."""
        kind, sequence, payload = _opened(data)
        if kind not in (PacketKind.ACK, PacketKind.NAK):
            raise ProtocolError(f"{kind.name} is no answer")
        return cls(kind is PacketKind.ACK, sequence, ControllerStatus.from_bytes(payload))


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF; 0x29B1 of b'123456789'."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _sealed(kind: PacketKind, sequence: int, payload: bytes) -> bytes:
    body = _HEAD.pack(VERSION, kind, sequence) + payload
    return _cobs_encode(body + _CRC.pack(crc16(body))) + b"\x00"


def _opened(data: bytes) -> tuple[PacketKind, int, bytes]:
    raw = _cobs_decode(data)
    if len(raw) < _HEAD.size + _CRC.size:
        raise ProtocolError(f"{len(raw)} bytes")
    body = raw[: -_CRC.size]
    if crc16(body) != _CRC.unpack(raw[-_CRC.size :])[0]:
        raise ProtocolError("checksum")
    version, kind, sequence = _HEAD.unpack_from(body)
    if version != VERSION or kind not in set(PacketKind):
        raise ProtocolError(f"version {version}, kind {kind}")
    return PacketKind(kind), sequence, body[_HEAD.size :]


def _cobs_encode(data: bytes) -> bytes:
    out = bytearray()
    for block in data.split(b"\x00"):
        # Packets are far shorter than the 254 bytes at which a block would have to be cut.
        out.append(len(block) + 1)
        out += block
    return bytes(out)


def _cobs_decode(data: bytes) -> bytes:
    out = bytearray()
    at = 0
    while at < len(data):
        length = data[at]
        block = data[at + 1 : at + length]
        if length == 0 or len(block) != length - 1 or 0 in block:
            raise ProtocolError("framing")
        out += block
        at += length
        if at < len(data):
            out.append(0)
    return bytes(out)
