"""Laws of the controller's packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.drivers.serial_protocol import (
    ControllerCommand,
    ControllerReply,
    ControllerStatus,
    PacketKind,
    ProtocolError,
    crc16,
)

BYTE, SHORT, LONG = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
ARGUMENTS = {
    PacketKind.LAMP: st.tuples(BYTE, LONG), PacketKind.OFF: st.just(()), PacketKind.QUERY: st.just(()), PacketKind.STROBE: st.tuples(SHORT, SHORT),
    PacketKind.PUMP: st.tuples(SHORT), PacketKind.VALVE: st.tuples(BYTE),
}  # fmt: skip
QUESTIONS = st.sampled_from(sorted(ARGUMENTS)).flatmap(
    lambda kind: st.builds(ControllerCommand, st.just(PacketKind(kind)), BYTE, ARGUMENTS[PacketKind(kind)])
)
SHARES = st.tuples(*[st.integers(0, 16_368).map(lambda n: n / 16_384)] * 5)
ANSWERS = st.builds(
    ControllerReply, st.booleans(), BYTE,
    st.builds(ControllerStatus, SHORT, BYTE, BYTE, LONG, SHORT, SHORT, LONG, LONG, SHORT, st.booleans(), LONG, SHARES),
)  # fmt: skip


def test_the_checksum_is_the_catalogue_one() -> None:
    assert crc16(b"123456789") == 0x29B1


@given(st.one_of(QUESTIONS, ANSWERS))
def test_packets_come_back_from_their_bytes(packet: ControllerCommand | ControllerReply) -> None:
    wire = packet.to_bytes()
    assert wire.count(b"\x00") == 1
    assert wire.endswith(b"\x00")
    assert type(packet).from_bytes(wire[:-1]) == packet


@given(st.one_of(QUESTIONS, ANSWERS), st.integers(0, 10_000))
def test_no_single_flipped_bit_is_believed(packet: ControllerCommand | ControllerReply, where: int) -> None:
    wire = bytearray(packet.to_bytes()[:-1])
    wire[where // 8 % len(wire)] ^= 1 << (where % 8)
    with pytest.raises(ProtocolError):
        type(packet).from_bytes(bytes(wire))


@given(st.binary(max_size=80), st.sampled_from([ControllerCommand, ControllerReply]))
def test_any_bytes_are_a_packet_or_a_protocol_error(data: bytes, kind: type[ControllerCommand | ControllerReply]) -> None:
    try:
        packet = kind.from_bytes(data)
    except ProtocolError:
        return
    assert kind.from_bytes(packet.to_bytes()[:-1]) == packet
