"""Laws of propagation, over drawn geometries and fields."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from device.optics.consistency import agreement
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate

sides = st.integers(24, 72)
seeds = st.integers(0, 2**32 - 1)
wavelengths = st.floats(0.35, 1.1)
pitches = st.floats(1.2, 8.0)


def _field(height: int, width: int, seed: int) -> NDArray[np.complex128]:
    """A random field without its highest frequencies."""
    rng = np.random.default_rng(seed)
    spectrum = np.zeros((height, width), np.complex128)
    spectrum[:6, :6] = rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6))
    field = np.fft.ifft2(spectrum)
    return field / np.abs(field).max()


def _near(wavelength_um: float, pitch_um: float, share: float, side: int) -> float:
    """A distance over which the fringes of the whole field stay sampled."""
    return share * side * pitch_um**2 / wavelength_um / 2


@settings(deadline=None, max_examples=40)
@given(sides, sides, seeds, wavelengths, pitches, st.floats(-0.9, 0.9))
def test_there_and_back_restores_the_field(
    height: int, width: int, seed: int, wavelength_um: float, pitch_um: float, share: float
) -> None:
    field = _field(height, width, seed)
    z = _near(wavelength_um, pitch_um, share, min(height, width))
    there = propagate(field, pitch_um=pitch_um, wavelength_um=wavelength_um, distance_um=z, margin_px=0)
    back = propagate(there, pitch_um=pitch_um, wavelength_um=wavelength_um, distance_um=-z, margin_px=0)
    assert np.abs(back - field).max() < 1e-4


@settings(deadline=None, max_examples=40)
@given(sides, sides, seeds, wavelengths, pitches, st.floats(-0.9, 0.9))
def test_energy_is_kept(height: int, width: int, seed: int, wavelength_um: float, pitch_um: float, share: float) -> None:
    field = _field(height, width, seed)
    z = _near(wavelength_um, pitch_um, share, min(height, width))
    there = propagate(field, pitch_um=pitch_um, wavelength_um=wavelength_um, distance_um=z, margin_px=0)
    assert abs(np.sum(np.abs(there) ** 2) / np.sum(np.abs(field) ** 2) - 1) < 1e-4


@settings(deadline=None, max_examples=40)
@given(sides, sides, seeds, st.integers(-30, 30), st.integers(-30, 30))
def test_shifting_and_propagating_commute(height: int, width: int, seed: int, dy: int, dx: int) -> None:
    field = _field(height, width, seed)
    optics = {"pitch_um": 2.0, "wavelength_um": 0.532, "distance_um": 60.0}
    after = np.roll(propagate(field, **optics, margin_px=0), (dy, dx), axis=(0, 1))
    before = propagate(np.roll(field, (dy, dx), axis=(0, 1)), **optics, margin_px=0)
    assert np.abs(after - before).max() < 1e-4


@settings(deadline=None, max_examples=40)
@given(sides, sides, seeds)
def test_turning_the_frame_turns_the_field(height: int, width: int, seed: int) -> None:
    field = _field(height, width, seed)
    optics = {"pitch_um": 2.0, "wavelength_um": 0.532, "distance_um": 80.0}
    assert np.abs(propagate(field.T, **optics) - propagate(field, **optics).T).max() < 1e-4


@settings(deadline=None, max_examples=40)
@given(st.floats(100.0, 5000.0), st.floats(1.01, 20.0), st.floats(1.0, 1.6), st.floats(0.5, 40.0))
def test_a_point_source_magnifies_and_shortens(distance_um: float, ratio: float, index: float, lens: float) -> None:
    plane = Geometry(0.532, 5.0, distance_um, magnification=lens, medium_index=index)
    point = Geometry(0.532, 5.0, distance_um, magnification=lens, medium_index=index, source_distance_um=ratio * distance_um)
    magnification = ratio / (ratio - 1)
    assert np.isclose(point.object_pitch_um * magnification, plane.object_pitch_um)
    assert np.isclose(point.propagation_um * magnification, plane.propagation_um)
    assert np.isclose(point.defocus_number, plane.defocus_number * magnification)


@settings(deadline=None, max_examples=25)
@given(sides, sides, seeds)
def test_a_back_propagated_field_explains_its_own_hologram(height: int, width: int, seed: int) -> None:
    """Necessary, not sufficient: consistency alone can't tell an object from its twin image."""
    intensity = np.abs(1 + 0.2 * _field(height, width, seed)).astype(np.float32) ** 2
    geometry = Geometry(0.532, 2.0, 60.0)
    assert agreement(backpropagate(intensity, geometry), intensity, geometry).correlation > 0.9
