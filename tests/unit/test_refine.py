"""Refinement on holograms by another forward model (multi-slice, finer grid, sensor noise)."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from device.analysis.pipeline import Pipeline, PipelineSettings
from device.analysis.refine import RefineSettings, refine
from device.analysis.segment import segment
from device.app import build_pipeline, model_store
from device.config import load_config
from device.frames import Hologram
from models.recipes.hidef_evaluation import GEOMETRY, ScoringField, field_metrics, scoring_fields


@pytest.fixture(scope="module")
def scene() -> ScoringField:
    return next(iter(scoring_fields(1, 31, 40.0)))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    config = load_config(None)
    return build_pipeline(model_store(config), config.analysis, GEOMETRY)[0]


def _hologram(scene: ScoringField) -> Hologram:
    return Hologram(scene.intensity, GEOMETRY, 0.03, datetime.now(UTC))


def _error(field: np.ndarray, scene: ScoringField) -> float:
    return float(np.median([field_metrics(field[box], scene.truth[box])["complex_error"] for box in scene.boxes]))


def test_four_iterations_take_a_quarter_off_the_network_s_error(scene: ScoringField, pipeline: Pipeline) -> None:
    plain = pipeline.analyse(_hologram(scene)).reconstruction
    settings = PipelineSettings(refine_iterations=4)
    refined = (
        Pipeline(settings, pipeline.network, pipeline.classifier, pipeline.models).analyse(_hologram(scene)).reconstruction
    )
    assert plain is not None
    assert refined is not None
    assert _error(refined.field, scene) < 0.75 * _error(plain.field, scene)


def test_the_sensor_s_residual_falls_with_every_iteration(scene: ScoringField, pipeline: Pipeline) -> None:
    result = pipeline.analyse(_hologram(scene)).reconstruction
    assert result is not None
    parts = segment(result.field, start=result.start)
    depths = [540.0] * len(parts)
    amplitude = np.sqrt(scene.intensity)
    left = [
        float(np.std(refine(amplitude, result.field, parts, depths, GEOMETRY, RefineSettings(n)).residual))
        for n in (1, 2, 4, 8)
    ]
    assert left == sorted(left, reverse=True)


def test_nothing_is_brighter_than_the_background_and_nothing_is_outside(scene: ScoringField, pipeline: Pipeline) -> None:
    result = pipeline.analyse(_hologram(scene)).reconstruction
    assert result is not None
    parts = segment(result.field, start=result.start)
    refined = refine(np.sqrt(scene.intensity), result.field, parts, [540.0] * len(parts), GEOMETRY)
    assert np.abs(refined.field).max() < 1 + 1e-5
    assert (refined.field[~refined.supports] == 1).all()
    assert 0 < refined.supports.mean() < 0.5


def test_no_particles_leave_the_hologram_unexplained() -> None:
    amplitude = np.full((64, 64), 1.02, np.float32)
    refined = refine(amplitude, np.ones((64, 64), np.complex64), [], [], GEOMETRY)
    assert (refined.field == 1).all()
    assert np.allclose(refined.residual, 0.02)
