"""The command line: what lies outside of its bounds is one paragraph and exit status 2 before any work begins."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

__all__ = ["Parser", "number", "whole"]


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors are one paragraph."""

    def error(self, message: str) -> NoReturn:
        """Exit status 2."""
        self.exit(2, f"{self.prog}: {message}. `{self.prog} --help` tells what can be given.\n")


def number(low: float, high: float, *, above: bool = False) -> Callable[[str], float]:
    """A finite number from `low` (`above`: more than that) to `high`, for argparse's `type`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low < value if above else low <= value) or not value <= high:
            wanted = f"a number above {low:g}, at most {high:g}" if above else f"a number from {low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"expected {wanted}; got {text!r}")
        return value

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`, for argparse's `type`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}; got {text!r}")
        return value

    return read
