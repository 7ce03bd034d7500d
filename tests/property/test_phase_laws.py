"""Laws of unwrapping, flattening and super-resolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.optics.offaxis import demodulate, find_carrier, flatten
from device.optics.unwrapping import unwrap, unwrap_least_squares

SIDE = 96
Y, X = np.mgrid[:SIDE, :SIDE] / (SIDE / 2) - 1.0
slopes = st.floats(-40, 40)
curves = st.floats(-25, 25)


@settings(max_examples=25, deadline=None)
@given(slopes, slopes, curves, curves)
def test_a_phase_under_half_a_cycle_a_pixel_unwraps_to_itself(a: float, b: float, c: float, d: float) -> None:
    phase = a * Y + b * X + c * Y**2 + d * X * Y
    for method in (unwrap, unwrap_least_squares):
        difference = method(np.angle(np.exp(1j * phase))) - phase
        assert np.ptp(difference) < 1e-3
        assert abs(difference[0, 0] / (2 * np.pi) - round(difference[0, 0] / (2 * np.pi))) < 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3.0))
def test_unwrapped_is_congruent_to_wrapped_even_in_noise(seed: int, spread_rad: float) -> None:
    wrapped = np.angle(np.exp(1j * np.random.default_rng(seed).normal(0, spread_rad, (32, 40))))
    for method in (unwrap, unwrap_least_squares):
        cycles = (method(wrapped) - wrapped) / (2 * np.pi)
        assert np.abs(cycles - np.round(cycles)).max() < 1e-4


def test_least_squares_holds_where_sorting_gives_way() -> None:
    y, x = np.mgrid[:256, :256] - 128.0
    truth = 10 * np.exp(-(y**2 + x**2) / (2 * 40.0**2))
    wrapped = np.angle(np.exp(1j * (truth + np.random.default_rng(0).normal(0, 0.9, truth.shape))))
    difference = unwrap_least_squares(wrapped) - truth
    assert np.mean(np.abs(difference - np.median(difference)) > np.pi) < 0.03


@settings(max_examples=20, deadline=None)
@given(slopes, slopes, st.floats(-3, 3), curves, curves)
def test_flattening_takes_off_any_paraboloid(a: float, b: float, piston: float, c: float, d: float) -> None:
    flat = flatten(np.exp(1j * (piston + a * Y + b * X + c * Y**2 + d * X**2)), order=2)
    assert np.abs(np.angle(flat)).max() < 0.02


@settings(max_examples=20, deadline=None)
@given(st.floats(0.15, 0.4), st.floats(-0.4, 0.4))
def test_the_carrier_of_plain_fringes_is_found_anywhere(rows: float, columns: float) -> None:
    y, x = np.mgrid[:224, :240]
    frame = 1 + 0.6 * np.cos(2 * np.pi * (rows * y + columns * x) + 0.4)
    carrier = find_carrier(frame)
    assert carrier.rows == pytest.approx(rows, abs=5e-4)
    assert carrier.columns == pytest.approx(columns, abs=5e-4)
    # Fringes don't close on themselves at the border: the filter's point spread brings that in.
    border_px = int(np.ceil(2.5 / carrier.radius))
    field = demodulate(frame, carrier)[border_px:-border_px, border_px:-border_px]
    assert np.abs(np.abs(field) - 0.3).max() < 0.02
