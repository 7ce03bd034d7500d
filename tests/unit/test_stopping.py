"""A request to stop, from a signal or another thread."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from device.stopping import StoppedError, Stopping
from tests.services import ROOT


def test_a_request_cuts_every_wait_short() -> None:
    stopping, woken = Stopping(), list[bool]()
    threads = [threading.Thread(target=lambda: woken.append(stopping.wait(1000))) for _ in range(3)]
    for thread in threads:
        thread.start()
    stopping.ask()
    for thread in threads:
        thread.join(100)
    assert woken == [True] * 3
    assert stopping.wait(1000)
    with pytest.raises(StoppedError):
        stopping.check()


def test_nobody_asked_waits_to_the_end_and_only_a_second_request_hurries() -> None:
    stopping = Stopping()
    began = time.monotonic()
    assert not stopping.wait(0.05)
    assert time.monotonic() - began >= 0.05
    stopping.check()
    stopping.ask()
    assert (stopping.asked, stopping.hurried) == (True, False)
    stopping.ask()
    assert stopping.hurried


def test_signals_at_any_line_of_a_waiting_thread_never_hold_it_up() -> None:
    # A handler that took a lock would meet its own thread holding it within some thousand of these.
    program = """
import itertools, os, signal, threading
from device.stopping import Stopping
stopping = Stopping()
stopping.catch()
done = threading.Event()
def storm():
    for sent in itertools.count(1):
        os.kill(os.getpid(), signal.SIGTERM)
        # Those that come before the thread runs again are one to it.
        if sent >= 20000 and stopping.hurried:
            break
    done.set()
threading.Thread(target=storm).start()
while not done.is_set():
    stopping.wait(0.0001)
print("ended", stopping.hurried)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert (done.returncode, done.stdout) == (0, "ended True\n"), done.stderr


def test_a_terminal_that_goes_away_ends_nothing_and_the_end_is_not_disturbed() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTTOU, signal.SIGINT, signal.SIGTERM)}
    try:
        stopping = Stopping()
        stopping.catch()
        signal.raise_signal(signal.SIGHUP)
        assert not stopping.asked
        signal.raise_signal(signal.SIGTERM)
        assert stopping.asked
        stopping.end()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert not stopping.hurried
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
