/* The ATmega328P of the controller on libsimavr, its line on a pseudo-terminal: `simulator FIRMWARE.elf [BOOTS]`.

   BOOTS is the number of starts that the EEPROM remembers. On stdin, a command a line, answered by `ok` on stdout:
     adc CHANNEL MILLIVOLTS   supply MILLIVOLTS   frames N   flow N   reset   hang   unplug   plug
     to-host HEX   to-controller HEX (bytes that nobody sent)   advance SECONDS (at once)   outputs
   On stdout: `port PATH` at each plug, `strobe DELAY_US WIDTH_US` at each pulse of a frame, and after `outputs`
     `outputs LIGHT LAMP0 LAMP1 PUMP VALVE`: pins and duties of 255 as the registers drive them. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "avr_adc.h"
#include "avr_eeprom.h"
#include "avr_ioport.h"
#include "avr_uart.h"
#include "sim_avr.h"
#include "sim_elf.h"

#define F_CPU 16000000UL
#define CYCLES_PER_US (F_CPU / 1000000)
/* Registers of the ATmega328P, in data space. */
enum { DDRB_ = 0x24, PORTB_ = 0x25, DDRD_ = 0x2A, PORTD_ = 0x2B, TCCR0A_ = 0x44, TCCR0B_, OCR0A_ = 0x47, OCR0B_ = 0x48, TCCR2A_ = 0xB0, TCCR2B_, OCR2B_ = 0xB4 };

static avr_t *avr;
static FILE *told;
static int line = -1, slave = -1;
static int light, can_take = 1, at_once;
static avr_cycle_count_t triggered, lit;
static unsigned char waiting[4096];
static size_t first, last;

static void on_byte(struct avr_irq_t *irq, uint32_t value, void *unused) {
    (void)irq, (void)unused;
    unsigned char byte = value;
    if (line >= 0 && write(line, &byte, 1) < 0)
        perror("line");
}

static void on_xon(struct avr_irq_t *irq, uint32_t value, void *unused) {
    (void)irq, (void)value, (void)unused;
    can_take = 1;
}

static void on_xoff(struct avr_irq_t *irq, uint32_t value, void *unused) {
    (void)irq, (void)value, (void)unused;
    can_take = 0;
}

static void on_light(struct avr_irq_t *irq, uint32_t value, void *unused) {
    (void)irq, (void)unused;
    if ((int)(value & 1) == light)
        return;
    light = value & 1;
    if (light)
        lit = avr->cycle;
    else if (triggered)
        fprintf(told, "strobe %.1f %.1f\n", (double)(lit - triggered) / CYCLES_PER_US, (double)(avr->cycle - lit) / CYCLES_PER_US);
    triggered = light ? triggered : 0;
}

static void plug(void) {
    char name[64];
    struct termios raw;
    if (line >= 0 || openpty(&line, &slave, name, NULL, NULL) < 0)
        return;
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    fcntl(line, F_SETFL, O_NONBLOCK);
    fprintf(told, "port %s\n", name);
}

static void unplug(void) {
    if (line >= 0)
        close(line), close(slave);
    line = slave = -1;
    first = last = 0;
}

static void queue(const unsigned char *bytes, size_t count) {
    memmove(waiting, waiting + first, last - first);
    last -= first;
    first = 0;
    if (count > sizeof waiting - last)
        count = sizeof waiting - last;
    memcpy(waiting + last, bytes, count);
    last += count;
}

static void feed(void) {
    while (first < last && can_take)
        avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT), waiting[first++]);
}

static void run_for(double seconds) {
    avr_cycle_count_t until = avr->cycle + (avr_cycle_count_t)(seconds * F_CPU);
    at_once++;
    while (avr->cycle < until) {
        feed();
        avr_run(avr);
    }
    at_once--;
}

static void pulses(char port, int pin, int level, int count, double on_s, double off_s) {
    avr_irq_t *irq = avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ(port), pin);
    while (count-- > 0) {
        if (port == 'B')
            triggered = avr->cycle;
        avr_raise_irq(irq, level);
        run_for(on_s);
        avr_raise_irq(irq, !level);
        run_for(off_s);
    }
}

/* The program counter in an endless loop at the end of the flash, interrupts off: only the watchdog can help. */
static void hang(void) {
    avr->flash[avr->flashend - 1] = 0xFF;
    avr->flash[avr->flashend] = 0xCF;
    avr->pc = avr->flashend - 1;
    avr->sreg[S_I] = 0;
    avr->state = cpu_Running;
    run_for(0.4);
}

static void reset(void) {
    avr_reset(avr);
    light = 0, can_take = 1;
    first = last;
    run_for(0.02);
}

static void outputs(void) {
    const uint8_t *at = avr->data;
    int lamps = at[TCCR0A_], pump = at[TCCR2A_], out = at[DDRD_];
    int steady = at[PORTB_] >> 1 & at[DDRB_] >> 1 & 1;
    fprintf(told, "outputs %d %d %d %d %d\n", steady | light, lamps & 0x80 && out & 0x40 ? at[OCR0A_] : 0, lamps & 0x20 && out & 0x20 ? at[OCR0B_] : 0,
           pump & 0x20 && out & 0x08 ? at[OCR2B_] : 0, at[PORTD_] >> 4 & out >> 4 & 1);
}

