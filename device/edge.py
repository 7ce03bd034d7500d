"""The edge of a program: an error is one line for a person and an exit status; the traceback comes on request."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from device.errors import HolonodeError
from device.output import is_about_the_place, unwritable

__all__ = ["at_the_edge"]


def at_the_edge(program: str, run: Callable[[], int], *, debug: bool) -> int:
    """The exit status of a command: its own, an error's (2 bad input, 3 missing hardware, 4 a failed check), 1 where nobody foresaw it."""
    try:
        return run()
    except HolonodeError as error:
        return _told(program, error, debug=debug)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if isinstance(error, OSError) and is_about_the_place(error):
            # Nobody knows here whether it was read or written.
            told = unwritable(error.filename or "what the command writes", error, what="a file or folder can't be used")
            return _told(program, told, debug=debug)
        if debug:
            traceback.print_exc()
        print(f"{program}: unexpected {type(error).__name__}: {error}. Run with --debug for details.", file=sys.stderr)
        return 1


def _told(program: str, error: HolonodeError, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"{program}: {error}", file=sys.stderr)
    return error.exit_status
