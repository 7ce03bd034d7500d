"""Laws of the controller's packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.drivers.serial_protocol import Kind, Packet, ProtocolError, crc16

PACKETS = st.builds(
    Packet,
    kind=st.sampled_from(Kind),
    sequence=st.integers(0, 255),
    channel=st.integers(0, 255),
    microamps=st.integers(0, 2**32 - 1),
    boot_id=st.integers(0, 65535),
)


def test_the_checksum_is_the_catalogue_one() -> None:
    assert crc16(b"123456789") == 0x29B1


@given(PACKETS)
def test_packets_come_back_from_their_bytes(packet: Packet) -> None:
    wire = packet.to_bytes()
    assert wire.count(b"\x00") == 1
    assert wire.endswith(b"\x00")
    assert Packet.from_bytes(wire[:-1]) == packet


@given(PACKETS, st.integers(0, 10_000))
def test_no_single_flipped_bit_is_believed(packet: Packet, where: int) -> None:
    wire = bytearray(packet.to_bytes()[:-1])
    wire[where // 8 % len(wire)] ^= 1 << (where % 8)
    with pytest.raises(ProtocolError):
        Packet.from_bytes(bytes(wire))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet_or_a_protocol_error(data: bytes) -> None:
    try:
        packet = Packet.from_bytes(data)
    except ProtocolError:
        return
    assert Packet.from_bytes(packet.to_bytes()[:-1]) == packet
