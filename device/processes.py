"""Processes known by more than their number: a number is given anew once its process ends, and after every start of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

__all__ = ["Process", "find", "process", "processor_time_s", "thread_activity", "waits_for_disk"]

_PROC = Path("/proc")
_LOOK_S = 0.05


class Process(Struct, frozen=True, kw_only=True):
    """One process of this machine's run."""

    pid: int
    started_ticks: int
    """Of the kernel's clock since the machine started."""
    boot_id: str
    """The machine's start."""
    executable: str
    """The file that it runs; empty where that can't be seen."""

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs; a child of ours that has ended is collected."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        there = process(self.pid)
        return there is not None and (there.started_ticks, there.boot_id) == (self.started_ticks, self.boot_id)

    def end(self, patience_s: float = 5.0) -> None:
        """SIGTERM, and SIGKILL where that doesn't help; nothing happens to another process that got its number."""
        try:
            held = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Looked at once it is held: from here on the number can't change hands.
            if not self.is_alive:
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(held, signal.SIGTERM)
                if not _until(lambda: not self.is_alive, patience_s):
                    signal.pidfd_send_signal(held, signal.SIGKILL)
                    _until(lambda: not self.is_alive, patience_s)
        finally:
            os.close(held)


def process(pid: int) -> Process | None:
    """What runs under a number; None where nothing does, or has ended and waits to be collected."""
    try:
        # The name stands in brackets and may hold anything, brackets too.
        after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot_id = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    if after_name[0] in ("Z", "X"):
        return None
    try:
        executable = str((_PROC / str(pid) / "exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        executable = ""
    return Process(pid=pid, started_ticks=int(after_name[19]), boot_id=boot_id, executable=executable)


def processor_time_s(pid: int) -> float:
    """What a process took of the processor, by itself and for it in the kernel; 0 where there is none of this number."""
    return _activity(_PROC / str(pid) / "stat")[0]


def thread_activity(native_id: int) -> float:
    """What a thread of this process took of the processor, in seconds; 0 where there is none of this number."""
    return _activity(_PROC / "self/task" / str(native_id) / "stat")[0]


def waits_for_disk() -> bool:
    """Whether any thread of this process does; others may wait for that one."""
    with contextlib.suppress(OSError):
        return any(_activity(thread / "stat")[1] for thread in (_PROC / "self/task").iterdir())
    return False


def _activity(stat: Path) -> tuple[float, bool]:
    try:
        after_name = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, False
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK"), after_name[0] == "D"


def find(is_it: Callable[[Sequence[str]], bool]) -> list[Process]:
    """This user's processes whose command line is one of those."""
    found: list[Process] = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if entry.stat().st_uid == os.geteuid() and is_it(words) and (there := process(int(entry.name))) is not None:
                found.append(there)
    return found


def _until(true: Callable[[], bool], patience_s: float) -> bool:
    until_s = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > until_s:
            return False
        time.sleep(_LOOK_S)
    return True
