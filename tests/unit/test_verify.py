"""The guard: what is in the hologram passes, what isn't doesn't."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from device.analysis.depth import Depth
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.analysis.refine import Misfit, RefineSettings, refine
from device.analysis.segment import Segment
from device.analysis.verify import unexplained_regions, verify
from device.app import build_pipeline, model_store
from device.config import load_config
from device.frames import Hologram
from device.records import QARTOD_FAIL, QARTOD_PASS, QARTOD_SUSPECT
from models.recipes.hidef_evaluation import GEOMETRY, ScoringField, scoring_fields

NOISE = 0.03


@pytest.fixture(scope="module")
def scene() -> ScoringField:
    return next(iter(scoring_fields(1, 31, 40.0)))


@pytest.fixture(scope="module")
def analysis(scene: ScoringField) -> FrameAnalysis:
    config = load_config(None)
    pipeline: Pipeline = build_pipeline(model_store(config), config.analysis, GEOMETRY)[0]
    return pipeline.analyse(Hologram(scene.intensity, GEOMETRY, NOISE, datetime.now(UTC)))


def test_noise_alone_passes_and_its_double_does_not() -> None:
    variance, pixels = NOISE**2 / 4, 10_000
    assert verify(Misfit(variance * pixels, 1.0, pixels), NOISE).flag == QARTOD_PASS
    assert verify(Misfit(2 * variance * pixels, 1.0, pixels), NOISE).flag in (QARTOD_SUSPECT, QARTOD_FAIL)


def test_a_particle_that_explains_nothing_fails() -> None:
    judged = verify(Misfit(200.0, 100.0, 10_000), NOISE)
    assert judged.flag == QARTOD_FAIL
    assert judged.chi2 is not None
    assert judged.chi2 > 10


def test_most_true_particles_pass(analysis: FrameAnalysis) -> None:
    flags = [c.flag for c in analysis.consistencies]
    assert len(flags) == len(analysis.particles) >= 5
    assert flags.count(QARTOD_PASS) >= 0.7 * len(flags)


def test_an_invented_particle_fails_and_a_forgotten_one_is_missed(scene: ScoringField, analysis: FrameAnalysis) -> None:
    assert analysis.reconstruction is not None
    grains = sorted(analysis.particles, key=lambda p: -p.esd_um)
    amplitude = np.sqrt(scene.intensity)
    only_look = RefineSettings(0, support_margin_px=0)

    def part(p_bbox: tuple[int, int, int, int], mask: np.ndarray) -> Segment:
        return Segment(p_bbox[0], p_bbox[1], mask, touches_edge=False)

    field = analysis.reconstruction.field.copy()
    parts = [part(p.bbox_px, p.mask) for p in grains]
    depths = [Depth(p.z_um, 1.0) for p in grains]
    all_there = refine(amplitude, field, parts, depths, GEOMETRY, only_look)
    forgotten = refine(amplitude, field, parts[1:], depths[1:], GEOMETRY, only_look)
    assert unexplained_regions(forgotten, NOISE) > unexplained_regions(all_there, NOISE)
    height, width = grains[1].mask.shape
    supports = all_there.supports
    y, x = next(
        (y, x)
        for y in range(40, 280 - height, 8)
        for x in range(40, 280 - width, 8)
        if not supports[y - 8 : y + height + 8, x - 8 : x + width + 8].any()
    )
    field[y : y + height, x : x + width] = np.where(grains[1].mask, grains[1].field_crop, 1)
    invented = refine(
        amplitude, field, [*parts, part((x, y, width, height), grains[1].mask)], [*depths, depths[1]], GEOMETRY, only_look
    )
    assert verify(invented.misfits[-1], NOISE).flag == QARTOD_FAIL
