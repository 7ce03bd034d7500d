"""Multi-height retrieval, on frames rendered on a finer grid over a larger field than the retrieval knows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.geometry import Geometry
from device.optics.multiheight import retrieve_multi_height

PITCH_UM, WAVELENGTH_UM = 1.12, 0.85
SIDE_PX, FINE = 160, 2


def _object(seed: int) -> NDArray[np.complex128]:
    """Discs, some clear and some dark, over three times the side that the camera sees, on a grid twice as fine."""
    rng = np.random.default_rng(seed)
    side = 3 * SIDE_PX * FINE
    absorbed, retarded = np.zeros((side, side)), np.zeros((side, side))
    for _ in range(90):
        y, x, radius = *rng.uniform(0, side, 2), rng.uniform(4, 9) * FINE
        centre = (round(x * 16), round(y * 16))
        disc = cv2.circle(np.zeros((side, side), np.float32), centre, round(radius * 16), 1.0, -1, cv2.LINE_AA, 4)
        absorbed += rng.uniform(0, 0.4) * disc
        retarded += rng.uniform(0, 1.5) * disc
    return np.exp(-absorbed + 1j * retarded)


def _frame(
    wave: NDArray[np.complex128],
    z_um: float,
    shift_px: tuple[float, float] = (0, 0),
    turn_rad: float = 0.0,
    seed: int = 0,
    wavelength_um: float = WAVELENGTH_UM,
) -> NDArray[np.float32]:
    """The camera's middle third, integrated over its pixels, with shot noise of 5,000 electrons."""
    side = wave.shape[0]
    f = np.fft.fftfreq(side, PITCH_UM / FINE)
    fy, fx = f[:, None], f[None, :]
    phase = 2 * np.pi * z_um * np.sqrt(np.maximum(1 / wavelength_um**2 - fy**2 - fx**2, 0))
    phase = phase - 2 * np.pi * PITCH_UM * (fy * shift_px[0] + fx * shift_px[1])
    intensity = np.abs(np.fft.ifft2(np.fft.fft2(wave) * np.exp(1j * phase))) ** 2
    if turn_rad:
        middle = ((side - 1) / 2, (side - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, float(np.rad2deg(turn_rad)), 1.0)
        intensity = cv2.warpAffine(intensity, matrix, (side, side), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    pixels = intensity.reshape(side // FINE, FINE, side // FINE, FINE).mean((1, 3))
    counts = np.random.default_rng(seed).poisson(5_000 * np.maximum(pixels[SIDE_PX:-SIDE_PX, SIDE_PX:-SIDE_PX], 0))
    return (counts / counts.mean()).astype(np.float32)


def _truth(wave: NDArray[np.complex128]) -> NDArray[np.complex128]:
    side = wave.shape[0] // FINE
    return wave.reshape(side, FINE, side, FINE).mean((1, 3))[SIDE_PX:-SIDE_PX, SIDE_PX:-SIDE_PX]


def _correlation(field: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]) -> float:
    inner = (slice(12, -12),) * 2
    a, b = field[inner] - field[inner].mean(), truth[inner] - truth[inner].mean()
    return float(abs(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b)))


HEIGHTS_UM = (400.0, 520.0, 660.0, 820.0)
SHIFTS_PX = ((0.0, 0.0), (3.3, -1.7), (-0.45, 0.8), (0.2, 6.4))


def _geometries(heights_um: tuple[float, ...] = HEIGHTS_UM) -> list[Geometry]:
    return [Geometry(WAVELENGTH_UM, PITCH_UM, z) for z in heights_um]


def test_unknown_shifts_are_found_and_the_field_with_them() -> None:
    wave = _object(1)
    frames = [_frame(wave, z, s, seed=k) for k, (z, s) in enumerate(zip(HEIGHTS_UM, SHIFTS_PX, strict=True))]
    found = retrieve_multi_height(frames, _geometries())
    for place, shift in zip(found.placements, SHIFTS_PX, strict=True):
        assert place.shift_px == pytest.approx(shift, abs=0.08)
    assert _correlation(found.field, _truth(wave)) > 0.95


def test_whether_the_object_fills_the_field_is_found_out() -> None:
    # Smooth noise: the transmission of tissue, everywhere.
    noise = np.random.default_rng(5).normal(size=(2, 3 * SIDE_PX * FINE, 3 * SIDE_PX * FINE))
    texture = np.array([cv2.GaussianBlur(part, (0, 0), 4.0) for part in noise])
    texture /= texture.std(axis=(1, 2), keepdims=True)
    dense = np.exp(-0.3 * np.abs(texture[0]) + 0.6j * texture[1])
    for wave, sparse in ((_object(3), True), (dense, False)):
        frames = [_frame(wave, z, seed=k) for k, z in enumerate(HEIGHTS_UM[:2])]
        found = retrieve_multi_height(frames, _geometries(HEIGHTS_UM[:2]))
        told = retrieve_multi_height(frames, _geometries(HEIGHTS_UM[:2]), sparse=sparse)
        assert found.sparse is sparse
        assert found.unexplained is not None
        assert np.array_equal(found.field, told.field)


def test_distances_stated_one_per_cent_wrong_are_put_right() -> None:
    wave = _object(2)
    frames = [_frame(wave, z, seed=k) for k, z in enumerate(HEIGHTS_UM)]
    wrong = (1.01, 0.99, 1.01, 0.99)
    stated = tuple(z * w for z, w in zip(HEIGHTS_UM, wrong, strict=True))
    found = retrieve_multi_height(frames, _geometries(stated), iterations=16)
    ratios = np.array([p.distance_um / z for p, z in zip(found.placements, HEIGHTS_UM, strict=True)])
    assert np.ptp(ratios) < 0.004  # from 0.02; what all share is the object plane's own


def test_a_turned_frame_is_turned_back() -> None:
    wave = _object(3)
    turns = (0.0, np.deg2rad(1.3), np.deg2rad(-0.6), 0.0)
    frames = [_frame(wave, z, turn_rad=t, seed=k) for k, (z, t) in enumerate(zip(HEIGHTS_UM, turns, strict=True))]
    found = retrieve_multi_height(frames, _geometries(), rotate=True)
    for place, angle in zip(found.placements, turns, strict=True):
        assert np.rad2deg(place.rotation_rad) == pytest.approx(np.rad2deg(angle), abs=0.05)
    assert _correlation(found.field, _truth(wave)) > 0.95


def test_every_further_frame_helps() -> None:
    wave = _object(4)
    frames = [_frame(wave, z, s, seed=k) for k, (z, s) in enumerate(zip(HEIGHTS_UM, SHIFTS_PX, strict=True))]
    quality = [_correlation(retrieve_multi_height(frames[:n], _geometries()[:n]).field, _truth(wave)) for n in (1, 2, 4)]
    assert quality == sorted(quality)
    assert quality[-1] > quality[0] + 0.03


def test_three_wavelengths_at_one_height_serve_as_three_heights() -> None:
    wave = _object(6)
    colours = (0.80, 0.85, 0.91)
    frames = [_frame(wave, 600.0, seed=k, wavelength_um=c) for k, c in enumerate(colours)]
    one = retrieve_multi_height(frames[:1], [Geometry(colours[0], PITCH_UM, 600.0)])
    three = retrieve_multi_height(frames, [Geometry(c, PITCH_UM, 600.0) for c in colours])
    assert _correlation(three.field, _truth(wave)) > _correlation(one.field, _truth(wave)) + 0.01
    assert _correlation(three.field, _truth(wave)) > 0.9


def test_a_wrong_distance_shows_in_what_stays_unexplained() -> None:
    wave = _object(5)
    frames = [_frame(wave, z, seed=k) for k, z in enumerate(HEIGHTS_UM)]
    right = retrieve_multi_height(frames, _geometries(), register=False)
    wrong = retrieve_multi_height(frames, _geometries((400.0, 520.0, 690.0, 820.0)), register=False)
    assert wrong.placements[2].residual > 1.5 * right.placements[2].residual


@pytest.mark.parametrize(
    ("frames", "heights", "words"),
    [
        ([], (), "don't match"),
        ([np.ones((32, 32))], (400.0, 500.0), "don't match"),
        ([np.ones((32, 32)), np.ones((32, 33))], (400.0, 500.0), "one shape"),
        ([np.ones((32, 32)), np.full((32, 32), np.nan)], (400.0, 500.0), "NaN"),
    ],
)
def test_frames_that_do_not_belong_together_are_refused(frames: list, heights: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        retrieve_multi_height(frames, _geometries(heights))


def test_frames_of_different_magnification_are_refused() -> None:
    near, far = (Geometry(WAVELENGTH_UM, PITCH_UM, z, source_distance_um=5_000) for z in (400.0, 900.0))
    with pytest.raises(InputError, match="pitch"):
        retrieve_multi_height([np.ones((32, 32))] * 2, [near, far])
