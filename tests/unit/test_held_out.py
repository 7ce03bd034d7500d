"""What a reconstruction predicts of a hologram it was not shown tells what to believe."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from device.analysis.held_out import Prediction, best, held_out
from device.frames import Hologram
from device.optics.consistency import predicted_intensity
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import retrieve_single_shot
from device.optics.propagation import backpropagate

GEOMETRY = Geometry(0.85, 1.12, 500.0)


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    """Five grains."""
    rng = np.random.default_rng(4)
    down, across = np.mgrid[:192, :192]
    field = np.ones((192, 192), np.complex64)
    for y, x in rng.uniform(40, 152, (5, 2)):
        field[np.hypot(down - y, across - x) < 5] = 0.3 * np.exp(1j)
    return field


@pytest.fixture(scope="module")
def hologram(field: np.ndarray) -> Hologram:
    noise = np.random.default_rng(5).normal(0, 0.02, field.shape)
    return Hologram((predicted_intensity(field, GEOMETRY) + noise).astype(np.float32), GEOMETRY, 0.02, datetime.now(UTC))


def test_the_true_field_predicts_what_it_was_not_shown(hologram: Hologram, field: np.ndarray) -> None:
    found = held_out(hologram, lambda _: field)
    assert found.share is not None
    assert found.share > 0.95
    assert np.nanmin(found.confidence) > 0.8


def test_a_field_that_reproduces_any_hologram_predicts_nothing(hologram: Hologram) -> None:
    found = held_out(hologram, lambda shown: backpropagate(shown.intensity, shown.geometry))
    assert found.share is not None
    assert abs(found.share) < 0.02


def test_what_knows_that_grains_are_compact_is_chosen(hologram: Hologram) -> None:
    ways = {
        "plain": lambda h: backpropagate(h.intensity, h.geometry),
        "sparse": lambda h: retrieve_single_shot(h.intensity, h.geometry, iterations=10),
    }
    assert best({name: held_out(hologram, way) for name, way in ways.items()}) == "sparse"


@pytest.mark.parametrize(
    ("shares", "believed"),
    [
        ((0.0, -0.2, -0.4), "plain"),
        ((None, None, None), "plain"),
        ((0.0, 0.3, 0.35), "sparse"),
        ((0.0, 0.3, 0.6), "network"),
        ((0.0, 0.05, 0.2), "network"),
    ],
)
def test_a_way_must_surely_beat_the_plainer_ones(shares: tuple[float | None, ...], believed: str) -> None:
    nowhere = np.full((3, 3), np.nan, np.float32)
    ways = zip(("plain", "sparse", "network"), shares, strict=True)
    assert best({name: Prediction(share, nowhere) for name, share in ways}) == believed


def test_without_fringes_there_is_nothing_to_predict() -> None:
    noise = np.random.default_rng(6).normal(1, 0.02, (192, 192)).astype(np.float32)
    found = held_out(Hologram(noise, GEOMETRY, 0.02, datetime.now(UTC)), lambda h: np.ones(h.intensity.shape, np.complex64))
    assert found.share is None
    assert np.isnan(found.confidence).all()
