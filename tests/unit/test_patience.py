"""The start waits for what may come, says so once, and ends for what only a person mends."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from device.errors import HardwareError, InputError, TransientError
from device.service.heartbeat import Steps
from device.service.patience import Patience
from device.stopping import StoppedError, Stopping


class Waiter(Stopping):
    """Stopping whose waits take no time and are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses_s: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.pauses_s.append(seconds)
        return self.asked


def refusing(times: int, error: Exception) -> Callable[[], str]:
    left = [times]

    def make() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "made"

    return make


def full_disk() -> InputError:
    error = InputError("the store folder can't be used")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.parametrize("error", [HardwareError("no controller"), TransientError("the disk is full"), full_disk()])
def test_what_may_come_is_waited_for_ever_longer_and_told_once(error: Exception) -> None:
    waiter, said, told = Waiter(), list[str](), list[str]()
    steps = Steps("the loop", 30.0)
    patience = Patience(waiter, steps, said.append)
    assert patience.until("the store", refusing(9, error), told.append) == "made"
    assert waiter.pauses_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert told == patience.waited == said[:1]
    assert "waits for the store" in said[0]
    assert said[1:] == ["the start goes on: the store is there"]


def test_what_only_a_person_mends_ends_the_start() -> None:
    patience = Patience(Waiter(), Steps("the loop", 30.0), lambda _line: None)
    with pytest.raises(InputError):
        patience.until("the store", refusing(1, InputError("another service uses this store")))
    with pytest.raises(InputError):
        patience.until("the store", refusing(1, InputError("the store folder can't be used")))


def test_a_request_to_stop_ends_the_wait_and_is_no_reason_to_wait() -> None:
    waiter = Waiter()
    patience = Patience(waiter, Steps("the loop", 30.0), lambda _line: None)
    with pytest.raises(StoppedError):
        patience.until("the store", refusing(1, StoppedError("asked")))
    waiter.ask()
    with pytest.raises(StoppedError):
        patience.until("the store", refusing(99, HardwareError("no controller")))
    assert len(waiter.pauses_s) == 1


def test_whoever_looks_at_the_status_reads_what_is_waited_for() -> None:
    steps, seen = Steps("the loop", 30.0), list[str]()
    waiter = Waiter()
    waiter.wait = lambda _seconds: bool(seen.append(steps.now_at))  # type: ignore[method-assign]
    Patience(waiter, steps, lambda _line: None).until("the instrument", refusing(1, HardwareError("no controller")))
    assert "waits for the instrument: no controller" in seen[0]
