"""The edge of a program: an error is one line for a person and an exit status; the traceback comes on request.

So is output that can't be written. A reader that has seen enough (`| head`) is no error to tell: the program ends quietly,
with the status of one that SIGPIPE ended.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO, cast

from device.errors import HolonodeError
from device.output import is_about_the_place, unwritable
from device.text import plain

__all__ = ["at_the_edge", "parsed"]

_READER_GONE = 128 + 13
"""What a shell says of a program that SIGPIPE ended."""


def _open_standard_streams() -> None:
    """Give each closed one of descriptors 0, 1 and 2 something to stand for.

    Else the next file that is opened takes its number, and whoever prints writes into that file. What stands for them fails:
    a program whose output is closed must know.
    """
    modes = ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY))
    for number, wrong_way in modes:
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, wrong_way)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as the program runs
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  likewise


def parsed(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The arguments, first of all; SystemExit where `--help` or an error was told, with a status that says whether it could be."""
    _open_standard_streams()
    found: list[argparse.Namespace] = []

    def parse() -> int:
        try:
            found.append(parser.parse_args(arguments))
        except SystemExit as leave:
            return leave.code if isinstance(leave.code, int) else 0
        return 0

    status = at_the_edge(parser.prog, parse, debug=False)
    if not found:
        raise SystemExit(status)
    return found[0]


def at_the_edge(program: str, run: Callable[[], int], *, debug: bool) -> int:
    """The exit status of a command: its own, an error's (2 bad input, 3 missing hardware, 4 a failed check), 1 where nobody foresaw it."""
    stdout, output = sys.stdout, _Output(sys.stdout)
    sys.stdout = cast("TextIO", output)
    try:
        status = run()
    except HolonodeError as error:
        _tell(f"{program}: {error}", debug=debug)
        status = error.exit_status
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        status = 1
        if isinstance(error, OSError) and error is not output.trouble and is_about_the_place(error):
            # Nobody knows here whether it was read or written.
            place = error.filename or "what the command writes"
            refused = unwritable(place, error, what="a file or folder can't be used")
            _tell(f"{program}: {refused}", debug=debug)
            status = refused.exit_status
        elif error is not output.trouble:
            _tell(f"{program}: unexpected {type(error).__name__}: {error}. Run with --debug for details.", debug=debug)
    finally:
        sys.stdout = stdout
    return _written(program, status, output)


class _Output:
    """stdout that remembers why it could not be written: whoever prints may pass over that."""

    def __init__(self, stream: TextIO) -> None:
        self.trouble: OSError | None = None
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self.trouble = self.trouble or error
            raise

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self.trouble = self.trouble or error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _written(program: str, status: int, output: _Output) -> int:
    """The status, or above 0 where the output doesn't get out."""
    with contextlib.suppress(OSError, ValueError):  # closed by whoever calls this program
        output.flush()
    if output.trouble is not None:
        _give_up(sys.stdout)
        if isinstance(output.trouble, BrokenPipeError):
            # A reader that has seen enough ends the program, whatever it made of that.
            status = _READER_GONE
        else:
            _tell(f"{program}: the output can't be written: {output.trouble.strerror or output.trouble}", debug=False)
            status = status or 1
    try:
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)
    except ValueError:
        pass
    return status


def _tell(line: str, *, debug: bool) -> None:
    """On stderr, where that can be."""
    with contextlib.suppress(OSError, ValueError):
        if debug:
            traceback.print_exc()
        print(plain(line), file=sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Let the interpreter's own flush at its end go nowhere, without a word."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
