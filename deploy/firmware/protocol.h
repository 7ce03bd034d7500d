/* Framing, checksum and packets of PROTOCOL.md, version 2. Knows no registers. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#define PROTOCOL_VERSION 2

/* Version, kind, sequence; a payload; a checksum. */
#define HEAD_SIZE 3
#define CRC_SIZE 2
#define LONGEST_PACKET 64
/* COBS adds one byte to packets under 254, and the delimiter one. */
#define LONGEST_WIRE (LONGEST_PACKET + 2)

enum kind {
    LAMP = 0x01,
    OFF = 0x02,
    QUERY = 0x03,
    STROBE = 0x04,
    PUMP = 0x05,
    VALVE = 0x06,
    ACK = 0x81,
    NAK = 0x82
};

enum sensor { PHOTODIODE, THERMISTOR, HUMIDITY, PRESSURE, REFERENCE, SENSORS };

/* The payload of every answer, as it lies on the wire: AVR and the hosts are little-endian. */
struct __attribute__((packed)) status {
    uint16_t boot_id;
    uint8_t reset_cause;
    uint8_t lamp_channel;
    uint32_t lamp_microamps;
    uint16_t strobe_delay_us;
    uint16_t strobe_width_us;
    uint32_t triggers;
    uint32_t strobes;
    uint16_t pump_drive;
    uint8_t valve_open;
    uint32_t flow_pulses;
    uint16_t sensors[SENSORS];
};

struct receiver {
    uint8_t held[LONGEST_WIRE];
    uint8_t length;
    bool overrun;
};

/* CRC-16/CCITT-FALSE. */
uint16_t crc16(const uint8_t *data, uint8_t length);

/* Take one byte off the line. Where it ends a sound packet: the packet's length without its checksum, and the packet at the
   start of `held` until the next call; else 0. */
uint8_t receive(struct receiver *receiver, uint8_t byte);

/* Checksum, encode and delimit a packet of `length` bytes (packet has room for the checksum); returns the length of `wire`. */
uint8_t encode(uint8_t *packet, uint8_t length, uint8_t wire[LONGEST_WIRE]);

#endif
