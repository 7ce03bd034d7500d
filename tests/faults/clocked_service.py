"""`python -m tests.faults.clocked_service FILE ARGUMENTS...`: the `holonode` command, its kernel synchronised while FILE exists.

For libfaketime, which fakes the wall clock and not what the kernel says of it, and which breaks Python's time.sleep.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from device.cli import main
from device.clock import BoxClock, KernelTime


def _kernel() -> KernelTime:
    return KernelTime(Path(sys.argv[1]).exists(), 0.01)


if __name__ == "__main__":
    (BoxClock.__init__.__kwdefaults__ or {})["kernel"] = _kernel
    time.sleep = lambda seconds: threading.Event().wait(seconds) and None
    sys.exit(main(sys.argv[2:]))
