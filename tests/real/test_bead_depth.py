"""Depth of recorded beads that share a plane whose distance is known."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from device.config import load_config
from device.optics.geometry import Geometry
from device.rig.models import build_pipeline, model_store
from tests.benchmarks.real_beads import BEAD_PITCH_UM, BEAD_WAVELENGTH_UM
from tests.benchmarks.real_depth import UNIT_UM, known_plane


def test_isolated_beads_lie_in_their_plane_within_what_is_stated(real_data: Path) -> None:
    config = load_config(None)
    settings = msgspec.structs.replace(config.analysis, classifier_model="", min_esd_um=0.0, max_esd_um=1e6)
    pipeline, _ = build_pipeline(model_store(config), settings, Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, 12_000.0))
    rows = list(known_plane(real_data, pipeline, 0.0, (10,)))
    error, stated = np.array([row.error("frame") for row in rows]).T / UNIT_UM
    assert len(rows) >= 12
    assert abs(np.median(error)) < 0.5
    assert np.std(error) < 0.5
    assert np.mean(np.abs(error) < 1.96 * stated) >= 0.9
    assert np.median(stated) < 1
