"""What the C code of a library writes to standard error, past Python: gathered, so that it reaches nobody's terminal."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["library_lines"]

_LOCK = threading.Lock()


@contextmanager
def library_lines(ours: tuple[str, ...], said: list[str]) -> Generator[None]:
    """Lines that begin so, and those that carry on from one, go to `said`; others that another thread wrote are passed on."""
    with _LOCK, tempfile.TemporaryFile() as caught:
        try:
            own = os.dup(2)
        except OSError:  # nobody listens there
            yield
            return
        try:
            os.dup2(caught.fileno(), 2)
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            caught.seek(0)
            others = _sorted(caught.read().decode("utf-8", "replace").splitlines(), ours, said)
            # Without another thread nobody else writes there: these are warnings of the library about what is no pixel.
            if others and threading.active_count() > 1:
                print("\n".join(others), file=sys.stderr)


def _sorted(lines: list[str], ours: tuple[str, ...], said: list[str]) -> list[str]:
    """The library's lines, and those that carry on from one, go to `said`; the others come back."""
    others: list[str] = []
    carries_on = False
    for line in lines:
        carries_on = line.startswith(ours) or (carries_on and line[:1] in ("", ">", " ", "'"))
        (said if carries_on else others).append(line)
    return others
