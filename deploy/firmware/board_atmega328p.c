/* ATmega328P at 16 MHz and 5 V.

   PD0 RXD, PD1 TXD   line to the host; DTR must not be wired to reset
   PD2 INT0           flow meter, open collector, falling edges counted
   PD3 OC2B           pump, PWM
   PD4                valve
   PD5 OC0B, PD6 OC0A current of lamp 1 and lamp 0: PWM, filtered, to the lamp drivers' dimming inputs
   PB0 ICP1           frame-valid or strobe output of the sensor, rising edge
   PB1 OC1A           light: the lamp drivers' common enable
   ADC0 to ADC4       photodiode amplifier, thermistor, humidity, pressure, 2.5 V reference

   Outputs have pull-downs: while the part is in reset, lamp, pump and valve are off. So have PB0 and ADC0 to ADC4: what is
   not connected reads 0. */
#include "board.h"

#include <avr/eeprom.h>
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <util/atomic.h>
#include <util/delay.h>

#ifndef BAUD
#define BAUD 115200UL
#endif

#define PIN_FLOW PD2
#define PIN_PUMP PD3
#define PIN_VALVE PD4
#define PIN_LAMP1 PD5
#define PIN_LAMP0 PD6
#define PIN_LIGHT PB1

/* Timer 1 runs freely at F_CPU / 8. */
#define TIMER1_TICKS_PER_US 2
/* 305 turns of 32.768 ms are 10 s. */
#define SILENCE_TURNS 305
/* Sums of 16 conversions of 10 bits; the first after a change of channel is thrown away. */
#define SAMPLES 16

enum light { DARK, STEADY, ARMED, DELAYED, LIT };

static volatile enum light light;
static volatile uint16_t turns_of_silence;
static volatile uint32_t triggers, strobes, flow_pulses;
static volatile uint16_t sensors[SENSORS];
static uint16_t strobe_delay_us, strobe_width_us;
static uint16_t boot_id;
static uint8_t reset_cause __attribute__((section(".noinit")));

static volatile uint8_t received[128];
static volatile uint8_t written_to, read_from;

/* After a watchdog reset the watchdog runs on at its shortest time: stop it before the C runtime starts. */
__attribute__((naked, used, section(".init3"))) void stop_watchdog(void) {
    reset_cause = MCUSR;
    MCUSR = 0;
    wdt_disable();
}

/* A number that no recent start had. The EEPROM bears 100,000 writes: one start every hour for eleven years. */
static uint16_t next_boot_id(void) {
    static uint16_t EEMEM last;
    uint16_t id = eeprom_read_word(&last) + 1;
    if (id == 0)
        id = 1;
    eeprom_write_word(&last, id);
    eeprom_busy_wait();
    return id;
}

static void start_line(void) {
    UBRR0 = (F_CPU / 4 / BAUD - 1) / 2; /* rounded, at double speed */
    UCSR0A = 1 << U2X0;
    UCSR0C = 1 << UCSZ01 | 1 << UCSZ00;
    UCSR0B = 1 << RXEN0 | 1 << TXEN0 | 1 << RXCIE0;
}

static void start_outputs(void) {
    /* INT1, on the pump's pin, is not used; level-triggered, as after a reset, it would make simavr look in every cycle. */
    EICRA = 1 << ISC01 | 1 << ISC11;
    PORTD = 1 << PIN_FLOW; /* pull-up */
    /* Phase-correct PWM, 31 kHz: a compare value of 0 is off without a spike. */
    TCCR0A = 1 << COM0A1 | 1 << COM0B1 | 1 << WGM00;
    TCCR0B = 1 << CS00;
    TCCR2A = 1 << COM2B1 | 1 << WGM20;
    TCCR2B = 1 << CS20;
    DDRB = 1 << PIN_LIGHT;
    DDRD = 1 << PIN_PUMP | 1 << PIN_VALVE | 1 << PIN_LAMP1 | 1 << PIN_LAMP0;
}

static void start_inputs(void) {
    TCCR1B = 1 << ICNC1 | 1 << ICES1 | 1 << CS11;
    TIMSK1 = 1 << ICIE1 | 1 << TOIE1;
    EIMSK = 1 << INT0;
    DIDR0 = 0x1F;
    ADMUX = 1 << REFS0;
    /* 125 kHz. Timer 1's turns start the conversions. */
    ADCSRA = 1 << ADEN | 1 << ADIE | 1 << ADPS2 | 1 << ADPS1 | 1 << ADPS0;
}

void board_start(void) {
    start_outputs();
    board_off();
    boot_id = next_boot_id();
    start_line();
    start_inputs();
    set_sleep_mode(SLEEP_MODE_IDLE);
    wdt_enable(WDTO_250MS);
    sei();
}

/* Light and lamp */

static void go_dark(void) {
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
        TIMSK1 &= ~(1 << OCIE1A);
        /* The compare unit remembers a pulse that is cut short: clear it before the pin is the port's again. */
        TCCR1A = 1 << COM1A1;
        TCCR1C = 1 << FOC1A;
        TCCR1A = 0;
        PORTB &= ~(1 << PIN_LIGHT);
        light = DARK;
    }
}

void board_lamp_off(void) {
    go_dark();
    OCR0A = 0;
    OCR0B = 0;
}

