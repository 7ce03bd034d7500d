"""A process that is cut off before its n-th file operation, and what a disk then forgets: `python -m tests.faults.update_matrix`.

Operations are seen by Python's audit hook; syncs by a wrapper. At the cut a file that was written and not synced since is cut
short or not, at random, and so is a rename or a link whose folder was not synced undone or not. What other programs write
(`cp`, `mv`) is not seen.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.releases import staging

__all__ = ["DONE", "LosingDisk", "cut_off"]

_NAMES = {"os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown"}
DONE = 0


@dataclass
class LosingDisk:
    """What is written below a folder by this process, and not yet on the platter."""

    root: str
    cut_at: int
    """Number of the operation before which the process ends; 0: never."""
    rng: random.Random
    seen: int = 0
    unsynced: set[str] = field(default_factory=set)
    """Files."""
    renamed: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(from, to, what `to` was, kept aside) whose folder was not synced since, the newest last."""
    _busy: bool = False

    def watch(self) -> None:
        """From here on, in this process."""
        sync, flush_all = os.fsync, staging._sync

        def synced(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self._operation(path)
            sync(descriptor)
            self.unsynced.discard(path)
            self.renamed = [one for one in self.renamed if os.path.dirname(one[1]) != path]

        def all_synced(descriptor: int) -> None:
            self._operation(self.root)
            flush_all(descriptor)
            self.unsynced.clear()
            self.renamed.clear()

        os.fsync, staging._sync = synced, all_synced
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = (
                any(sign in mode for sign in "wax+")
                if isinstance(mode, str)
                else bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
            )
            if not writes or not isinstance(path, (str, bytes, os.PathLike)):
                return
            if self._operation(name := os.path.abspath(os.fsdecode(path))):
                self.unsynced.add(name)
        elif event in _NAMES and isinstance(arguments[0], (str, bytes, os.PathLike)):
            name = os.path.abspath(os.fsdecode(arguments[0]))
            if not self._operation(name):
                return
            if event == "os.rename":
                self._renames(name, os.path.abspath(os.fsdecode(arguments[1])))
            elif event == "os.remove":
                self.unsynced.discard(name)

    def _renames(self, source: str, target: str) -> None:
        self._busy = True
        aside = None
        if os.path.islink(target) or os.path.isfile(target):
            aside = f"{self.root}.aside-{len(self.renamed)}-{self.seen}"
            shutil.copy2(target, aside, follow_symlinks=False)
        self.renamed.append((source, target, aside))
        if source in self.unsynced:
            self.unsynced.discard(source)
            self.unsynced.add(target)
        self._busy = False

    def _operation(self, path: str) -> bool:
        """Whether it is one of those that count; the process may end here."""
        if not path.startswith(self.root):
            return False
        self.seen += 1
        if self.seen == self.cut_at:
            self._busy = True
            self._forget()
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def _forget(self) -> None:
        """Names newest first, as a journal that was not written out would."""
        for source, target, aside in reversed(self.renamed):
            if self.rng.random() < 0.5:
                break  # what came before it is on the disk, too
            with contextlib.suppress(OSError):
                if not os.path.lexists(source):
                    os.rename(target, source)
                if aside is not None:
                    os.replace(aside, target)
        for path in self.unsynced:
            with contextlib.suppress(OSError):
                if self.rng.random() < 0.5:
                    os.truncate(path, self.rng.randrange(os.path.getsize(path) + 1))


def cut_off(step: Callable[[], None], root: Path, cut_at: int, seed: int, limit_s: float = 300.0) -> tuple[int, int]:
    """(exit status, operations) of a child that takes a step: DONE, -SIGKILL where it was cut off, 1 where it raised."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        status, disk = 1, LosingDisk(str(root), cut_at, random.Random(seed))
        try:
            disk.watch()
            step()
            status = DONE
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            disk._busy = True
            os.write(send, str(disk.seen).encode())
            os._exit(status)
    os.close(send)
    until_s = time.monotonic() + limit_s
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > until_s:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError("the step comes to no end")
        time.sleep(0.005)
    with os.fdopen(receive, "rb") as said:
        operations = int(said.read() or b"0")
    return os.waitstatus_to_exitcode(ended[1]), operations
