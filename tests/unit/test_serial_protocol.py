"""The controller's packets, byte by byte, as deploy/firmware/PROTOCOL.md lays them out."""

from __future__ import annotations

import struct

import pytest

from device.drivers.serial_protocol import (
    ControllerCommand,
    ControllerReply,
    ControllerStatus,
    PacketKind,
    ProtocolError,
    crc16,
)

OFF = ControllerCommand(PacketKind.OFF, 5)


def test_a_question_has_the_bytes_that_the_document_says() -> None:
    body = bytes([2, 0x01, 7, 2]) + (20_000).to_bytes(4, "little")
    crc = crc16(body).to_bytes(2, "little")
    # COBS: each zero byte becomes the distance to the next one.
    wire = bytes([7]) + body[:6] + bytes([1, 3]) + crc + b"\x00"
    assert ControllerCommand(PacketKind.LAMP, 7, (2, 20_000)).to_bytes() == wire


def test_an_answer_has_the_fields_where_the_document_says() -> None:
    status = ControllerStatus(0xBEEF, 8, 1, 12_549, 100, 2000, 7, 6, 5020, True, 9, (0.25, 0.5, 0.75, 0.125, 0.5))
    payload = status.to_bytes()
    assert len(payload) == 37
    at = {3: "H", 5: "B", 6: "B", 7: "I", 11: "H", 13: "H", 15: "I", 19: "I", 23: "H", 25: "B", 26: "I", 30: "5H"}
    found = [value for offset, form in at.items() for value in struct.unpack_from("<" + form, payload, offset - 3)]
    assert found == [0xBEEF, 8, 1, 12_549, 100, 2000, 7, 6, 5020, 1, 9, 4096, 8192, 12288, 2048, 8192]


@pytest.mark.parametrize("cut", range(9))
def test_a_cut_packet_is_refused(cut: int) -> None:
    wire = OFF.to_bytes()[:-1]
    with pytest.raises(ProtocolError):
        ControllerCommand.from_bytes(wire[:cut] if cut < len(wire) else wire + b"\x01")


def test_every_single_flipped_bit_is_detected() -> None:
    wire = ControllerReply(True, 200, ControllerStatus(0xBEEF, 1, 1, 12_345)).to_bytes()[:-1]
    for bit in range(8 * len(wire)):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            ControllerReply.from_bytes(bytes(flipped))


def test_questions_are_no_answers_and_answers_no_questions() -> None:
    with pytest.raises(ProtocolError, match="no answer"):
        ControllerReply.from_bytes(OFF.to_bytes()[:-1])
    with pytest.raises(ProtocolError, match="ACK"):
        ControllerCommand.from_bytes(ControllerReply(True, 5, ControllerStatus()).to_bytes()[:-1])
