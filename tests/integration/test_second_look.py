"""The second look, on holograms by another forward model (multi-slice, finer grid, sensor noise)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.analysis.depth import Depth
from device.analysis.patches import RefineSettings
from device.analysis.refine import Refined, refine
from device.analysis.second_look import RingGain, knot_shares, ring_weight
from device.analysis.segment import Segment, segment
from device.config import load_config
from device.errors import InputError
from device.inference.bounds import load_manifest
from device.inference.networks import HidefNetwork
from device.optics.coherence import Coherence
from device.optics.propagation import backpropagate
from device.rig.models import ARTEFACTS, model_store
from models.recipes.hidef.evaluation import GEOMETRY, ScoringField, field_metrics, scoring_fields
from models.recipes.hidef.one_pass import field_method
from models.recipes.hidef.second_look import write_with_second_look

DEPTH_UM = 540.0
NOTHING = RingGain((0.0, 0.5), (0.0, 1.0), ((0.0, 0.0), (0.0, 0.0)))


class Looked:
    """One recording, as the network gave it, and what follows from there."""

    def __init__(self) -> None:
        bundle, interpreter = model_store(load_config(None)).open("hidef")
        self.network = HidefNetwork(interpreter, bundle.manifest)
        self.scene: ScoringField = next(iter(scoring_fields(1, 31, DEPTH_UM - GEOMETRY.distance_um)))
        self.start = backpropagate(self.scene.intensity, GEOMETRY)
        self.field = field_method(self.network)(self.start)
        self.parts: list[Segment] = segment(self.field, start=self.start)

    def refined(self, iterations: int, gain: RingGain | None, off_um: float = 0.0, steps: int = 0) -> Refined:
        depths = [Depth(DEPTH_UM + off_um, 5.0)] * len(self.parts)
        settings = RefineSettings(iterations, depth_steps=steps)
        return refine(np.sqrt(self.scene.intensity), self.field, self.parts, depths, GEOMETRY, settings, gain=gain)

    def error(self, field: np.ndarray) -> float:
        boxes = [b for b, inner in zip(self.scene.boxes, self.scene.inner, strict=True) if inner]
        return float(np.median([field_metrics(field[b], self.scene.truth[b])["complex_error"] for b in boxes]))


@pytest.fixture(scope="module")
def looked() -> Looked:
    return Looked()


def test_a_second_look_without_iterations_takes_a_quarter_off_the_network_s_error(looked: Looked) -> None:
    again = looked.refined(0, looked.network.ring_gain)
    assert looked.error(again.field) < 0.75 * looked.error(looked.field)


def test_three_micrometres_of_wrong_depth_cost_a_second_look_little(looked: Looked) -> None:
    right, short, long = (looked.error(looked.refined(0, looked.network.ring_gain, off).field) for off in (0.0, -3.0, 3.0))
    assert max(short, long) < right + 0.04
    assert max(short, long) < looked.error(looked.field)


def test_three_iterations_from_a_second_look_are_worth_eight_without(looked: Looked) -> None:
    assert looked.error(looked.refined(3, looked.network.ring_gain).field) < 1.05 * looked.error(looked.refined(8, None).field)


def test_a_look_that_adds_nothing_leaves_the_field_as_the_network_gave_it(looked: Looked) -> None:
    again = looked.refined(0, NOTHING)
    dim = again.supports & (np.abs(looked.field) < RefineSettings().brightest)
    np.testing.assert_allclose(again.field[dim], looked.field[dim], atol=1e-5)


def test_fine_rings_mend_a_depth_that_is_wrong_by_five_micrometres(looked: Looked) -> None:
    errors_um = {
        name: np.median([abs(d.z_um - DEPTH_UM) for d in looked.refined(4, gain, 5.0, steps=3).sought])
        for name, gain in (("look", looked.network.ring_gain), ("none", None))
    }
    # The particles lie within 5 um of that depth.
    assert errors_um["look"] < 5.0


def test_what_the_lamp_takes_is_not_put_back() -> None:
    gain = RingGain((0.0, 0.5), (0.0, 1.0), ((2.0, 2.0), (2.0, 2.0)))
    dim = replace(GEOMETRY, coherence=Coherence(bandwidth_um=0.08))
    sharp, blurred = (ring_weight(gain, 64, g) for g in (replace(GEOMETRY, coherence=None), dim))
    assert sharp[0, 16] > 2
    assert blurred[0, 0] == pytest.approx(2, rel=1e-3)
    assert blurred[0, 31] == 0


def test_knots_share_out_all_there_is_linearly() -> None:
    shares = knot_shares(np.array([0.0, 0.15, 0.4, 2.0]), (0.0, 0.1, 0.2, 0.5))
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    np.testing.assert_allclose(shares[:, 1], [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(shares[:, 3], [0, 0, 0, 1])


def _manifest(tmp_path: Path, table: str) -> Path:
    text = next(ARTEFACTS.glob("hidef-small-*.toml")).read_text(encoding="utf-8").split("\n[second_look]")[0]
    path = tmp_path / "hidef-small-9.9.9.toml"
    path.write_text(text + table, encoding="utf-8")
    return path


def test_a_manifest_without_the_table_is_valid_and_a_crooked_table_is_refused(tmp_path: Path) -> None:
    assert load_manifest(_manifest(tmp_path, "\n")).second_look is None
    for table, complaint in {
        "cycles_per_px = [0.0, 0.5]\nvisibility = [0.0, 1.0]\ngain = [[1.0, 1.0]]": "2 rows of 2 values",
        "cycles_per_px = [0.5, 0.0]\nvisibility = [0.0, 1.0]\ngain = [[1.0, 1.0], [1.0, 1.0]]": "must rise",
        "cycles_per_px = [0.0, 0.5]\nvisibility = [0.0, 1.0]\ngain = [[1.0, 1.0], [1.0, -1.0]]": ">= 0",
    }.items():
        with pytest.raises(InputError, match=complaint):
            load_manifest(_manifest(tmp_path, f"\n[second_look]\n{table}\n"))


def test_a_bundle_gets_its_table_under_another_version(tmp_path: Path) -> None:
    old = model_store(load_config(None)).find("hidef-small")
    table = load_manifest(next(ARTEFACTS.glob("hidef-1*.toml"))).second_look
    assert table is not None
    path = write_with_second_look(old, "9.9.9", tmp_path, table)
    written = load_manifest(path.with_suffix(".toml"))
    assert (written.version, written.second_look, written.sha256) == ("9.9.9", table, old.manifest.sha256)
    assert path.read_bytes() == old.model.read_bytes()
