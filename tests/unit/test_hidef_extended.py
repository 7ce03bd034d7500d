"""What HIDEF's scenes hold besides particles."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from models.recipes.hidef.extended import KINDS, extended_plane
from models.recipes.hidef.scenes import SceneRange, recordings, samples


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_holds_something_and_leaves_something_free(kind: str) -> None:
    rng = np.random.default_rng(4)
    covers = [KINDS[kind](rng, 256) for _ in range(6)]
    assert all(c.shape == (256, 256) and c.dtype == np.float32 and c.min() >= 0 for c in covers)
    assert max(c.max() for c in covers) > 0.5
    assert min((c > 0.3).mean() for c in covers) < 0.6


def test_no_object_gives_light() -> None:
    rng = np.random.default_rng(5)
    for _ in range(8):
        assert np.abs(extended_plane(rng, 128)).max() <= 1 + 1e-6


def test_scenes_of_extended_objects_are_asked_for_by_their_share() -> None:
    only = SceneRange(extended=0.92)
    scenes = list(islice(recordings(3, only), 4))
    assert all(scene.tissue or not scene.particles for scene in scenes)
    assert any(len(scene.particles) for scene in islice(recordings(3), 4))
    assert all(s.shape[1:] == (256, 256, 5) for s in islice(samples(3, only), 2))
