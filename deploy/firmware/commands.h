/* What the host may ask. Knows no registers. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "protocol.h"

/* Carry out a question of `length` bytes (without checksum) and write its answer to `wire`; returns the answer's length, 0
   where the question is not one of this version and gets no answer. */
uint8_t answer(const uint8_t *question, uint8_t length, uint8_t wire[LONGEST_WIRE]);

#endif
