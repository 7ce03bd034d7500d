"""The brightfield microscope, of a field and of the twin's scenes, against what is known of one, and the pictures that are computed for people."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis import views
from device.analysis.views import brightfield_view, grey_picture, marked_computed
from device.optics.microscope import Microscope, brightfield_image, condenser_directions
from device.twin.brightfield import brightfield_picture, particle_slices
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


def transfer(reach: float) -> float:
    """Of a faint absorbing grating where condenser and objective have one aperture: the overlap of two discs of radius 1, `reach` apart."""
    half = reach / 2
    return 2 / np.pi * (np.arccos(half) - half * np.sqrt(1 - half**2)) if half < 1 else 0.0


@pytest.mark.parametrize("pitch_um", [PITCH_UM, 0.4])
@pytest.mark.parametrize("cycles", [4, 12, 24, 36, 44])
def test_a_faint_grating_is_transferred_as_the_closed_form_says(cycles: int, pitch_um: float) -> None:
    """With matched apertures nothing finer than 2 NA / wavelength, here one cycle a micrometre, is shown (Goodman, ch. 7)."""
    matched = Microscope(0.5, 0.25, 0.25)
    image = brightfield_image(grating(cycles, -0.01), pitch_um, matched, condenser_directions(matched, 2000))
    expected = transfer(cycles / (SIDE * pitch_um) / 0.5)
    assert shown(image, cycles) == pytest.approx(0.02 * expected, abs=2e-4)
    assert expected > 0 or cycles / (SIDE * pitch_um) > 1


def test_a_field_and_one_slice_in_focus_give_one_picture() -> None:
    """The twin's on the finer pixels that its squares need; the field's finds them itself."""
    thing = grating(5, -0.4 + 0.8j) * grating(7, 0.3j).T
    directions = condenser_directions(MICROSCOPE, 30)
    fine = brightfield_picture({0.0: thing}, 0.4, MICROSCOPE, 0.0, directions)
    assert np.allclose(brightfield_image(thing, 0.4, MICROSCOPE, directions), fine, atol=1e-4)
    # Every second pixel of the same thing, which no frequency of its own is lost by.
    assert np.allclose(brightfield_image(thing[::2, ::2], 0.8, MICROSCOPE, directions), fine[::2, ::2], atol=5e-3)


def disc(side: int = 48) -> NDArray[np.complex64]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.where(np.hypot(y, x) < 9, 0.4 * np.exp(1.5j), 1).astype(np.complex64)


@pytest.mark.parametrize("pitch_um", [0.56, 1.12, 8.96])
def test_a_view_is_what_all_directions_together_show(pitch_um: float, monkeypatch: pytest.MonkeyPatch) -> None:
    view = brightfield_view(disc(), 0.85, pitch_um)
    monkeypatch.setattr(views, "_DIRECTIONS", 1000)
    assert view.shape == (48, 48)
    assert np.abs(view - brightfield_view(disc(), 0.85, pitch_um)).max() < 0.015
    # What the lens resolves with ease is as dark as the field says, and what is empty has the light's own level.
    assert view[22:26, 22:26].mean() == pytest.approx(0.16, abs=0.06)
    assert view[:4].mean() == pytest.approx(1, abs=0.03)


def test_opposite_edges_of_a_view_don_t_meet() -> None:
    field = np.ones((40, 64), np.complex64)
    field[:, :6] = 0.3
    view = brightfield_view(field, 0.85, 1.12)
    assert view.shape == field.shape
    assert np.abs(view[:, -8:] - 1).max() < 0.01


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
