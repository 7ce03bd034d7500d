"""Refinement on holograms by another forward model (multi-slice, finer grid, sensor noise)."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from device.analysis.depth import Depth, pooled
from device.analysis.pipeline import Pipeline, PipelineSettings
from device.analysis.refine import RefineSettings, refine
from device.analysis.segment import Segment, segment
from device.config import load_config
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.optics.propagation import propagate
from device.rig.models import build_pipeline, model_store
from models.recipes.hidef.evaluation import GEOMETRY, ScoringField, field_metrics, scoring_fields


@pytest.fixture(scope="module")
def scene() -> ScoringField:
    return next(iter(scoring_fields(1, 31, 40.0)))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    config = load_config(None)
    settings = msgspec.structs.replace(config.analysis, refine_iterations=0)
    return build_pipeline(model_store(config), settings, GEOMETRY)[0]


def _hologram(scene: ScoringField) -> Hologram:
    return Hologram(scene.intensity, GEOMETRY, 0.03, datetime.now(UTC))


def _error(field: np.ndarray, scene: ScoringField) -> float:
    return float(np.median([field_metrics(field[box], scene.truth[box])["complex_error"] for box in scene.boxes]))


def test_six_iterations_take_a_quarter_off_the_network_s_error(scene: ScoringField, pipeline: Pipeline) -> None:
    plain = pipeline.analyse(_hologram(scene)).reconstruction
    settings = PipelineSettings(refine_iterations=6)
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
    depths = [Depth(540.0, 5.0)] * len(parts)
    amplitude = np.sqrt(scene.intensity)
    left = [
        float(np.std(refine(amplitude, result.field, parts, depths, GEOMETRY, RefineSettings(n, depth_steps=0)).residual))
        for n in (1, 2, 4, 8)
    ]
    assert left == sorted(left, reverse=True)


def test_nothing_is_brighter_than_a_lens_makes_it_and_nothing_is_outside(scene: ScoringField, pipeline: Pipeline) -> None:
    result = pipeline.analyse(_hologram(scene)).reconstruction
    assert result is not None
    parts = segment(result.field, start=result.start)
    refined = refine(np.sqrt(scene.intensity), result.field, parts, [Depth(540.0, 5.0)] * len(parts), GEOMETRY)
    assert np.abs(refined.field).max() < RefineSettings().brightest + 1e-5
    assert (refined.field[~refined.supports] == 1).all()
    assert 0 < refined.supports.mean() < 0.5


def test_no_particles_leave_the_hologram_unexplained() -> None:
    amplitude = np.full((64, 64), 1.02, np.float32)
    refined = refine(amplitude, np.ones((64, 64), np.complex64), [], [], GEOMETRY)
    assert (refined.field == 1).all()
    assert np.allclose(refined.residual, 0.02)


def test_a_wrong_depth_is_mended_and_said_with_its_uncertainty(scene: ScoringField, pipeline: Pipeline) -> None:
    result = pipeline.analyse(_hologram(scene)).reconstruction
    assert result is not None
    parts = [p for p in segment(result.field, start=result.start) if not p.touches_edge and p.mask.sum() > 100]
    given = [Depth(540.0 + (25.0 if k % 2 else -25.0), 30.0) for k in range(len(parts))]
    found = refine(np.sqrt(scene.intensity), result.field, parts, given, GEOMETRY, noise=0.03).depths
    errors = [abs(d.z_um - 540) for d in found]
    assert len(parts) >= 3
    assert float(np.median(errors)) < 12
    assert all(error < 3 * d.uncertainty_um + 5 for error, d in zip(errors, found, strict=True))


def test_pooling_draws_a_slide_together_and_leaves_floating_particles_alone() -> None:
    rng = np.random.default_rng(3)
    slide = [Depth(500 + float(e), 5.0) for e in rng.normal(0, 5, 30)] + [Depth(700.0, 5.0)]
    drawn = pooled(slide)
    assert np.std([d.z_um for d in drawn[:30]]) < 0.6 * np.std([d.z_um for d in slide[:30]])
    assert drawn[30] == slide[30]
    floating = [Depth(float(z), 3.0) for z in rng.uniform(400, 600, 30)]
    assert np.abs([a.z_um - b.z_um for a, b in zip(pooled(floating), floating, strict=True)]).max() < 1
    assert pooled(slide[:5]) == slide[:5]


@pytest.mark.parametrize("beyond", [6, 2])
def test_pooling_leaves_two_planes_apart_or_says_that_it_may_be_wrong(beyond: int) -> None:
    rng = np.random.default_rng(4)
    true_um = np.repeat([500.0, 515.0], [8, beyond])
    given = [Depth(float(z), 5.0) for z in true_um + rng.normal(0, 1, len(true_um))]
    off = [abs(d.z_um - z) / d.uncertainty_um for d, z in zip(pooled(given), true_um, strict=True)]
    assert max(off) < 1.96


@pytest.mark.parametrize("diameter_px", [12.0, 38.0])
def test_an_outline_that_is_a_twentieth_too_tight_tells_the_depth(pipeline: Pipeline, diameter_px: float) -> None:
    near = Geometry(0.532, 3.45, 30 * 3.45**2 / 0.532)
    y, x = np.mgrid[:256, :256] - 128
    radius = np.hypot(y, x) / (diameter_px / 2)
    field = np.exp(1.5j * np.sqrt(np.clip(1 - radius**2, 0, None))).astype(np.complex64)
    there = propagate(field, pitch_um=near.pitch_um, wavelength_um=near.wavelength_um, distance_um=near.distance_um)
    amplitude = np.abs(there)
    part = Segment(88, 88, (radius < 0.95)[88:168, 88:168], touches_edge=False)
    unit_um = 4 * near.pitch_um**2 / near.wavelength_um
    given = [Depth(near.distance_um + 0.4 * unit_um, unit_um)]
    (found,) = refine(amplitude, field, [part], given, near, gain=pipeline.ring_gain).sought
    assert abs(found.z_um - near.distance_um) < min(0.8 * unit_um, 1.96 * found.uncertainty_um)


def test_in_the_dark_the_network_counts_for_more(scene: ScoringField, pipeline: Pipeline) -> None:
    result = pipeline.analyse(_hologram(scene)).reconstruction
    assert result is not None
    parts = segment(result.field, start=result.start)
    depths = [Depth(540.0, 5.0)] * len(parts)
    settings = RefineSettings(4, depth_steps=0)
    bright, dim, dark = (
        refine(np.sqrt(scene.intensity), result.field, parts, depths, GEOMETRY, settings, noise=n) for n in (0.0, 0.3, 30.0)
    )
    moved = [np.abs(r.field - result.field)[r.supports].mean() for r in (bright, dim, dark)]
    # Shares of 0.09 over 0.09 and the noise: nearly 1 (what is left over counts as noise), a half, next to nothing.
    assert 0.5 < moved[1] / moved[0] < 0.56
    assert moved[2] < 1e-3 * moved[0]
    np.testing.assert_array_equal(bright.residual, dark.residual)


def test_what_nothing_explains_counts_like_noise(scene: ScoringField, pipeline: Pipeline) -> None:
    result = pipeline.analyse(_hologram(scene)).reconstruction
    assert result is not None
    parts = segment(result.field, start=result.start)
    depths, settings = [Depth(540.0, 5.0)] * len(parts), RefineSettings(4, depth_steps=0)
    dirt = np.random.default_rng(5).normal(0, 0.15, scene.intensity.shape).astype(np.float32)
    told, untold = (
        refine(np.sqrt(scene.intensity) + dirt, result.field, parts, depths, GEOMETRY, settings, noise=n) for n in (0.3, 0.0)
    )
    moved = [np.abs(r.field - result.field)[r.supports].mean() for r in (told, untold)]
    assert moved[1] == pytest.approx(moved[0], rel=0.1)
