"""The state's board: everybody reads the newest, nobody holds the loop up."""

from __future__ import annotations

import threading
from typing import Any

from device.service.state import Mailbox, StateBoard
from tests.dashboards import state_of


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def board(clock: Clock | None = None) -> StateBoard:
    return StateBoard(state_of("box-1"), clock or Clock())


def test_a_mailbox_holds_the_newest_and_rings_when_it_was_empty() -> None:
    rung: list[int] = []
    box: Mailbox[int] = Mailbox(lambda: rung.append(1))
    for k in range(5):
        box.put(k)
    assert (len(rung), box.take(), box.take()) == (1, 4, None)
    box.put(5)
    assert (len(rung), box.take()) == (2, 5)


def test_a_bell_that_nobody_can_hear_any_more_disturbs_nobody() -> None:
    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    box: Mailbox[int] = Mailbox(closed)
    box.put(1)
    assert box.take() == 1


def test_who_watches_gets_the_state_as_it_is_and_every_change_until_it_leaves() -> None:
    hung = board()
    watcher, idle = hung.subscribe(), hung.subscribe()
    assert watcher.take() is hung.now()
    hung.change(doing="sampling")
    hung.change(doing="analysing")
    newest: Any = watcher.take()
    assert newest.doing == "analysing"
    assert newest is hung.now()
    hung.unsubscribe(watcher)
    hung.change(doing="waiting")
    assert watcher.take() is None
    assert idle.take() is hung.now()


def test_a_moment_alone_is_told_once_a_second() -> None:
    clock = Clock()
    hung = board(clock)
    watcher = hung.subscribe()
    watcher.take()
    hung.change(at="2026-05-04T12:00:01.000000Z")
    assert watcher.take() is None
    assert hung.now().at == "2026-05-04T12:00:01.000000Z"
    clock.now_s += 1.0
    hung.change(at="2026-05-04T12:00:02.000000Z")
    assert watcher.take() is hung.now()


def test_nothing_of_a_change_is_lost_between_threads() -> None:
    hung = board()
    threads = [
        threading.Thread(target=lambda k=k: [hung.change(link=f"{k} {n}") for n in range(200)], daemon=True) for k in range(2)
    ] + [threading.Thread(target=lambda: [hung.change(doing_words=str(n)) for n in range(200)], daemon=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hung.now().doing_words == "199"
    assert hung.now().link.endswith("199")
