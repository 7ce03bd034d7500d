/* The controller's hardware: one board_<part>.c per microcontroller implements it. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

#define LAMP_CHANNELS 2
/* Current at full duty, set by the lamp driver's sense resistor: make LAMP_FULL_SCALE_MICROAMPS=100000 for another. */
#ifndef LAMP_FULL_SCALE_MICROAMPS
#define LAMP_FULL_SCALE_MICROAMPS 50000UL
#endif
#if LAMP_FULL_SCALE_MICROAMPS > 16000000UL
#error "duties are computed in 32 bits, which hold up to 16 A at full duty"
#endif
/* Time constant of the filter between PWM and lamp driver is 0.4 ms: after five of them the current stands. */
#define LAMP_SETTLE_MS 2

/* The shorter end is the longest an interrupt may wait for others; the longer one half a turn of the strobe's timer. */
#define STROBE_SHORTEST_US 20
#define STROBE_LONGEST_US 16000

#define PUMP_FULL_DRIVE 10000

/* Everything off, then clocks, line and watchdog. */
void board_start(void);

/* False, and nothing changed, where there is no such channel or the current is too high. One channel at a time. */
bool board_lamp(uint8_t channel, uint32_t microamps);
void board_lamp_off(void);

/* Light only `width_us` long, `delay_us` after each trigger; width 0: continuous light. Turns the lamp off. */
bool board_strobe(uint16_t delay_us, uint16_t width_us);

/* In 1/PUMP_FULL_DRIVE of full drive. */
bool board_pump(uint16_t drive);
void board_valve(bool open);

/* Lamp and pump off, valve closed. */
void board_off(void);

void board_status(struct status *status);

/* A byte off the line; false where there is none. */
bool board_read(uint8_t *byte);
void board_write(const uint8_t *bytes, uint8_t length);

/* Restart the count of silence, and whether it has come to its end. */
void board_heard(void);
bool board_silence_is_over(void);

/* Sleep until something happens, at most 33 ms. */
void board_idle(void);
void board_feed_watchdog(void);

#endif