static size_t bytes_of(const char *hex, unsigned char *bytes, size_t most) {
    size_t count = 0;
    while (count < most && sscanf(hex + 2 * count, "%2hhx", bytes + count) == 1)
        count++;
    return count;
}

static void carry_out(const char *command) {
    int channel, number;
    double seconds;
    unsigned char bytes[1024];
    if (sscanf(command, "adc %d %d", &channel, &number) == 2)
        avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, channel), number);
    else if (sscanf(command, "supply %d", &number) == 1)
        avr->vcc = avr->avcc = number;
    else if (sscanf(command, "frames %d", &number) == 1)
        pulses('B', 0, 1, number, 0.001, 0.039);
    else if (sscanf(command, "flow %d", &number) == 1)
        pulses('D', 2, 0, number, 0.0001, 0.0001);
    else if (sscanf(command, "advance %lf", &seconds) == 1)
        run_for(seconds);
    else if (!strncmp(command, "to-controller ", 14))
        queue(bytes, bytes_of(command + 14, bytes, sizeof bytes));
    else if (!strncmp(command, "to-host ", 8) && line >= 0 && write(line, bytes, bytes_of(command + 8, bytes, sizeof bytes)) < 0)
        perror("line");
    else if (!strncmp(command, "outputs", 7))
        outputs();
    else if (!strncmp(command, "reset", 5))
        reset();
    else if (!strncmp(command, "hang", 4))
        hang();
    else if (!strncmp(command, "unplug", 6))
        unplug();
    else if (!strncmp(command, "plug", 4))
        plug();
    fprintf(told, "ok\n");
}

/* What came on the line and on stdin, waiting at most so long. Commands are carried out between instructions only. */
static char commands[4096];
static size_t commands_length;

static void listen_for(int timeout_ms) {
    struct pollfd from[] = {{STDIN_FILENO, POLLIN, 0}, {line, POLLIN, 0}};
    /* What the controller can't take yet stays in the terminal. */
    if (poll(from, line >= 0 && last - first < sizeof waiting / 2 ? 2 : 1, timeout_ms) <= 0)
        return;
    if (from[0].revents) {
        ssize_t got = read(STDIN_FILENO, commands + commands_length, sizeof commands - 1 - commands_length);
        if (got <= 0)
            exit(0);
        commands_length += got;
    }
    if (from[1].revents & POLLIN) {
        unsigned char bytes[512];
        ssize_t got = read(line, bytes, sizeof bytes);
        if (got > 0)
            queue(bytes, got);
    }
}

static void obey(void) {
    char *end;
    while ((end = memchr(commands, '\n', commands_length))) {
        char command[sizeof commands];
        size_t length = end - commands;
        memcpy(command, commands, length);
        command[length] = 0;
        commands_length -= length + 1;
        memmove(commands, end + 1, commands_length);
        carry_out(command);
    }
}

/* The controller sleeps: so does the simulator, as long in real time, or until something comes. */
static void on_sleep(avr_t *sleeper, avr_cycle_count_t cycles) {
    (void)sleeper;
    if (at_once)
        return;
    uint32_t us = avr_pending_sleep_usec(sleeper, cycles);
    if (us >= 1000)
        listen_for(us / 1000);
}

int main(int count, char **arguments) {
    elf_firmware_t firmware = {0};
    /* libsimavr talks on stdout. */
    told = fdopen(dup(STDOUT_FILENO), "w");
    setvbuf(told, NULL, _IOLBF, 0);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    if (count < 2 || elf_read_firmware(arguments[1], &firmware) != 0 || !(avr = avr_make_mcu_by_name("atmega328p"))) {
        fprintf(stderr, "usage: simulator FIRMWARE.elf [BOOTS]\n");
        return 2;
    }
    avr_init(avr);
    firmware.frequency = F_CPU;
    avr_load_firmware(avr, &firmware);
    avr->vcc = avr->avcc = avr->aref = 5000;
    avr->log = LOG_ERROR;
    avr->sleep = on_sleep;
    uint16_t boots = count > 2 ? atoi(arguments[2]) : 0;
    avr_eeprom_desc_t eeprom = {.ee = (uint8_t *)&boots, .offset = 0, .size = 2};
    avr_ioctl(avr, AVR_IOCTL_EEPROM_SET, &eeprom);
    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_byte, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), on_xon, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), on_xoff, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), IOPORT_IRQ_PIN1), on_light, NULL);
    /* Timers 0 and 2 only make PWM, which their registers tell: clocked, each would overflow 62,500 times a second. */
    avr->io[AVR_DATA_TO_IO(TCCR0B_)].w.c = NULL;
    avr->io[AVR_DATA_TO_IO(TCCR2B_)].w.c = NULL;
    plug();
    run_for(0.02);
    for (unsigned turn = 0;; turn++) {
        feed();
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed)
            return 1;
        if (turn % 1024 == 0)
            listen_for(0);
        obey();
    }
}
