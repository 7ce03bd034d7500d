"""Quantities from phase: their uncertainty holds, and nothing silent happens to NaN or other objects."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from device.errors import InputError
from device.optics.phase_quantities import optical_path_um, phase_quantities, thickness_um

SIDE = 240
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)
MASK = np.hypot(Y - 100, X - 120) < 24
SCALE = {"wavelength_um": 0.633, "pitch_um": 0.25}


def _cell(noise_rad: float, grain_px: float, seed: int) -> NDArray[np.float64]:
    """A disc of 2 rad in noise of a given grain."""
    white = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    grainy = gaussian_filter(white, grain_px) if grain_px else white
    return 2.0 * MASK + noise_rad * grainy / grainy.std()


@pytest.mark.parametrize("grain_px", [0.0, 3.0, 8.0])
def test_the_uncertainty_covers_the_error_whatever_the_grain_of_the_noise(grain_px: float) -> None:
    """Of 120 discs of known path, 95 % within 1.96 standard deviations; 88 % leaves room for 120 draws and few windows."""
    truth_um = 2.0 * SCALE["wavelength_um"] / (2 * np.pi)
    found = [phase_quantities(_cell(0.1, grain_px, seed), MASK, **SCALE) for seed in range(120)]
    inside = [abs(f.optical_path_um - truth_um) < 1.96 * f.optical_path_uncertainty_um for f in found]
    assert 0.88 <= np.mean(inside) <= 0.995
    errors = [f.optical_path_um - truth_um for f in found]
    assert np.median([f.optical_path_uncertainty_um for f in found]) == pytest.approx(np.std(errors), rel=0.35)


def test_the_mass_follows_the_increment() -> None:
    phase = _cell(0.0, 0.0, 0)
    light, heavy = (phase_quantities(phase, MASK, increment_ml_per_g=i, **SCALE).dry_mass_pg for i in (0.18, 0.20))
    assert light / heavy == pytest.approx(0.20 / 0.18)
    volume_um3 = 2.0 * 0.633 / (2 * np.pi) * MASK.sum() * 0.25**2
    assert light == pytest.approx(volume_um3 / 0.18)


def test_path_volume_and_mass_are_each_as_sure_as_what_they_are_made_of() -> None:
    found = phase_quantities(_cell(0.1, 3.0, 2), MASK, increment_ml_per_g=0.19, **SCALE)
    relative = found.optical_path_uncertainty_um / found.optical_path_um
    assert found.optical_volume_um3 == pytest.approx(found.optical_path_um * found.area_um2)
    assert found.optical_volume_uncertainty_um3 / found.optical_volume_um3 == pytest.approx(relative)
    assert found.dry_mass_uncertainty_pg / found.dry_mass_pg == pytest.approx(np.hypot(relative, 0.01 / 0.19))


def test_the_mass_of_the_conjugate_is_negative() -> None:
    assert phase_quantities(-_cell(0.0, 0.0, 0), MASK, **SCALE).dry_mass_pg < 0


def test_pixels_without_phase_and_objects_nobody_masked_do_not_move_the_answer() -> None:
    phase = _cell(0.05, 2.0, 1)
    plain = phase_quantities(phase, MASK, **SCALE)
    phase[np.hypot(Y - 200, X - 40) < 12] += 3.0
    phase[:10] = np.nan
    phase[99:101, 119:121] = np.nan
    touched = phase_quantities(phase, MASK, **SCALE)
    assert touched.optical_path_um == pytest.approx(plain.optical_path_um, abs=0.1 * plain.optical_path_uncertainty_um + 1e-3)
    assert touched.optical_path_uncertainty_um < 3 * plain.optical_path_uncertainty_um
    assert touched.area_um2 == plain.area_um2


def test_a_background_that_is_named_is_the_one_used() -> None:
    phase = _cell(0.0, 0.0, 0)
    phase[:, 160:] += 1.0
    left = np.zeros_like(MASK)
    left[:, :60] = True
    right = np.zeros_like(MASK)
    right[:, 170:] = True
    low, high = (phase_quantities(phase, MASK, background=b, **SCALE).optical_path_um for b in (left, right))
    assert low - high == pytest.approx(1.0 * 0.633 / (2 * np.pi))


def test_a_wave_of_path_is_a_cycle_of_phase_and_thickness_its_share() -> None:
    assert optical_path_um(np.array([2 * np.pi]), 0.633)[0] == pytest.approx(0.633)
    assert thickness_um(np.array([2 * np.pi]), 0.633, 0.05)[0] == pytest.approx(0.633 / 0.05)
    with pytest.raises(InputError, match="contrast"):
        thickness_um(np.array([1.0]), 0.633, 0.0)


def test_a_mask_of_nothing_but_nan_is_refused() -> None:
    phase = _cell(0.0, 0.0, 0)
    phase[MASK] = np.nan
    with pytest.raises(InputError, match="no finite phase"):
        phase_quantities(phase, MASK, **SCALE)
