"""Chi-squared of a reconstruction: 1 where only noise is left, and not where something is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from device.errors import InputError
from device.frames import Exposure, LampState
from device.instrument import SensorSpec
from device.optics.consistency import ChiSquared, chi_squared, intensity_variance, predicted_intensity
from device.optics.geometry import Geometry
from device.twin.forward import object_field
from device.twin.illumination import Illumination
from device.twin.scene import SimulatedParticle, draw_particle
from device.twin.sensor import SensorModel

GEOMETRY = Geometry(0.85, 1.12, 500.0)
LIGHT = Illumination(0.85)
SIDE = 192
SPEC = SensorSpec(model="test", width_px=SIDE, height_px=SIDE, pitch_um=1.12)
ELECTRONS = 0.3 * SPEC.full_well_e
COUNTS_PER_ELECTRON = (1023 - SPEC.dark_level_counts) / SPEC.full_well_e
BOX = (slice(56, 136), slice(56, 136))


def _particles(count: int) -> list[SimulatedParticle]:
    rng = np.random.default_rng(5)
    middle = (0.45 * SIDE * 1.12, 0.55 * SIDE * 1.12)
    drawn = [draw_particle(rng, "birch", field_um=(1, 1), depth_um=(500, 500), voxel_um=1.12) for _ in range(count)]
    places = [(rng.uniform(*middle), rng.uniform(*middle)) for _ in drawn]
    return [SimulatedParticle(p.label, x, y, 500.0, p.volume, p.sub_px) for p, (x, y) in zip(drawn, places, strict=True)]


def _recorded(field: NDArray[np.complexfloating], seed: int) -> NDArray[np.float64]:
    sensor = SensorModel(SPEC, np.ones((SIDE, SIDE), np.float32))
    lamp = LampState(0, 20.0, acknowledged=True)
    counts = sensor.expose(predicted_intensity(field, GEOMETRY), Exposure(1000.0), lamp, np.random.default_rng(seed))
    return (counts - SPEC.dark_level_counts) / (ELECTRONS * COUNTS_PER_ELECTRON)


def _judged(field: NDArray[np.complexfloating], recorded: NDArray[np.float64], geometry: Geometry = GEOMETRY) -> ChiSquared:
    expected = predicted_intensity(field, geometry)
    variance = intensity_variance(
        expected, electrons=ELECTRONS, read_noise_e=SPEC.read_noise_e, counts_per_electron=COUNTS_PER_ELECTRON
    )
    return chi_squared(field, recorded, geometry, variance, box=BOX)


def test_the_true_field_leaves_noise_alone() -> None:
    field = object_field((SIDE, SIDE), _particles(2), LIGHT)
    found = [_judged(field, _recorded(field, seed)) for seed in range(60)]
    mean = np.mean([f.reduced for f in found])
    assert mean == pytest.approx(1.0, abs=4 * np.sqrt(2 / found[0].degrees_of_freedom / 60))
    assert scipy.stats.kstest([f.p for f in found], "uniform").pvalue > 0.01
    assert sum(f.flag for f in found) <= 1


@pytest.mark.parametrize("wrong", ["distance", "deleted", "added"])
def test_what_is_wrong_is_flagged(wrong: str) -> None:
    particles = _particles(2)
    truth = object_field((SIDE, SIDE), particles, LIGHT)
    recorded = _recorded(truth, 1)
    claimed, geometry = truth, GEOMETRY
    if wrong == "distance":
        geometry = GEOMETRY.at(510.0)
    elif wrong == "deleted":
        claimed = object_field((SIDE, SIDE), particles[:1], LIGHT)
    else:
        claimed = object_field((SIDE, SIDE), _particles(3), LIGHT)
    found = _judged(claimed, recorded, geometry)
    assert found.flag
    assert found.reduced > 1.2


def test_an_error_that_calibration_allows_is_not_flagged() -> None:
    field = object_field((SIDE, SIDE), _particles(2), LIGHT)
    recorded, geometry = _recorded(field, 2), GEOMETRY.at(501.0)
    variance = intensity_variance(
        predicted_intensity(field, geometry), electrons=ELECTRONS, read_noise_e=3.0, counts_per_electron=COUNTS_PER_ELECTRON
    )
    strict, lenient = (chi_squared(field, recorded, geometry, variance, box=BOX, systematic=s) for s in (0.0, 0.3))
    assert strict.flag
    assert not lenient.flag


def test_the_noise_of_a_background_counts() -> None:
    flat = np.ones((8, 8))
    figures = {"electrons": 1000.0, "read_noise_e": 0.0, "counts_per_electron": 1e3}
    alone, divided = (intensity_variance(flat, background_frames=n, **figures) for n in (0, 1))
    assert divided.mean() == pytest.approx(2 * alone.mean())


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="shapes"):
        chi_squared(np.ones((8, 8), complex), np.ones((8, 9)), GEOMETRY, np.ones((8, 9)))
