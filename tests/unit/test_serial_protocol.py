"""The controller's packets, byte by byte, as deploy/firmware/PROTOCOL.md lays them out."""

from __future__ import annotations

import pytest

from device.drivers.serial_protocol import Kind, Packet, ProtocolError, crc16

OFF = Packet(Kind.OFF, 5)


def test_a_packet_has_the_bytes_that_the_document_says() -> None:
    body = bytes([1, 0x01, 7, 2]) + (20_000).to_bytes(4, "little") + bytes(2)
    crc = crc16(body).to_bytes(2, "little")
    # COBS: each zero byte becomes the distance to the next one.
    wire = bytes([7]) + body[:6] + bytes([1, 1, 1, 3]) + crc + b"\x00"
    assert Packet(Kind.SET, 7, 2, 20_000).to_bytes() == wire


@pytest.mark.parametrize("cut", range(14))
def test_a_cut_packet_is_refused(cut: int) -> None:
    wire = OFF.to_bytes()[:-1]
    with pytest.raises(ProtocolError):
        Packet.from_bytes(wire[:cut] if cut < len(wire) else wire + b"\x01")


def test_every_single_flipped_bit_is_detected() -> None:
    wire = Packet(Kind.ACK, 200, 1, 12_345, 0xBEEF).to_bytes()[:-1]
    for bit in range(8 * len(wire)):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            Packet.from_bytes(bytes(flipped))
