"""Propagation against closed forms and against the diffraction integral, never only against itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import j1

from device.errors import InputError
from device.optics.geometry import Geometry
from device.optics.propagation import asm_transfer_function, backpropagate, propagate

WAVELENGTH_UM = 0.532
PITCH_UM = 2.0


def _grid(n: int, pitch_um: float = PITCH_UM) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = (np.arange(n) - n // 2) * pitch_um
    return axis[:, None], axis[None, :]


def _carry(field: NDArray[np.generic], distance_um: float, **changes: float) -> NDArray[np.complex64]:
    settings: dict[str, float] = {"pitch_um": PITCH_UM, "wavelength_um": WAVELENGTH_UM} | changes
    return propagate(field, distance_um=distance_um, margin_px=0, **settings)  # type: ignore[arg-type]


def _blob(n: int = 256, sigma_y_um: float = 20.0, sigma_x_um: float = 12.0) -> NDArray[np.complex128]:
    y, x = _grid(n)
    return np.exp(-(y**2) / (2 * sigma_y_um**2) - x**2 / (2 * sigma_x_um**2)) * np.exp(1j * 0.02 * x)


def _aperture(radius_um: float, n: int, pitch_um: float, oversample: int = 4) -> NDArray[np.float64]:
    """A circular aperture whose edge pixels carry the covered share of their area."""
    fine = ((np.arange(n * oversample) + 0.5) / oversample - 0.5 - n // 2) * pitch_um
    inside = (fine[:, None] ** 2 + fine[None, :] ** 2 <= radius_um**2).astype(np.float64)
    return inside.reshape(n, oversample, n, oversample).mean(axis=(1, 3))


def test_propagating_there_and_back_restores_the_field() -> None:
    field = _blob()
    back = _carry(_carry(field, 1500.0), -1500.0)
    assert np.abs(back - field).max() < 2e-4


def test_propagation_keeps_the_energy() -> None:
    field = _blob()
    ratio = np.sum(np.abs(_carry(field, 1500.0)) ** 2) / np.sum(np.abs(field) ** 2)
    assert ratio == pytest.approx(1, abs=1e-4)


def test_results_are_single_precision() -> None:
    assert _carry(_blob().astype(np.complex64), 500.0).dtype == np.complex64


def test_a_shifted_object_gives_a_shifted_field() -> None:
    field = 1 + _blob(128)
    shifted = np.roll(field, (7, -19), axis=(0, 1))
    expected = np.roll(_carry(field, 800.0), (7, -19), axis=(0, 1))
    assert np.abs(_carry(shifted, 800.0) - expected).max() < 1e-4


def test_rows_and_columns_keep_their_places() -> None:
    """An object narrow along columns spreads along columns, on a frame that isn't square."""
    y, x = (np.arange(192) - 96)[:, None] * PITCH_UM, (np.arange(320) - 160)[None, :] * PITCH_UM
    slit = np.exp(-(y**2) / (2 * 60.0**2) - x**2 / (2 * 8.0**2))
    intensity = np.abs(_carry(slit, 1500.0)) ** 2
    spread_x = np.sqrt((intensity * x**2).sum() / intensity.sum())
    spread_y = np.sqrt((intensity * y**2).sum() / intensity.sum())
    sigma_x, sigma_y = (s / np.sqrt(2) * np.hypot(1, 1500.0 * WAVELENGTH_UM / (2 * np.pi * s**2)) for s in (8.0, 60.0))
    assert spread_x == pytest.approx(sigma_x, rel=0.01)
    assert spread_y == pytest.approx(sigma_y, rel=0.01)


def test_a_tilted_wave_moves_towards_higher_columns() -> None:
    y, x = _grid(256)
    beam = np.exp(-(x**2 + y**2) / (2 * 40.0**2)) * np.exp(2j * np.pi * x * 0.02)
    intensity = np.abs(_carry(beam, 4000.0)) ** 2
    tangent = 0.02 * WAVELENGTH_UM / np.sqrt(1 - (0.02 * WAVELENGTH_UM) ** 2)
    assert (intensity * x).sum() / intensity.sum() == pytest.approx(4000.0 * tangent, abs=0.2)
    assert (intensity * y).sum() / intensity.sum() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("distance_um", [500.0, 3000.0, -3000.0])
