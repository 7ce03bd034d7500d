"""A cache that is bounded by bytes."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from device.optics.byte_cache import byte_bounded_cache

KILOBYTE = 1024


def made(most_bytes: int):
    asked: list[int] = []

    @byte_bounded_cache(most_bytes)
    def array(number: int, kilobytes: int = 1) -> np.ndarray:
        asked.append(number)
        return np.full(kilobytes * KILOBYTE, number, np.uint8)

    return array, asked


def test_what_comes_again_is_not_made_again() -> None:
    array, asked = made(4 * KILOBYTE)
    assert array(1) is array(1)
    assert asked == [1]


def test_what_was_used_longest_ago_goes_first() -> None:
    array, asked = made(2 * KILOBYTE)
    array(1), array(2), array(1), array(3)
    array(1)
    assert asked == [1, 2, 3]
    array(2)
    assert asked == [1, 2, 3, 2]


def test_one_larger_than_all_of_it_is_kept_alone() -> None:
    array, asked = made(2 * KILOBYTE)
    array(1), array(2, kilobytes=8), array(2, kilobytes=8)
    assert asked == [1, 2]
    array(1)
    assert asked == [1, 2, 1]


def test_a_view_counts_as_what_it_keeps() -> None:
    asked: list[int] = []

    @byte_bounded_cache(4 * KILOBYTE)
    def view(number: int) -> np.ndarray:
        asked.append(number)
        return np.zeros(3 * KILOBYTE, np.uint8)[:1]

    view(1), view(2), view(1)
    assert asked == [1, 2, 1]


def test_results_are_read_only() -> None:
    array, _ = made(KILOBYTE)
    with pytest.raises(ValueError, match="read-only"):
        array(1)[0] = 0


def test_threads_that_ask_at_once_get_the_same_values() -> None:
    array, _ = made(64 * KILOBYTE)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.extend(int(array(k)[0]) for k in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(list(range(50)) * 8)