bool board_lamp(uint8_t channel, uint32_t microamps) {
    if (channel >= LAMP_CHANNELS || microamps > LAMP_FULL_SCALE_MICROAMPS)
        return false;
    uint8_t duty = (microamps * 255 + LAMP_FULL_SCALE_MICROAMPS / 2) / LAMP_FULL_SCALE_MICROAMPS;
    board_lamp_off();
    if (duty == 0)
        return true;
    if (channel == 0)
        OCR0A = duty;
    else
        OCR0B = duty;
    _delay_ms(LAMP_SETTLE_MS);
    if (strobe_width_us != 0) {
        light = ARMED;
    } else {
        PORTB |= 1 << PIN_LIGHT;
        light = STEADY;
    }
    return true;
}

bool board_strobe(uint16_t delay_us, uint16_t width_us) {
    bool in_range = delay_us >= STROBE_SHORTEST_US && delay_us <= STROBE_LONGEST_US && width_us >= STROBE_SHORTEST_US &&
                    width_us <= STROBE_LONGEST_US;
    if (!in_range && (delay_us != 0 || width_us != 0))
        return false;
    board_lamp_off();
    strobe_delay_us = delay_us;
    strobe_width_us = width_us;
    return true;
}

/* The timer itself stamps the trigger and moves the pin; interrupts only prepare the next edge. */

ISR(TIMER1_CAPT_vect) {
    triggers++;
    if (light != ARMED)
        return;
    OCR1A = ICR1 + strobe_delay_us * TIMER1_TICKS_PER_US;
    TCCR1A = 1 << COM1A1 | 1 << COM1A0;
    TIFR1 = 1 << OCF1A;
    TIMSK1 |= 1 << OCIE1A;
    light = DELAYED;
}

ISR(TIMER1_COMPA_vect) {
    if (light == DELAYED) {
        TCCR1A = 1 << COM1A1;
        OCR1A += strobe_width_us * TIMER1_TICKS_PER_US;
        light = LIT;
        return;
    }
    TCCR1A = 0;
    TIMSK1 &= ~(1 << OCIE1A);
    strobes++;
    light = ARMED;
}

/* Pump and valve */

bool board_pump(uint16_t drive) {
    if (drive > PUMP_FULL_DRIVE)
        return false;
    OCR2B = ((uint32_t)drive * 255 + PUMP_FULL_DRIVE / 2) / PUMP_FULL_DRIVE;
    return true;
}

void board_valve(bool open) {
    if (open)
        PORTD |= 1 << PIN_VALVE;
    else
        PORTD &= ~(1 << PIN_VALVE);
}

void board_off(void) {
    board_lamp_off();
    board_pump(0);
    board_valve(false);
}

/* What is measured */

ISR(INT0_vect) {
    flow_pulses++;
}

ISR(ADC_vect) {
    static uint8_t sensor, taken;
    static uint16_t sum;
    uint16_t value = ADC;
    if (taken++ > 0)
        sum += value;
    if (taken > SAMPLES) {
        sensors[sensor] = sum;
        sum = 0;
        taken = 0;
        sensor = (sensor + 1) % SENSORS;
        ADMUX = 1 << REFS0 | sensor;
        if (sensor == 0)
            return;
    }
    ADCSRA |= 1 << ADSC;
}

ISR(TIMER1_OVF_vect) {
    ADCSRA |= 1 << ADSC;
    if (turns_of_silence < SILENCE_TURNS)
        turns_of_silence++;
}

void board_status(struct status *status) {
    uint8_t duty = OCR0A ? OCR0A : OCR0B;
    status->boot_id = boot_id;
    status->reset_cause = reset_cause;
    status->lamp_channel = OCR0B ? 1 : 0;
    status->lamp_microamps = duty * LAMP_FULL_SCALE_MICROAMPS / 255;
    status->strobe_delay_us = strobe_delay_us;
    status->strobe_width_us = strobe_width_us;
    status->pump_drive = ((uint32_t)OCR2B * PUMP_FULL_DRIVE + 127) / 255;
    status->valve_open = (PORTD >> PIN_VALVE) & 1;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
        status->triggers = triggers;
        status->strobes = strobes;
        status->flow_pulses = flow_pulses;
        for (uint8_t k = 0; k < SENSORS; k++)
            status->sensors[k] = sensors[k];
    }
}

/* Line and time */

ISR(USART_RX_vect) {
    uint8_t byte = UDR0;
    uint8_t next = (written_to + 1) % sizeof received;
    if (next == read_from)
        return;
    received[written_to] = byte;
    written_to = next;
}

bool board_read(uint8_t *byte) {
    if (read_from == written_to)
        return false;
    *byte = received[read_from];
    read_from = (read_from + 1) % sizeof received;
    return true;
}

void board_write(const uint8_t *bytes, uint8_t length) {
    while (length--) {
        loop_until_bit_is_set(UCSR0A, UDRE0);
        UDR0 = *bytes++;
    }
}

void board_heard(void) {
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) turns_of_silence = 0;
}

bool board_silence_is_over(void) {
    bool over;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) over = turns_of_silence >= SILENCE_TURNS;
    return over;
}

void board_idle(void) {
    cli();
    if (read_from == written_to) {
        sleep_enable();
        sei(); /* the instruction after sei runs before any interrupt */
        sleep_cpu();
        sleep_disable();
    }
    sei();
}

void board_feed_watchdog(void) {
    wdt_reset();
}
