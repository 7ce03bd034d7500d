"""Whole off-axis reconstructions of fields known in closed form, and what the quality figures tell."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.lensless_offaxis import fresnel_image, sharpest_distance_um
from device.optics.offaxis import Carrier, find_carrier, flatten
from device.optics.offaxis_reconstruction import Focus, reconstruct_offaxis
from device.optics.propagation import propagate

SIDE = 256
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)
Y_UNIT, X_UNIT = (Y - SIDE / 2) / (SIDE / 2), (X - SIDE / 2) / (SIDE / 2)
INNER = (slice(16, -16),) * 2


def _cells() -> NDArray[np.float64]:
    """Smooth cells of 3 rad over a third of the field."""
    middles = [(60, 70), (150, 60), (190, 180), (90, 190)]
    return sum(3.0 * np.exp(-((((Y - y) ** 2 + (X - x) ** 2) / 20.0**2) ** 2)) for y, x in middles) + np.zeros_like(Y)


def _recorded(field: NDArray[np.complexfloating], rows: float, columns: float, photons: float = 200) -> NDArray[np.float64]:
    frame = np.abs(np.exp(-2j * np.pi * (rows * Y + columns * X)) + field) ** 2
    return np.random.default_rng(3).poisson(photons * frame).astype(float)


def _alike(phase: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    return float(np.corrcoef(phase[INNER].ravel(), truth[INNER].ravel())[0, 1])


@pytest.mark.parametrize("curvature_rad", [0.0, 8.0, 20.0])
@pytest.mark.parametrize("at", [(0.21, 0.17), (0.28, -0.14), (0.46, 0.10), (0.42, 0.42), (0.0, 0.33)])
def test_curved_orders_anywhere_in_the_spectrum_give_the_cells(at: tuple[float, float], curvature_rad: float) -> None:
    """Also where the order reaches past the sampling limit, and where curvature smears it over many bins."""
    truth = _cells()
    wave = 0.7 * np.exp(1j * (truth + curvature_rad * (Y_UNIT**2 + X_UNIT**2)))
    found = reconstruct_offaxis(_recorded(wave, *at))
    assert _alike(found.phase_rad, truth) > 0.99


def test_the_filter_stays_clear_of_zero_and_of_the_conjugate() -> None:
    for at in [(0.21, 0.17), (0.42, 0.42), (0.46, 0.10), (0.12, 0.06)]:
        carrier = find_carrier(_recorded(0.7 * np.exp(1j * _cells()), *at))
        twice = [(2 * f + 0.5) % 1 - 0.5 for f in (carrier.rows, carrier.columns)]
        assert carrier.radius <= carrier.separation / 2 + 1e-9
        assert carrier.radius <= np.hypot(*twice) / 2 + 1e-9


def test_curvature_of_the_whole_field_is_the_optics_and_that_of_a_part_the_objects() -> None:
    bent = 0.8 * (Y_UNIT**2 + X_UNIT**2)
    assert np.ptp(np.angle(flatten(np.exp(1j * bent)))[INNER]) < 0.01
    # A lens-shaped cell over 40 % of the field.
    cell = 2.0 * np.maximum(1 - (Y_UNIT**2 + X_UNIT**2) / 0.5, 0)
    kept = np.angle(flatten(np.exp(1j * cell)))
    assert _alike(kept, cell) > 0.99
    assert np.ptp(kept[INNER]) > 1.7


@pytest.mark.parametrize("at", [(0.21, 0.17), (-0.21, -0.17)])
def test_what_stands_out_delays_whichever_side_the_carrier_is_on(at: tuple[float, float]) -> None:
    frame = _recorded(0.7 * np.exp(1j * _cells()), *at)
    found, other = reconstruct_offaxis(frame), reconstruct_offaxis(frame, conjugate=True)
    assert _alike(found.phase_rad, _cells()) > 0.99
    assert found.delaying > 0.9
    assert np.allclose(other.phase_rad, -found.phase_rad)
    assert np.allclose(other.field, np.conj(found.field))


def test_a_field_with_nothing_in_it_tells_no_sign() -> None:
    assert reconstruct_offaxis(_recorded(0.7 * np.ones_like(Y) + 0j, 0.21, 0.17)).delaying < 0.6


def test_a_background_takes_the_optics_aberrations_with_it() -> None:
    optics = np.exp(1j * (5 * X_UNIT**3 - 4 * Y_UNIT**2 * X_UNIT + 3 * Y_UNIT**4))
    truth = _cells()
    frame, background = (_recorded(0.7 * optics * wave, 0.21, 0.17) for wave in (np.exp(1j * truth), np.ones_like(Y)))
    assert _alike(reconstruct_offaxis(frame, background).phase_rad, truth) > 0.995
    assert _alike(reconstruct_offaxis(frame).phase_rad, truth) < 0.99


def test_a_field_out_of_focus_is_carried_into_it() -> None:
    truth = _cells()
    away = propagate(np.exp(1j * truth), pitch_um=0.3, wavelength_um=0.6, distance_um=25.0)
    frame = _recorded(0.7 * away, 0.21, 0.17)
    focused = reconstruct_offaxis(frame, focus=Focus(-25.0, 0.6, 0.3))
    assert _alike(focused.phase_rad, truth) > 0.99
    assert _alike(focused.phase_rad, truth) > _alike(reconstruct_offaxis(frame).phase_rad, truth)


def test_the_quality_tells_noise_low_fringes_and_clipping() -> None:
    wave = np.exp(1j * _cells())
    good = reconstruct_offaxis(_recorded(wave, 0.21, 0.17, photons=2_000)).quality
    noisy = reconstruct_offaxis(_recorded(wave, 0.21, 0.17, photons=5)).quality
    faint = reconstruct_offaxis(_recorded(0.1 * wave, 0.21, 0.17)).quality
    clipped = reconstruct_offaxis(np.minimum(_recorded(wave, 0.21, 0.17), 500)).quality
    assert good.visibility == pytest.approx(1.0, abs=0.03)
    assert faint.visibility == pytest.approx(2 * 0.1 / (1 + 0.1**2), abs=0.02)
    assert noisy.phase_noise_rad > 5 * good.phase_noise_rad
    assert good.residue_density == 0
    assert clipped.clipped > 0.1 > 0.01 > good.clipped


def test_frames_of_any_number_type_are_read() -> None:
    frame = np.minimum(_recorded(0.5 * np.exp(1j * _cells()), 0.21, 0.17, photons=50), 255)
    for kind in (np.uint8, np.uint16, np.float32):
        assert isinstance(reconstruct_offaxis(frame.astype(kind)).carrier, Carrier)


def test_a_background_of_another_shape_is_refused() -> None:
    frame = _recorded(np.exp(1j * _cells()), 0.21, 0.17)
    with pytest.raises(InputError, match="another shape"):
        reconstruct_offaxis(frame, frame[:-1])


def test_a_far_point_lands_where_its_angle_says() -> None:
    """A point at (y, x) at 0.5 m, recorded with a plane reference, is a pixel of the Fresnel image: sign and scale."""
    wavelength_um, pitch_um, distance_um = 0.6328, 6.8, 5e5
    y_um, x_um = ((a - SIDE // 2) * pitch_um for a in (Y, X))
    at_um = (3_000.0, -5_000.0)
    wave = np.exp(1j * np.pi / (wavelength_um * distance_um) * ((y_um - at_um[0]) ** 2 + (x_um - at_um[1]) ** 2))
    frame = np.abs(1 + 0.5 * wave) ** 2
    image = fresnel_image(frame, wavelength_um=wavelength_um, pitch_um=pitch_um, distance_um=distance_um)
    peak = np.unravel_index(int(np.argmax(np.abs(image.field))), frame.shape)
    for index, pixel_um, expected_um in zip(peak, image.pitch_um, at_um, strict=True):
        assert (index - SIDE // 2) * pixel_um == pytest.approx(expected_um, abs=pixel_um)


def test_too_near_for_a_fresnel_transform_is_refused() -> None:
    with pytest.raises(InputError, match="too near"):
        fresnel_image(np.ones((SIDE, SIDE)), wavelength_um=0.6, pitch_um=6.8, distance_um=1_000.0)


def test_a_far_rough_disc_is_found_in_focus() -> None:
    wavelength_um, pitch_um, distance_um = 0.6328, 6.8, 3e5
    rng = np.random.default_rng(5)
    image = np.exp(2j * np.pi * rng.random((SIDE, SIDE))) * (np.hypot(Y - 70, X - 128) < 24)
    y_um, x_um = ((a - SIDE // 2) * pitch_um for a in (Y, X))
    at_sensor = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho"))
    at_sensor *= np.exp(1j * np.pi / (wavelength_um * distance_um) * (y_um**2 + x_um**2))
    frame = np.abs(3 + at_sensor) ** 2
    tried_um = distance_um * np.array([0.6, 0.8, 0.9, 1.0, 1.15, 1.4, 2.0])
    assert sharpest_distance_um(frame, tried_um, wavelength_um=wavelength_um, pitch_um=pitch_um) == distance_um
