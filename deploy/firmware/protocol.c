#include "protocol.h"

uint16_t crc16(const uint8_t *data, uint8_t length) {
    uint16_t crc = 0xFFFF;
    while (length--) {
        crc ^= (uint16_t)*data++ << 8;
        for (uint8_t bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? (uint16_t)(crc << 1) ^ 0x1021 : (uint16_t)(crc << 1);
    }
    return crc;
}

/* COBS, in place; 0 where the bytes are no COBS. */
static uint8_t decode(uint8_t *data, uint8_t length) {
    uint8_t from = 0, to = 0;
    while (from < length) {
        uint8_t block = data[from++];
        if (block == 0 || block - 1 > length - from)
            return 0;
        while (--block)
            data[to++] = data[from++];
        if (from < length)
            data[to++] = 0;
    }
    return to;
}

uint8_t receive(struct receiver *receiver, uint8_t byte) {
    if (byte != 0) {
        if (receiver->length < LONGEST_WIRE)
            receiver->held[receiver->length++] = byte;
        else
            receiver->overrun = true;
        return 0;
    }
    uint8_t length = receiver->overrun ? 0 : decode(receiver->held, receiver->length);
    receiver->length = 0;
    receiver->overrun = false;
    if (length < HEAD_SIZE + CRC_SIZE)
        return 0;
    length -= CRC_SIZE;
    uint16_t sent = receiver->held[length] | (uint16_t)receiver->held[length + 1] << 8;
    return crc16(receiver->held, length) == sent ? length : 0;
}

uint8_t encode(uint8_t *packet, uint8_t length, uint8_t wire[LONGEST_WIRE]) {
    uint16_t crc = crc16(packet, length);
    packet[length++] = crc & 0xFF;
    packet[length++] = crc >> 8;
    uint8_t start = 0, at = 1;
    for (uint8_t from = 0; from < length; from++) {
        if (packet[from] != 0) {
            wire[at++] = packet[from];
        } else {
            wire[start] = at - start;
            start = at++;
        }
    }
    wire[start] = at - start;
    wire[at++] = 0;
    return at;
}
