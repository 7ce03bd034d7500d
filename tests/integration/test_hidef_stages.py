"""The ring report of HIDEF's stages, on one recording by another forward model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from device.config import load_config
from device.inference.networks import HidefNetwork
from device.rig.models import model_store
from models.recipes.hidef.evaluation import ScoringField, scoring_fields
from models.recipes.hidef.stages import stage_fields
from models.training.rings import RingTally


@pytest.fixture(scope="module")
def tallies() -> dict[str, RingTally]:
    bundle, interpreter = model_store(load_config(None)).open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    scene = next(iter(scoring_fields(1, 31, 40.0)))
    return {name: _tally(scene, boxes) for name, boxes in stage_fields(scene, network, network.ring_gain)}


def _tally(scene: ScoringField, boxes: Sequence[np.ndarray]) -> RingTally:
    tally = RingTally()
    for found, box, inner in zip(boxes, scene.boxes, scene.inner, strict=True):
        if inner:
            tally.add(found, scene.truth[box])
    return tally


def test_the_report_has_every_stage_and_its_ceilings(tallies: dict[str, RingTally]) -> None:
    assert list(tallies) == [
        "one pass", "second look", "refined", "back-propagation, told depth", "ceiling: told depth and outline",
        "ceiling: as lamp and pixels pass it",
    ]  # fmt: skip


def test_a_second_look_knows_finer_rings_than_one_pass(tallies: dict[str, RingTally]) -> None:
    one, look = tallies["one pass"], tallies["second look"]
    assert look.cutoff_per_px() > one.cutoff_per_px() + 0.05
    assert (look.power_ratio[4:8] > 2 * one.power_ratio[4:8]).all()


def test_what_lamp_and_pixels_pass_is_dimmer_ring_by_ring_and_otherwise_right(tallies: dict[str, RingTally]) -> None:
    passed = tallies["ceiling: as lamp and pixels pass it"]
    assert (np.diff(passed.power_ratio) < 0).all()
    assert passed.correlation[:8].min() > 0.95
