"""The speckle of a background: its grain and strength, and what isn't speckle."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis.denoise import denoise, without_speckle
from device.errors import InputError
from device.optics.speckle import background_speckle

Complex = NDArray[np.complex64]


def noise(seed: int, shape: tuple[int, int], radius_per_px: float) -> Complex:
    """Circular Gaussian, of a round pupil, mean intensity 1."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    pupil = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]) < radius_per_px
    wave = np.fft.ifft2(np.fft.fft2(white) * pupil)
    return (wave / np.sqrt(np.mean(np.abs(wave) ** 2))).astype(np.complex64)


class PassesThrough:
    """A network that changes nothing."""

    tile_px = 64
    multiple_px = 16
    margin_px = 8

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float32]] = []

    def run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(tile)
        return tile


@pytest.mark.parametrize("grain_px", [1.5, 2.0, 3.0, 4.0])
def test_the_grain_of_a_round_pupil_is_half_its_radius_over(grain_px: float) -> None:
    # |2 J1(x) / x| squared is a half at x = 1.616: 0.514 over the radius is the full width.
    found = background_speckle(1 + 0.2 * noise(1, (200, 260), 0.514 / grain_px))
    assert found.grain_px == pytest.approx(grain_px, rel=0.12)
    assert found.noise == pytest.approx(0.2, rel=0.12)


def test_an_object_is_not_background() -> None:
    y, x = np.mgrid[:256, :256]
    wave = np.exp(3j * np.sqrt(np.maximum(1 - ((x - 130) ** 2 + (y - 120) ** 2) / 50**2, 0)))
    found = background_speckle(2j * wave * (1 + 0.2 * noise(2, (256, 256), 0.257)))
    assert found.grain_px == pytest.approx(2.0, rel=0.15)
    assert found.noise == pytest.approx(0.2, rel=0.12)


def test_white_noise_has_no_grain_and_is_refused() -> None:
    rng = np.random.default_rng(3)
    field = (1 + 0.1 * (rng.normal(size=(128, 128)) + 1j * rng.normal(size=(128, 128)))).astype(np.complex64)
    assert background_speckle(field).grain_px == 0
    with pytest.raises(InputError, match="sensor's noise"):
        denoise(field, PassesThrough())


def test_without_noise_the_field_is_left_as_it_is() -> None:
    field = np.ones((96, 96), np.complex64)
    assert denoise(field, PassesThrough())[0] is field


def test_speckle_as_coarse_as_objects_is_refused() -> None:
    with pytest.raises(InputError, match="told from the object"):
        denoise(1 + 0.2 * noise(4, (600, 600), 0.015), PassesThrough())


def test_coarse_grains_are_seen_on_coarser_pixels_and_fine_detail_stays() -> None:
    field = (1 + 0.2 * noise(6, (256, 200), 0.08)).astype(np.complex64)
    field[100:104, ::2] *= np.complex64(np.exp(0.5j))
    network = PassesThrough()
    found, speckle = denoise(field, network)
    assert speckle.grain_px > 4.5
    assert max(network.seen[0].shape) < 160
    np.testing.assert_allclose(found, field, atol=1e-5)


@pytest.mark.parametrize("field", [np.ones((63, 200), np.complex64), np.full((80, 80), np.nan, np.complex64)])
def test_a_field_too_small_or_broken_is_an_error(field: Complex) -> None:
    with pytest.raises(InputError):
        background_speckle(field)


def test_the_network_sees_light_of_1_and_the_field_keeps_its_own() -> None:
    field = (0.7 * np.exp(2.0j) * (1 + 0.1 * noise(5, (100, 90), 0.25))).astype(np.complex64)
    network = PassesThrough()
    found = without_speckle(field, network)
    assert np.median(network.seen[0][..., 0]) == pytest.approx(0, abs=0.02)
    assert np.median(network.seen[0][..., 1]) == pytest.approx(0, abs=0.02)
    np.testing.assert_allclose(found, field, atol=1e-5)


class TakesAllOff(PassesThrough):
    """A network that sees nothing but background, or halves what is there."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.share * tile


def test_what_the_network_takes_for_noise_goes() -> None:
    field = (1 + 0.2 * noise(7, (128, 128), 0.25)).astype(np.complex64)
    assert np.std(without_speckle(field, TakesAllOff(0.0))) < 1e-3


def test_what_stands_clear_of_the_noise_keeps_its_measured_strength() -> None:
    y, x = np.mgrid[:160, :160]
    phase = 0.8 * np.exp(-((x - 80) ** 2 + (y - 70) ** 2) / 2 / 14**2)
    field = (np.exp(1j * phase) * (1 + 0.02 * noise(8, (160, 160), 0.25))).astype(np.complex64)

    class Fades(PassesThrough):
        """A network that makes an object fainter and sees no speckle."""

        def run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
            blurred = np.stack([cv2.GaussianBlur(tile[..., k], (0, 0), 3.0) for k in (0, 1)], axis=-1)
            return 0.7 * blurred * (np.hypot(blurred[..., :1], blurred[..., 1:]) > 0.05)

    inside = phase > 0.3
    alone, weighed = (without_speckle(field, Fades(), weighed=w) for w in (False, True))
    lost = [1 - np.angle(found)[inside].sum() / phase[inside].sum() for found in (alone, weighed)]
    assert lost[0] > 0.15
    assert abs(lost[1]) < 0.04
