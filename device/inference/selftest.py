"""Golden self-test of one model file in a process of its own: `python -m device.inference.selftest MODEL`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from device.errors import HolonodeError
from device.inference.store import checked, verify_golden

_ORPHANED_S = 3600
"""By then whoever started this is gone: it limits what this takes by the processor's time."""


def main(model: str) -> int:
    """0 where the model gives its golden answer; else the reason on stderr and the error's exit status."""
    signal.alarm(_ORPHANED_S)
    try:
        verify_golden(checked(Path(model)))
    except HolonodeError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
