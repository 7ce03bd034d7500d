/* The controller of lamp, pump and sensors: PROTOCOL.md. */
#include "board.h"
#include "commands.h"

int main(void) {
    static struct receiver receiver;
    static uint8_t wire[LONGEST_WIRE];

    board_start();
    for (;;) {
        board_feed_watchdog();
        if (board_silence_is_over())
            board_off();
        uint8_t byte;
        if (!board_read(&byte)) {
            board_idle();
            continue;
        }
        uint8_t length = receive(&receiver, byte);
        if (length == 0)
            continue;
        uint8_t size = answer(receiver.held, length, wire);
        if (size == 0)
            continue;
        board_heard();
        board_write(wire, size);
    }
}
