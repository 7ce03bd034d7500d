"""The guard: what is in the hologram passes, what isn't doesn't."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from device.analysis.depth import Depth
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.analysis.refine import Misfit, RefineSettings, refine
from device.analysis.segment import Segment
from device.analysis.verify import VerifySettings, unexplained_map, unexplained_regions, verify
from device.config import load_config
from device.frames import Hologram
from device.records import QARTOD_FAIL, QARTOD_PASS, QARTOD_SUSPECT
from device.rig.models import build_pipeline, model_store
from models.recipes.hidef.evaluation import GEOMETRY, ScoringField, scoring_fields

NOISE = 0.03


@pytest.fixture(scope="module")
def scene() -> ScoringField:
    return next(iter(scoring_fields(1, 31, 40.0)))


@pytest.fixture(scope="module")
def analysis(scene: ScoringField) -> FrameAnalysis:
    config = load_config(None)
    pipeline: Pipeline = build_pipeline(model_store(config), config.analysis, GEOMETRY)[0]
    return pipeline.analyse(Hologram(scene.intensity, GEOMETRY, NOISE, datetime.now(UTC)))


HERE = (Depth(500.0, 3.0), Depth(501.0, 3.0))
EXPLAINED = Misfit(1.0, 100.0, 10_000, first_residual=5.0, first_fringes=100.0, measured_fringes=100.0, moved=0.04)


def test_noise_alone_passes_and_its_double_does_not() -> None:
    floor = NOISE**2 / 4 * 10_000
    faint = replace(EXPLAINED, first_fringes=0.1, measured_fringes=floor + 0.1, first_residual=floor)
    assert verify(faint, NOISE, HERE, 500.0).flag == QARTOD_PASS
    assert verify(replace(faint, first_residual=2 * floor), NOISE, HERE, 500.0).flag in (QARTOD_SUSPECT, QARTOD_FAIL)


def test_the_network_s_usual_error_passes() -> None:
    judged = verify(EXPLAINED, NOISE, HERE, 500.0)
    assert judged.flag == QARTOD_PASS
    assert judged.chi2 is not None
    assert judged.chi2 < 2


def test_a_given_field_lies_as_far_off_as_its_usual_error_turns_its_fringes() -> None:
    apart = (Depth(500.0, 3.0), Depth(520.0, 3.0))
    assert verify(replace(EXPLAINED, axial_per_um=0.02), NOISE, apart, 100.0).flag == QARTOD_PASS
    assert verify(replace(EXPLAINED, axial_per_um=0.2), NOISE, apart, 100.0).flag == QARTOD_SUSPECT


def test_a_particle_that_explains_nothing_fails() -> None:
    nothing_there = replace(EXPLAINED, measured_fringes=1.0, first_residual=102.0)
    judged = verify(nothing_there, NOISE, HERE, 500.0)
    assert judged.flag == QARTOD_FAIL
    assert judged.chi2 is not None
    assert judged.chi2 > 10


def test_a_field_that_refinement_had_to_turn_into_another_is_suspect() -> None:
    assert verify(replace(EXPLAINED, moved=0.6), NOISE, HERE, 500.0).flag == QARTOD_SUSPECT


def test_the_worst_of_three_answers_is_as_likely_as_one_in_three() -> None:
    judged = verify(replace(EXPLAINED, moved=0.3), NOISE, HERE, 500.0)
    assert judged.chi2 is not None
    assert judged.p == pytest.approx(3 * np.exp(-judged.chi2), rel=1e-3)


def test_two_ways_to_the_distance_must_agree_within_calibration() -> None:
    apart = (Depth(500.0, 3.0), Depth(550.0, 3.0))
    assert verify(EXPLAINED, NOISE, apart, 500.0).flag == QARTOD_SUSPECT
    unsure = VerifySettings(distance_uncertainty_um=40.0)
    assert verify(EXPLAINED, NOISE, apart, 500.0, unsure).flag == QARTOD_PASS


def test_what_an_uncertain_depth_blurs_is_tolerated() -> None:
    fine = replace(EXPLAINED, first_residual=60.0, moved=0.2, axial_per_um=0.05)
    sure, unsure = HERE, (Depth(500.0, 15.0), Depth(501.0, 15.0))
    surely, unsurely = verify(fine, NOISE, sure, 500.0).chi2, verify(fine, NOISE, unsure, 500.0).chi2
    assert surely is not None
    assert unsurely is not None
    assert surely > 1.5 * unsurely


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
    assert unexplained_map(forgotten, NOISE).max() > 2 * unexplained_map(all_there, NOISE).max()
    assert unexplained_regions(forgotten, NOISE) > 0
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
    assert verify(invented.misfits[-1], NOISE, (depths[1], depths[1]), 500.0).flag == QARTOD_FAIL
