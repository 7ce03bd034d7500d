"""The deep decoder's gradient, the fit that nobody trained, and what two of them say of a hologram."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.held_out import holes
from device.analysis.referee import difference, referee
from device.analysis.segment import segment
from device.analysis.two_fits import aligned, ambiguity, fit_twice
from device.errors import InputError
from device.frames import Hologram
from device.optics.deep_decoder import Adam, DeepDecoder, interpolation
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate
from device.optics.untrained import fit_untrained

GEOMETRY = Geometry(0.85, 1.12, 150.0)
NOISE = 0.01


def _decoder(seed: int = 1) -> DeepDecoder:
    return DeepDecoder((11, 14), channels=4, levels=2, outputs=2, rng=np.random.default_rng(seed))


def _field(side: int = 96) -> NDArray[np.complex64]:
    """Two grains with soft edges."""
    y, x = np.mgrid[:side, :side]
    phase = 1.2 * np.clip(6.5 - np.hypot(y - 40, x - 36), 0, 1) + 0.9 * np.clip(5.5 - np.hypot(y - 58, x - 66), 0, 1)
    return np.exp(1j * phase - 0.1 * phase).astype(np.complex64)


def _hologram(field: NDArray[np.complex64], seed: int = 0) -> Hologram:
    wave = propagate(field, pitch_um=GEOMETRY.pitch_um, wavelength_um=GEOMETRY.wavelength_um, distance_um=GEOMETRY.distance_um)
    noisy = np.abs(wave) ** 2 + NOISE * np.random.default_rng(seed).standard_normal(field.shape)
    return Hologram(noisy.astype(np.float32), GEOMETRY, NOISE, datetime.now(UTC))


def _correlation(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> float:
    return float(abs(np.vdot(a - 1, b - 1)) / (np.linalg.norm(a - 1) * np.linalg.norm(b - 1)))


def test_the_decoders_gradient_is_that_of_finite_differences() -> None:
    decoder, rng = _decoder(), np.random.default_rng(2)
    for parameter in decoder.parameters:
        parameter[...] += 0.3 * rng.standard_normal(parameter.shape).astype(np.float32)
    weight = rng.standard_normal((2, 11, 14)).astype(np.float32)
    decoder.forward()
    gradient = decoder.gradient(weight)
    assert len(gradient) == len(decoder.parameters)
    for parameter, slope in zip(decoder.parameters, gradient, strict=True):
        direction = rng.standard_normal(parameter.shape).astype(np.float32)
        ends = []
        for step in (1e-3, -2e-3):
            parameter[...] += np.float32(step) * direction
            ends.append(float((weight * decoder.forward()).sum(dtype=np.float64)))
        parameter[...] += np.float32(1e-3) * direction
        assert float((slope * direction).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=0.03, abs=0.02)


def test_interpolation_keeps_a_level_and_a_slope() -> None:
    matrix = interpolation(12, 6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose((matrix @ np.arange(6.0))[1:-1], (np.arange(12)[1:-1] + 0.5) / 2 - 0.5, atol=1e-6)


def test_adam_finds_a_minimum() -> None:
    parameter = np.array([3.0, -2.0], np.float32)
    adam = Adam([parameter])
    for _ in range(400):
        adam.step([2 * (parameter - np.array([1.0, 1.0], np.float32))], 0.05)
    np.testing.assert_allclose(parameter, 1, atol=0.02)


def test_an_untrained_fit_finds_compact_grains_better_than_back_propagation() -> None:
    field = _field()
    hologram = _hologram(field)
    fit = fit_untrained(hologram.intensity, GEOMETRY, noise=NOISE, steps=150)
    assert _correlation(fit.field, field) > 0.85 > _correlation(backpropagate(hologram.intensity, GEOMETRY), field)


def test_what_it_is_not_shown_doesnt_count_for_the_fit() -> None:
    hologram = _hologram(_field())
    kept = holes(hologram.intensity.shape)
    spoiled = np.where(kept, np.float32(7), hologram.intensity)
    fits = [
        fit_untrained(i, GEOMETRY, noise=NOISE, steps=10, prior="transparent", unseen=kept)
        for i in (hologram.intensity, spoiled)
    ]
    np.testing.assert_array_equal(fits[0].field, fits[1].field)
    assert fits[0].unseen is not None
    assert fits[1].unseen is not None
    assert fits[1].unseen > 10 * fits[0].unseen


def test_a_fit_ends_where_no_more_than_noise_is_left() -> None:
    nothing = _hologram(np.ones((64, 64), np.complex64))
    assert fit_untrained(nothing.intensity, GEOMETRY, noise=0.2, steps=100).steps < 100


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"intensity": np.ones(5, np.float32)}, "two-dimensional"),
        ({"intensity": np.full((32, 32), np.nan, np.float32)}, "NaN"),
        ({"noise": 0.0}, "no noise"),
        ({"steps": 0}, "nothing to fit"),
    ],
)
def test_bad_input_is_told(bad: dict[str, object], said: str) -> None:
    given = {"intensity": np.ones((32, 32), np.float32), "geometry": GEOMETRY, "noise": NOISE} | bad
    with pytest.raises(InputError, match=said):
        fit_untrained(**given)  # type: ignore[arg-type]


def test_two_fits_say_where_they_differ() -> None:
    one = _field()
    other = one.copy()
    other[70:80, 10:20] *= np.exp(0.5j)
    told = ambiguity(one, other, NOISE)
    assert told[75, 15] > 0.2
    assert told[40, 36] == 0


def test_a_constant_phase_is_no_difference() -> None:
    np.testing.assert_allclose(aligned(_field() * np.exp(1j).astype(np.complex64), _field()), _field(), atol=1e-5)


def test_two_fits_of_one_hologram_agree_on_its_grains() -> None:
    field = _field()
    found = fit_twice(_hologram(field), prior="compact", steps=150)
    assert _correlation(found.field, found.other) > 0.8
    assert found.kept.mean() == pytest.approx(1 / 16, abs=0.01)


def test_difference_is_none_one_and_two() -> None:
    field = _field()
    assert difference(field, field) == 0
    assert difference(field, np.ones_like(field)) == pytest.approx(1)
    assert difference(field, 2 - field) == pytest.approx(2, abs=1e-5)


def test_the_referee_agrees_with_the_truth_and_disputes_what_isnt_there() -> None:
    field = _field()
    hologram = _hologram(field)
    amplitude = np.sqrt(hologram.intensity)
    false = field.copy()
    y, x = np.mgrid[:96, :96]
    false[np.hypot(y - 22, x - 70) < 6] = np.exp(1.2j)
    parts = segment(false)
    assert len(parts) == 3
    depths = [Depth(GEOMETRY.distance_um, 1.0)] * 3
    rulings = referee(amplitude, false, parts, depths, GEOMETRY, noise=NOISE)
    for part, ruling in zip(parts, rulings, strict=True):
        added = part.y_px < 22 < part.y_px + part.mask.shape[0] and part.x_px < 70 < part.x_px + part.mask.shape[1]
        assert ruling.verdict == ("disputed" if added else "agreed"), ruling
