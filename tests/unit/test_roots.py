"""Roots between two places."""

from __future__ import annotations

import math

import pytest

from device.analysis.roots import root_between
from device.errors import InputError


@pytest.mark.parametrize(
    ("function", "low", "high", "root"),
    [
        (lambda x: x * x - 2, 0.0, 2.0, math.sqrt(2)),
        (lambda x: 2 - x * x, 0.0, 2.0, math.sqrt(2)),
        (lambda x: math.cos(x) - x, 0.0, 1.0, 0.7390851332151607),
        (lambda x: math.exp(-x) - 0.025, 0.0, 1e4, -math.log(0.025)),
        (lambda x: math.tanh(x - 5), -1e6, 1e6, 5.0),
        (lambda x: (x - 1) ** 9, 0.0, 10.0, 1.0),
        (lambda x: x - 3, 3.0, 4.0, 3.0),
    ],
)
def test_a_root_is_found_to_the_last_digits(function, low: float, high: float, root: float) -> None:
    assert root_between(function, low, high) == pytest.approx(root, rel=1e-11)


def test_flat_functions_take_no_more_steps_than_halving_needs() -> None:
    asked: list[float] = []

    def flat(x: float) -> float:
        asked.append(x)
        return math.tanh(x - 5)

    root_between(flat, -1e6, 1e6)
    assert len(asked) < 120


def test_ends_of_one_sign_are_refused() -> None:
    with pytest.raises(InputError, match="no root is bracketed"):
        root_between(lambda x: x * x + 1, -1.0, 1.0)
