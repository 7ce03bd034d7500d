"""The twin's brightfield microscope against what is known of one, and the pictures that are computed for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis.views import brightfield_view, grey_picture, marked_computed
from device.twin.brightfield import Microscope, brightfield_picture, condenser_directions, particle_slices
from device.twin.forward import object_field
from device.twin.illumination import Illumination
from device.twin.morphology import VoxelVolume
from device.twin.scene import SimulatedParticle

SIDE = 96
MICROSCOPE = Microscope(0.5, 0.25, 0.2)
"""Coherent cutoff 0.5 a micrometre, incoherent 0.9."""
PITCH_UM = 0.5


def picture(slices: dict[float, NDArray[np.complex64]], focus_um: float = 0.0, count: int = 40) -> NDArray[np.float32]:
    return brightfield_picture(slices, PITCH_UM, MICROSCOPE, focus_um, condenser_directions(MICROSCOPE, count))


def grating(cycles: int, contrast: complex) -> NDArray[np.complex64]:
    line = np.cos(2 * np.pi * cycles * np.arange(SIDE) / SIDE)
    return np.exp(contrast * line)[None, :].repeat(SIDE, axis=0).astype(np.complex64)


def shown(image: NDArray[np.float32], cycles: int) -> float:
    """Amplitude of a grating in a picture."""
    return 2 * abs(np.fft.fft(image[0])[cycles]) / SIDE


def test_nothing_is_evenly_bright() -> None:
    assert np.allclose(picture({0.0: np.ones((SIDE, SIDE), np.complex64)}), 1, atol=1e-5)


def test_directions_fill_the_condenser_evenly() -> None:
    directions = condenser_directions(MICROSCOPE, 400, 0.3)
    radius = np.hypot(*directions.T) * MICROSCOPE.wavelength_um / MICROSCOPE.condenser_na
    assert radius.max() < 1
    # A disc's mean squared radius is half of its squared radius.
    assert np.mean(radius**2) == pytest.approx(0.5, abs=0.01)
    assert np.abs(directions.mean(axis=0)).max() < 0.01


@pytest.mark.parametrize(("cycles", "share"), [(4, 1.0), (24, 0.4), (46, 0.0)])
def test_an_absorbing_grating_is_shown_as_far_as_the_apertures_reach(cycles: int, share: float) -> None:
    """To first order a grating of amplitude a shows 2 a, times the share of directions that carry one of its orders through."""
    directions = condenser_directions(MICROSCOPE, 200)
    frequency = cycles / (SIDE * PITCH_UM)
    through = [np.hypot(directions[:, 0] + sign * frequency, directions[:, 1]) <= 0.5 for sign in (-1, 1)]
    expected = float(np.mean(np.mean(through, axis=0)))
    assert shown(
        brightfield_picture({0.0: grating(cycles, -0.01)}, PITCH_UM, MICROSCOPE, 0.0, directions), cycles
    ) == pytest.approx(0.02 * expected, rel=0.02, abs=1e-5)
    assert expected == pytest.approx(share, abs=0.1)


def test_a_thin_phase_grating_shows_out_of_focus_alone() -> None:
    phase = {0.0: grating(8, 0.05j)}
    assert shown(picture(phase, 8.0), 8) > 8 * shown(picture(phase), 8)


def test_what_lies_off_the_plane_fades() -> None:
    speck = np.ones((SIDE, SIDE), np.complex64)
    speck[44:52, 44:52] = 0.3
    contrasts = [float(np.std(picture({z: speck}, 0.0))) for z in (0.0, 4 * MICROSCOPE.depth_of_field_um)]
    assert contrasts[1] < 0.5 * contrasts[0]


def test_one_direction_is_coherent_light() -> None:
    """A condenser closed to a point gives the squared field behind the objective's pupil."""
    thing = grating(5, -0.4 + 0.8j)
    frequency = np.fft.fftfreq(SIDE, PITCH_UM)
    pupil = np.hypot(frequency[:, None], frequency[None, :]) <= 0.5
    straight = np.abs(np.fft.ifft2(np.fft.fft2(thing) * pupil)) ** 2
    image = brightfield_picture({0.0: thing}, PITCH_UM, MICROSCOPE, 0.0, np.zeros((1, 2)))
    assert np.allclose(image, straight, atol=1e-4)


def test_slices_hold_all_of_a_particle() -> None:
    rng = np.random.default_rng(3)
    contrast = np.zeros((21, 21, 21), np.complex64)
    contrast[4:17, 4:17, 4:17] = 0.03 * rng.random((13, 13, 13)) + 0.002j
    particle = SimulatedParticle("block", 20.0, 24.0, 300.0, VoxelVolume(contrast, PITCH_UM, 6.0, 6.5))
    slices = particle_slices((SIDE, SIDE), [particle], 0.5, slab_um=2.0)
    assert len(slices) > 2
    assert all(abs(z - 300) <= 5 for z in slices)
    together = np.prod(list(slices.values()), axis=0)
    assert np.allclose(together, object_field((SIDE, SIDE), [particle], Illumination(0.5)), atol=1e-4)


@dataclass
class Squares:
    """A network that answers with the light's intensity, which a view of a field without a twin would be."""

    tile_px: int = 32
    multiple_px: int = 16
    margin_px: int = 4

    def run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        return (1 + tile[..., :1]) ** 2 + tile[..., 1:] ** 2 - 1


def test_a_view_is_an_intensity_and_never_below_dark() -> None:
    rng = np.random.default_rng(4)
    field = (1 + 0.5 * (rng.standard_normal((48, 70)) + 1j * rng.standard_normal((48, 70)))).astype(np.complex64)
    view = brightfield_view(field, Squares())
    assert view.shape == field.shape
    assert np.allclose(view, np.abs(field) ** 2, atol=1e-4)
    assert brightfield_view(np.zeros((16, 16), np.complex64), Squares()).min() == 0


@pytest.mark.parametrize("shape", [(48, 48), (48, 48, 3), (600, 400)])
def test_a_computed_picture_says_so_in_itself(shape: tuple[int, ...]) -> None:
    plain = np.full(shape, 159, np.uint8)
    marked = marked_computed(plain)
    factor = marked.shape[0] // shape[0]
    assert marked.shape == (shape[0] * factor, shape[1] * factor, *shape[2:])
    assert marked.shape[0] >= 144
    word = marked != 159
    assert 0.005 < word.mean() < 0.2
    # In the lower left, whole: it neither begins nor ends at the picture's edge.
    rows, columns = np.nonzero(word.reshape(*marked.shape[:2], -1).any(axis=-1))
    assert rows.min() > marked.shape[0] / 2
    assert columns.min() > 0
    assert columns.max() < marked.shape[1] - 1
    assert marked.min() < 40
    assert marked.max() > 230


def test_the_light_s_own_level_is_neither_black_nor_white() -> None:
    assert grey_picture(np.array([[0.0, 1.0, 5.0]])).tolist() == [[0, 159, 255]]
