"""What lamp and pixels take from the fringes, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from device.instrument import load_instrument
from device.optics import fft
from device.optics.coherence import Coherence, pixel_visibility, visibility
from device.optics.geometry import Geometry


def test_a_laser_takes_nothing() -> None:
    assert np.all(visibility((8, 12), 1.0, 0.5, 300.0) == 1)
    assert Geometry(0.5, 1.0, 300.0).source_blur_um == 0


def test_a_spectrum_averages_the_phase_of_each_frequency() -> None:
    pitch_um, wavelength_um, distance_um, width_um = 1.12, 0.85, 500.0, 0.01
    seen = visibility((64, 64), pitch_um, wavelength_um, distance_um, bandwidth_um=width_um)
    sigma_um = width_um / (2 * np.sqrt(2 * np.log(2)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    squared = fft.fftfreq(64, pitch_um)[20] ** 2
    # Off the carrier exp(ikz), which reference and scattered wave share.
    phases = [2 * np.pi * distance_um * (np.sqrt(1 / w**2 - squared) - 1 / w) for w in wavelength_um + sigma_um * nodes]
    average = np.sum(weights * np.exp(1j * np.array(phases))) / weights.sum()
    assert seen[0, 20] == pytest.approx(abs(average), abs=2e-3)


def test_a_disc_blurs_by_its_transform_and_a_pixel_by_a_sinc() -> None:
    side, blur_px = 256, 9.0
    finer = 8
    fine = (np.arange(side * finer) - side * finer // 2 + 0.5) / finer
    disc = np.hypot(fine[:, None], fine[None, :]) < blur_px / 2
    binned = disc.reshape(side, finer, side, finer).mean(axis=(1, 3))
    transform = np.abs(np.fft.fft2(binned) / binned.sum())
    seen = visibility((side, side), 1.0, 0.5, 100.0, blur_um=blur_px)
    # The bins are pixels: they take their own share.
    np.testing.assert_allclose(np.abs(seen * pixel_visibility((side, side)))[0, :60], transform[0, :60], atol=5e-3)


def test_an_instrument_hands_its_lamp_on() -> None:
    instrument = load_instrument("bioaerosol-imx219-850nm")
    geometry = instrument.geometry
    assert geometry.coherence == Coherence(
        instrument.lamp.bandwidth_um, instrument.lamp.source_diameter_um, instrument.lamp.source_distance_um
    )
    distance_um, source_um = geometry.distance_um, geometry.coherence.source_distance_um
    assert source_um is not None
    expected_um = geometry.coherence.source_diameter_um * distance_um / (source_um - distance_um)
    assert geometry.source_blur_um == pytest.approx(expected_um)
    assert geometry.at(2 * distance_um).source_blur_um > 1.9 * expected_um
