"""`python -m tests.faults.timed_service FILE ARGUMENTS...`: the `holonode` command; every commit's time goes to FILE.

Lines: monotonic time in seconds, and how long it took. Beside it, FILE.threads names each thread's number in the system.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

from device.cli import main
from device.storage.outbox import Outbox

_commit = Outbox.commit
_FILE = Path(sys.argv[1])


def _timed(self: Outbox, *args: Any, **named: Any) -> Any:
    began_s = time.monotonic()
    try:
        return _commit(self, *args, **named)
    finally:
        with _FILE.open("a") as lines:
            lines.write(f"{began_s:.6f} {time.monotonic() - began_s:.6f}\n")
        _name_threads()


def _name_threads() -> None:
    named, partial = _FILE.with_suffix(".threads"), _FILE.with_suffix(".partial")
    if not named.exists() and any(thread.name == "web" for thread in threading.enumerate()):
        partial.write_text("".join(f"{t.name} {t.native_id}\n" for t in threading.enumerate()))
        partial.replace(named)


if __name__ == "__main__":
    Outbox.commit = _timed
    sys.exit(main(sys.argv[2:]))
