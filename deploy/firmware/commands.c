#include "commands.h"

#include <stddef.h>
#include <string.h>

#include "board.h"

_Static_assert(sizeof(struct status) == 37, "PROTOCOL.md states the layout");
_Static_assert(HEAD_SIZE + sizeof(struct status) + CRC_SIZE <= LONGEST_PACKET, "an answer fits a packet");

static uint16_t u16(const uint8_t *at) {
    return at[0] | (uint16_t)at[1] << 8;
}

static uint32_t u32(const uint8_t *at) {
    return u16(at) | (uint32_t)u16(at + 2) << 16;
}

/* Each carries out its question, or refuses and changes nothing. */

static bool lamp(const uint8_t *payload) {
    return board_lamp(payload[0], u32(payload + 1));
}

static bool off(const uint8_t *payload) {
    (void)payload;
    board_lamp_off();
    return true;
}

static bool query(const uint8_t *payload) {
    (void)payload;
    return true;
}

static bool strobe(const uint8_t *payload) {
    return board_strobe(u16(payload), u16(payload + 2));
}

static bool pump(const uint8_t *payload) {
    return board_pump(u16(payload));
}

static bool valve(const uint8_t *payload) {
    if (payload[0] > 1)
        return false;
    board_valve(payload[0]);
    return true;
}

static const struct command {
    uint8_t kind;
    uint8_t payload_size;
    bool (*carry_out)(const uint8_t *payload);
} COMMANDS[] = {
    {LAMP, 5, lamp}, {OFF, 0, off}, {QUERY, 0, query}, {STROBE, 4, strobe}, {PUMP, 2, pump}, {VALVE, 1, valve},
};

static const struct command *find(uint8_t kind) {
    for (uint8_t k = 0; k < sizeof COMMANDS / sizeof *COMMANDS; k++)
        if (COMMANDS[k].kind == kind)
            return &COMMANDS[k];
    return NULL;
}

uint8_t answer(const uint8_t *question, uint8_t length, uint8_t wire[LONGEST_WIRE]) {
    const struct command *command = find(question[1]);
    if (question[0] != PROTOCOL_VERSION || command == NULL || length != HEAD_SIZE + command->payload_size)
        return 0;
    uint8_t packet[LONGEST_PACKET];
    packet[0] = PROTOCOL_VERSION;
    packet[1] = command->carry_out(question + HEAD_SIZE) ? ACK : NAK;
    packet[2] = question[2];
    struct status status;
    board_status(&status);
    memcpy(packet + HEAD_SIZE, &status, sizeof status);
    return encode(packet, HEAD_SIZE + sizeof status, wire);
}
