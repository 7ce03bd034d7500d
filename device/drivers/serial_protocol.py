"""The lamp controller's protocol: frames, and the bytes they are.

A packet is COBS-encoded (Cheshire and Baker, IEEE/ACM Trans. Netw. 7, 159 (1999), doi:10.1109/90.769765) and ended by a
zero byte, so that a receiver finds the next packet after any garbage. Inside: version, kind, sequence number, payload,
CRC-16/CCITT-FALSE, all little-endian. deploy/firmware/PROTOCOL.md says the same for firmware.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["VERSION", "Kind", "Packet", "ProtocolError", "crc16"]

VERSION = 1

_HEAD = struct.Struct("<BBB")
_STATE = struct.Struct("<BIH")
_CRC = struct.Struct("<H")


class ProtocolError(ValueError):
    """Bytes that are no packet; the receiver waits for the next delimiter."""


class Kind(IntEnum):
    """What a packet says."""

    SET = 0x01
    """Host: make this the current of the channel."""
    OFF = 0x02
    """Host: every channel off."""
    QUERY = 0x03
    """Host: what is the state?"""
    ACK = 0x81
    """Controller: the state in force, after what was asked."""
    NAK = 0x82
    """Controller: refused; the state in force stays."""


@dataclass(frozen=True)
class Packet:
    """One packet in either direction."""

    kind: Kind
    sequence: int
    """0 to 255; an answer repeats its question's."""
    channel: int = 0
    """0 to 255."""
    microamps: int = 0
    """Current of the channel: asked for (SET) or in force (ACK, NAK)."""
    boot_id: int = 0
    """Random at each start of the controller; 0 from the host."""

    def to_bytes(self) -> bytes:
        """On the wire, delimiter included."""
        body = _HEAD.pack(VERSION, self.kind, self.sequence) + _STATE.pack(self.channel, self.microamps, self.boot_id)
        return _cobs_encode(body + _CRC.pack(crc16(body))) + b"\x00"

    @classmethod
    def from_bytes(cls, data: bytes) -> Packet:
        """From what lay between two delimiters; ProtocolError where it isn't a packet."""
        raw = _cobs_decode(data)
        if len(raw) != _HEAD.size + _STATE.size + _CRC.size:
            raise ProtocolError(f"{len(raw)} bytes")
        body = raw[: -_CRC.size]
        if crc16(body) != _CRC.unpack(raw[-_CRC.size :])[0]:
            raise ProtocolError("checksum")
        version, kind, sequence = _HEAD.unpack_from(body)
        if version != VERSION or kind not in set(Kind):
            raise ProtocolError(f"version {version}, kind {kind}")
        return cls(Kind(kind), sequence, *_STATE.unpack_from(body, _HEAD.size))


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF; 0x29B1 of b'123456789'."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


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