def test_a_gaussian_beam_diffracts_as_the_closed_form_says(distance_um: float) -> None:
    """Complex amplitude of the paraxial Gaussian beam, phase included."""
    y, x = _grid(512)
    waist_um = 40.0
    rayleigh_um = np.pi * waist_um**2 / WAVELENGTH_UM
    q = 1 + 1j * distance_um / rayleigh_um
    expected = np.exp(-(x**2 + y**2) / (waist_um**2 * q)) / q
    got = _carry(np.exp(-(x**2 + y**2) / waist_um**2), distance_um)
    assert np.abs(got - expected).max() < 2e-3


@pytest.mark.parametrize("zones", [1.0, 2.0, 3.0])
def test_on_the_axis_of_an_aperture_odd_fresnel_zones_are_bright_and_even_ones_dark(zones: float) -> None:
    """|U|**2 = 4 sin**2(pi N / 2), where N = a**2 / (lambda z) is the Fresnel number of the aperture."""
    radius_um, n = 150.0, 1024
    distance_um = radius_um**2 / (WAVELENGTH_UM * zones)
    field = _carry(_aperture(radius_um, n, PITCH_UM), distance_um)
    assert abs(field[n // 2, n // 2]) ** 2 == pytest.approx(4 * np.sin(np.pi * zones / 2) ** 2, abs=0.12)


def test_a_lens_focuses_to_the_airy_pattern() -> None:
    radius_um, n, focus_um = 200.0, 1024, 16_000.0
    y, x = _grid(n)
    lens = np.exp(-1j * np.pi * (x**2 + y**2) / (WAVELENGTH_UM * focus_um))
    field = _carry(_aperture(radius_um, n, PITCH_UM) * lens, focus_um)
    profile = np.abs(field[n // 2, n // 2 :]) ** 2 / np.abs(field[n // 2, n // 2]) ** 2
    v = 2 * np.pi * radius_um * np.arange(1, 60) * PITCH_UM / (WAVELENGTH_UM * focus_um)
    assert np.abs(profile[1:60] - (2 * j1(v) / v) ** 2).max() < 5e-3
    first_dark_um = 1.2197 * WAVELENGTH_UM * focus_um / (2 * radius_um)
    assert np.argmin(profile[:20]) == pytest.approx(first_dark_um / PITCH_UM, abs=0.75)


def test_it_agrees_with_the_first_rayleigh_sommerfeld_integral() -> None:
    """Direct summation of z exp(ikr) / (i lambda r**2) (1 - 1/(ikr)) at several points off the axis."""
    n, distance_um = 256, 900.0
    y, x = _grid(n)
    source = _blob(n, 9.0, 14.0)
    got = _carry(source, distance_um)
    k = 2 * np.pi / WAVELENGTH_UM
    for row, column in ((128, 128), (140, 128), (128, 150), (110, 165), (90, 100)):
        r = np.sqrt((y[row] - y) ** 2 + (x[0, column] - x) ** 2 + distance_um**2)
        kernel = distance_um / (1j * WAVELENGTH_UM * r**2) * (1 - 1 / (1j * k * r)) * np.exp(1j * k * (r - distance_um))
        expected = (source * kernel).sum() * PITCH_UM**2
        assert abs(got[row, column] - expected) < 1e-3


def test_a_medium_is_a_shorter_wavelength() -> None:
    geometry = Geometry(0.66, 2.0, 900.0, medium_index=1.33)
    expected = propagate(np.sqrt(_intensity()), pitch_um=2.0, wavelength_um=0.66 / 1.33, distance_um=-900.0)
    assert np.abs(backpropagate(_intensity(), geometry) - expected).max() < 1e-5


def _intensity() -> NDArray[np.float32]:
    return (np.abs(1 - 0.5 * _blob(128)) ** 2).astype(np.float32)


def test_a_point_source_recording_is_the_plane_wave_recording_of_the_scaled_geometry() -> None:
    """The spherical wave itself, carried by the quadrature of the Fresnel integral, against the equivalent geometry."""
    geometry = Geometry(WAVELENGTH_UM, 6.0, 4000.0, source_distance_um=6000.0)
    source_to_object_um = 2000.0
    assert geometry.object_pitch_um == pytest.approx(2.0)
    assert geometry.propagation_um == pytest.approx(4000.0 / 3)
    n = 192
    y, x = _grid(n, 2.0)
    scatterer = 0.8 * np.exp(-(y**2) / (2 * 10.0**2) - (x - 20.0) ** 2 / (2 * 16.0**2))
    equivalent = propagate(
        scatterer, pitch_um=2.0, wavelength_um=WAVELENGTH_UM, distance_um=geometry.propagation_um, margin_px=0
    )
    for row, column in ((96, 106), (100, 96), (80, 120)):
        sensor_y, sensor_x = (row - 96) * 6.0, (column - 96) * 6.0
        arriving = scatterer * np.exp(1j * np.pi * (x**2 + y**2) / (WAVELENGTH_UM * source_to_object_um))
        carried = np.exp(1j * np.pi * ((sensor_x - x) ** 2 + (sensor_y - y) ** 2) / (WAVELENGTH_UM * 4000.0))
        at_sensor = (arriving * carried).sum() * 4.0 / (1j * WAVELENGTH_UM * 4000.0)
        # Relative to the undisturbed spherical wave, whose amplitude falls as 1 / magnification.
        reference = np.exp(1j * np.pi * (sensor_x**2 + sensor_y**2) / (WAVELENGTH_UM * 6000.0)) / 3
        assert abs(at_sensor / reference - equivalent[row, column]) < 2e-3


def test_an_empty_field_stays_empty_up_to_the_border() -> None:
    field = propagate(np.ones((96, 130)), pitch_um=1.12, wavelength_um=0.85, distance_um=500.0)
    assert np.abs(field - 1).max() < 1e-4


def test_nothing_comes_in_at_the_opposite_edge() -> None:
    """A particle at the left edge leaves the right half alone, unlike in a periodic field."""
    field = np.ones((128, 256), np.complex64)
    field[60:68, 0:4] = 0
    settings = {"pitch_um": 2.0, "wavelength_um": 0.532, "distance_um": 1500.0}
    padded, periodic = propagate(field, **settings), propagate(field, **settings, margin_px=0)
    assert np.abs(padded[:, 224:] - 1).max() < 0.3 * np.abs(periodic[:, 224:] - 1).max()


def test_frequencies_that_would_alias_are_left_out() -> None:
    near = asm_transfer_function((256, 256), 1.0, 0.532, 100.0)
    far = asm_transfer_function((256, 256), 1.0, 0.532, 10_000.0)
    assert np.count_nonzero(far) < np.count_nonzero(near) == near.size
    limit = 1 / (0.532 * np.hypot(2 * 10_000.0 / 256, 1))
    frequencies = np.abs(np.fft.fftfreq(256))
    assert frequencies[far[0] != 0].max() <= limit < frequencies[far[0] == 0].min()


def test_evanescent_waves_do_not_travel() -> None:
    transfer = asm_transfer_function((64, 64), 0.2, 0.532, 5.0, False)
    f = np.fft.fftfreq(64, 0.2)
    assert (transfer[np.hypot(f[:, None], f[None, :]) > 1 / 0.532] == 0).all()


def test_a_field_that_is_not_two_dimensional_is_refused() -> None:
    with pytest.raises(InputError, match="two-dimensional"):
        propagate(np.ones((4, 4, 3)), pitch_um=1.0, wavelength_um=0.5, distance_um=10.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wavelength_um": 532.0}, "wavelength_um"),
        ({"pitch_um": 0.0}, "pitch_um"),
        ({"distance_um": float("nan")}, "distance_um"),
        ({"source_distance_um": 500.0}, "source"),
        ({"medium_index": 0.9}, "medium_index"),
    ],
)
def test_an_unphysical_geometry_is_refused_by_name(changes: dict[str, float], said: str) -> None:
    good: dict[str, float] = {"wavelength_um": 0.532, "pitch_um": 1.12, "distance_um": 1000.0}
    with pytest.raises(InputError, match=said):
        Geometry(**(good | changes))


def test_each_axis_has_the_band_limit_of_its_own_length() -> None:
    transfer = asm_transfer_function((128, 512), 1.0, 0.532, 10_000.0)
    rows, columns = (np.abs(np.fft.fftfreq(n)) for n in (128, 512))
    assert rows[transfer[:, 0] != 0].max() <= 1 / (0.532 * np.hypot(2 * 10_000.0 / 128, 1))
    assert columns[transfer[0] != 0].max() > 2 / (0.532 * np.hypot(2 * 10_000.0 / 128, 1))
