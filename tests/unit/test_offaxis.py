"""Off-axis demodulation, unwrapping and phase quantities against fields that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.offaxis import demodulate, find_carrier, flatten
from device.optics.phase_quantities import phase_quantities
from device.optics.unwrapping import unwrap

HEIGHT, WIDTH = 240, 320
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(float)


def _cell(height_rad: float) -> NDArray[np.float64]:
    return height_rad * np.exp(-((Y - 110) ** 2 + (X - 170) ** 2) / (2 * 18.0**2))


def _hologram(phase: NDArray[np.float64], rows: float = 0.21, columns: float = 0.17) -> NDArray[np.float64]:
    reference = np.exp(-2j * np.pi * (rows * Y + columns * X))
    frame = np.abs(reference + 0.8 * np.exp(1j * phase)) ** 2
    return np.random.default_rng(1).poisson(2_000 * frame) / 2_000


def test_the_carrier_is_found_to_a_hundredth_of_a_bin() -> None:
    carrier = find_carrier(_hologram(np.zeros_like(Y), 0.2113, 0.1741))
    assert carrier.rows == pytest.approx(0.2113, abs=2e-4)
    assert carrier.columns == pytest.approx(0.1741, abs=2e-4)


@pytest.mark.parametrize("carrier_at", [(0.21, 0.17), (0.30, -0.12), (0.0, 0.33)])
def test_a_phase_of_two_cycles_comes_back(carrier_at: tuple[float, float]) -> None:
    truth = _cell(13.0)
    frame = _hologram(truth, *carrier_at)
    phase = unwrap(np.angle(flatten(demodulate(frame, find_carrier(frame)))))
    inner = (slice(12, -12),) * 2
    assert np.abs(phase - truth)[inner].max() < 0.5
    assert np.sqrt(np.mean((phase - truth)[inner] ** 2)) < 0.05


def test_curvature_and_tilt_are_taken_off_while_the_cell_stays() -> None:
    y, x = (Y - 120) / 120, (X - 160) / 160
    truth = _cell(4.0)
    frame = _hologram(truth + 9.0 * y**2 + 6.0 * x**2 + 1.3 * x - 2.0 * y + 0.5)
    phase = unwrap(np.angle(flatten(demodulate(frame, find_carrier(frame)), order=2)))
    inner = (slice(12, -12),) * 2
    assert np.sqrt(np.mean((phase - truth)[inner] ** 2)) < 0.1


def test_the_other_order_gives_the_conjugate() -> None:
    frame = _hologram(_cell(2.0))
    phases = [np.angle(flatten(demodulate(frame, find_carrier(frame, conjugate=c)))) for c in (False, True)]
    assert phases[0][110, 170] == pytest.approx(2.0, abs=0.15)
    assert phases[1][110, 170] == pytest.approx(-2.0, abs=0.15)


def test_an_inline_hologram_is_told_from_an_offaxis_one() -> None:
    with pytest.raises(InputError, match="no carrier"):
        find_carrier(np.random.default_rng(0).normal(1, 0.1, (128, 128)))


def test_masked_pixels_unwrap_to_nan() -> None:
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:20] = False
    phase = unwrap(np.angle(np.exp(1j * _cell(9.0))), valid)
    assert np.isnan(phase[:20]).all()
    assert phase[110, 170] == pytest.approx(9.0, abs=1e-3)


def test_dry_mass_of_a_cell_of_known_phase() -> None:
    """Closed form: the integral of the Gaussian, 2 pi sigma^2, times its path, over the increment."""
    wavelength_um, pitch_um = 0.633, 0.2
    truth = _cell(3.0)
    mask = np.hypot(Y - 110, X - 170) < 70
    noisy = truth + np.random.default_rng(2).normal(0, 0.02, truth.shape)
    found = phase_quantities(noisy, mask, wavelength_um=wavelength_um, pitch_um=pitch_um)
    volume_um3 = 3.0 * wavelength_um / (2 * np.pi) * 2 * np.pi * (18.0 * pitch_um) ** 2
    assert found.optical_volume_um3 == pytest.approx(volume_um3, rel=0.01)
    assert found.dry_mass_pg == pytest.approx(volume_um3 / 0.19, rel=0.01)
    assert found.dry_mass_uncertainty_pg / found.dry_mass_pg > 0.05
    assert found.dry_mass_uncertainty_pg / found.dry_mass_pg < 0.09


def test_no_mask_no_mass() -> None:
    with pytest.raises(InputError, match="mask"):
        phase_quantities(Y, np.zeros_like(Y, bool), wavelength_um=0.6, pitch_um=1.0)
