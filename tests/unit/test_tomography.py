"""The index of spheres from exact and from weak fields, where they lie, and what no angle measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from device.cli import main
from device.errors import InputError
from device.optics.lorenz_mie import Light, radial_field
from device.optics.propagation import propagate
from device.optics.tomography import coverage, rytov_phase, tomogram

MEDIUM, WAVELENGTH_UM, PITCH_UM = 1.333, 0.532, 0.2
SIDE = 48


def _mie(radius_um: float = 1.8, index: float = 1.345) -> NDArray[np.complex64]:
    """The exact field of a sphere, carried back to the plane of its middle."""
    light, wide = Light(WAVELENGTH_UM, MEDIUM), 4 * SIDE
    y = (np.arange(wide) - wide // 2) * PITCH_UM
    rho = np.hypot(y[:, None], y[None, :])
    table = np.linspace(0, float(rho.max()) + PITCH_UM, 4000)
    scattered = radial_field(light, radius_um, index, 1.2 * radius_um, table).mean
    field = 1 + np.interp(rho, table, scattered.real) + 1j * np.interp(rho, table, scattered.imag)
    back = propagate(
        field.astype(np.complex64), pitch_um=PITCH_UM, wavelength_um=WAVELENGTH_UM / MEDIUM, distance_um=-1.2 * radius_um, margin_px=0
    )  # fmt: skip
    inner = slice((wide - SIDE) // 2, (wide + SIDE) // 2)
    return back[inner, inner]


def _radius_um() -> NDArray[np.float64]:
    axis = (np.arange(SIDE) - SIDE // 2) * PITCH_UM
    return np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)


def _blob_fields(angles_rad: NDArray[np.float64], place_um: tuple[float, float, float]) -> list[NDArray[np.complex64]]:
    """A weak blob off the axis, at each angle a phase screen in its own plane."""
    z_um, y_um, x_um = place_um
    axis = (np.arange(SIDE) - SIDE // 2) * PITCH_UM
    fields = []
    for angle in angles_rad:
        across, ahead = x_um * np.cos(angle) + z_um * np.sin(angle), z_um * np.cos(angle) - x_um * np.sin(angle)
        bump = 0.05j * np.exp(-((axis[:, None] - y_um) ** 2 + (axis[None, :] - across) ** 2) / (2 * 0.5**2))
        carried = propagate(
            bump, pitch_um=PITCH_UM, wavelength_um=WAVELENGTH_UM / MEDIUM, distance_um=-ahead, margin_px=SIDE // 2, border="zero"
        )  # fmt: skip
        fields.append(1 + carried)
    return fields


def test_a_sphere_by_mie_has_its_index_all_around() -> None:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    found = tomogram([_mie()] * 40, angles, pitch_um=PITCH_UM, wavelength_um=WAVELENGTH_UM, medium_index=MEDIUM)
    radius = _radius_um()
    for index in (found.index, found.rytov):
        assert index[radius < 1.3].mean() == pytest.approx(1.345, abs=1.0e-3)
        assert abs(index[(radius > 2.4) & (radius < 4)].mean() - MEDIUM) < 3e-4
    assert found.unexplained < 0.05


def test_what_few_angles_leave_out_is_filled_better_than_by_nothing() -> None:
    angles = np.deg2rad(np.linspace(-30, 30, 20))
    found = tomogram([_mie()] * 20, angles, pitch_um=PITCH_UM, wavelength_um=WAVELENGTH_UM, medium_index=MEDIUM)
    truth = np.where(_radius_um() < 1.8, 1.345, MEDIUM)
    errors = [float(np.linalg.norm(index - truth)) for index in (found.index, found.rytov)]
    assert errors[0] < 0.7 * errors[1]
    assert found.index.min() >= MEDIUM - 1e-6


@pytest.mark.parametrize("place_um", [(1.6, 0.0, 0.0), (0.0, 1.6, 0.0), (0.0, 0.0, -1.6)])
def test_a_blob_is_found_where_it_lies(place_um: tuple[float, float, float]) -> None:
    angles = np.linspace(0, np.pi, 24, endpoint=False)
    found = tomogram(
        _blob_fields(angles, place_um), angles, pitch_um=PITCH_UM, wavelength_um=WAVELENGTH_UM, medium_index=MEDIUM, iterations=0
    )  # fmt: skip
    peak = np.unravel_index(int(found.rytov.argmax()), found.rytov.shape)
    np.testing.assert_allclose((np.array(peak) - SIDE // 2) * PITCH_UM, place_um, atol=PITCH_UM)


def test_few_angles_measure_less() -> None:
    phase = rytov_phase(_mie())
    shares = []
    for angles in (np.deg2rad([-10.0, 0.0, 10.0]), np.linspace(0, np.pi, 12, endpoint=False)):
        known = coverage(
            [phase] * len(angles), angles, pitch_um=PITCH_UM, wavelength_um=WAVELENGTH_UM / MEDIUM, side=SIDE
        )  # fmt: skip
        shares.append(known.measured.mean())
    assert 0 < shares[0] < shares[1] < 1


@pytest.mark.parametrize(
    ("fields", "angles", "said"),
    [
        ([np.ones((8, 8), complex)], [0.0], "angles don't match"),
        ([np.ones((8, 8), complex), np.ones((8, 9), complex)], [0.0, 1.0], "different shapes"),
        ([np.ones((500, 8), complex)] * 2, [0.0, 1.0], "too large"),
        ([np.full((8, 8), np.nan + 0j)] * 2, [0.0, 1.0], "NaN"),
        ([np.ones((8, 8), complex)] * 2, [1.0, 1.0], "all angles are one"),
    ],
)
def test_bad_input_is_told(fields: list[NDArray[np.complex128]], angles: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        tomogram(fields, angles, pitch_um=0.2, wavelength_um=0.5, medium_index=1.33)


def test_the_command_writes_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "turned.npz", tmp_path / "cell.npz"
    np.savez(source, fields=np.stack([_mie()] * 6), angles_deg=np.arange(6) * 30.0)
    arguments = ["reconstruct", str(source), "--method", "tomography", "--out", str(out), "--png", "--json"]
    arguments += ["--wavelength-um", "0.532", "--pitch-um", "0.2", "--medium-index", "1.333"]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert 1.34 < answer["index_most"] < 1.36
    assert np.load(out)["index"].shape == (SIDE, SIDE, SIDE)
    assert out.with_suffix(".png").exists()
    assert main([*arguments, "--angles-deg", "1", "2"]) == 2
