"""From what a network stores to what it says: quantisation, temperature, thresholds, the optics it covers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from device.analysis.crops import CROP_CHANNELS, CROP_PX
from device.inference.interpreter import Interpreter
from device.inference.manifest import Manifest
from device.inference.networks import ClassifierNetwork
from device.inference.store import ModelStore
from device.optics.geometry import Geometry
from device.records import Classification
from device.rig.models import ARTEFACTS

CROPS = np.zeros((1, CROP_PX, CROP_PX, len(CROP_CHANNELS)), np.float32)
MANIFEST = msgspec.structs.replace(
    ModelStore(ARTEFACTS).find("bioaerosol").manifest, labels=("birch", "grass", "dust"), temperature=1.0, conformal_quantile=1.0,
    conformal_quantiles=(), other_above=1.0, reject_below=0.0,
)  # fmt: skip


class Says:
    """An interpreter that answers with these logits; the last is 'other'."""

    def __init__(self, *logits: float) -> None:
        self._logits = np.array([logits], np.float32)

    def run(self, _crops: np.ndarray) -> np.ndarray:
        return self._logits


def network(*logits: float, **manifest: Any) -> ClassifierNetwork:
    changed: Manifest = msgspec.structs.replace(MANIFEST, **manifest)
    return ClassifierNetwork(cast("Interpreter", Says(*logits)), changed)


def said(*logits: float, reject_below: float = 0.0, **manifest: Any) -> Classification:
    return network(*logits, **manifest).classify(CROPS, reject_below)[0]


def test_the_temperature_of_the_manifest_divides_the_logits() -> None:
    sure, calibrated = (said(3.0, 1.0, 0.0, -9.0, temperature=t).probabilities for t in (1.0, 2.0))
    expected = np.exp(np.array([3.0, 1.0, 0.0]) / 2)
    assert list(calibrated.values()) == pytest.approx((expected / expected.sum()).tolist(), abs=1e-5)
    assert calibrated["birch"] < sure["birch"]


def test_probabilities_of_the_classes_add_up_to_one_however_strange_the_crop() -> None:
    probabilities, other = network(1.0, 0.5, 0.0, 2.0).judge(CROPS)
    assert probabilities.sum() == pytest.approx(1)
    raised = np.exp([1.0, 0.5, 0.0, 2.0])
    assert other[0] == pytest.approx(raised[3] / raised.sum())


def test_a_class_less_probable_than_either_threshold_is_unknown() -> None:
    best = said(1.0, 0.5, 0.0, -9.0).score
    assert said(1.0, 0.5, 0.0, -9.0).label == "birch"
    for thresholds in ({"reject_below": best + 0.01}, {"reject_below": 0.0}):
        manifest = network(1.0, 0.5, 0.0, -9.0, reject_below=best + 0.01 - thresholds["reject_below"])
        assert manifest.classify(CROPS, **thresholds)[0].label == "unknown"
        assert manifest.classify(CROPS, **thresholds)[0].score == pytest.approx(best)


def test_what_is_more_probably_other_than_the_manifest_allows_is_unknown_with_that_probability() -> None:
    stranger = said(2.0, 0.0, 0.0, 1.5, other_above=0.3)
    raised = np.exp([2.0, 0.0, 0.0, 1.5])
    assert (stranger.label, stranger.score) == ("unknown", pytest.approx(raised[3] / raised.sum()))
    assert said(2.0, 0.0, 0.0, 1.5, other_above=0.4).label == "birch"


def test_every_class_has_its_own_quantile_where_the_manifest_names_them() -> None:
    # 0.665, 0.245, 0.09
    logits = (2.0, 1.0, 0.0, -9.0)
    assert said(*logits, conformal_quantile=0.5).prediction_set == ("birch",)
    assert said(*logits, conformal_quantile=0.5, conformal_quantiles=(0.2, 0.8, 0.95)).prediction_set == ("grass", "dust")


@pytest.fixture
def stored_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, int], Interpreter]:
    """Makes interpreters whose input and output are int8 of a scale and a zero point."""

    def made(scale: float, zero: int) -> Interpreter:
        details = {"index": 0, "shape": np.array([1, 4]), "dtype": np.int8, "quantization": (scale, zero)}

        class Runtime:
            def __init__(self, **_settings: object) -> None: ...
            def allocate_tensors(self) -> None: ...
            def get_input_details(self) -> list[dict[str, Any]]:
                return [details]

            get_output_details = get_input_details

        monkeypatch.setattr("device.inference.interpreter._runtime", lambda: ("a runtime", Runtime))
        return Interpreter(Path("no-such.tflite"))

    return made


def test_values_are_stored_to_the_nearest_step_from_the_zero_point_and_saturate(
    stored_in: Callable[[float, int], Interpreter],
) -> None:
    stored = stored_in(0.5, -10).quantise(np.array([[0.0, 0.9, -0.9, 1000.0, -1000.0]], np.float32))
    assert stored.dtype == np.int8
    assert stored.tolist() == [[-10, -8, -12, 127, -128]]


def test_what_is_stored_stands_for_what_was_meant(stored_in: Callable[[float, int], Interpreter]) -> None:
    made, values = stored_in(0.25, 7), np.array([[-3.0, 0.0, 1.25]], np.float32)
    np.testing.assert_array_equal(made.dequantise(made.quantise(values)), values)


def test_optics_are_covered_by_the_pitch_at_the_object() -> None:
    optics = msgspec.structs.replace(MANIFEST.optics, wavelength_um=(0.5, 0.9), pitch_um=(0.5, 1.5), distance_um=(100.0, 900.0),
                                     defocus_number=(0.0, 1e6))  # fmt: skip
    manifest = msgspec.structs.replace(MANIFEST, optics=optics)
    assert manifest.refusal(Geometry(0.85, 4.0, 500.0, magnification=4.0)) is None
    assert "pitch_um 4 is outside 0.5 to 1.5" in (manifest.refusal(Geometry(0.85, 4.0, 500.0)) or "")
    assert "distance_um 50" in (manifest.refusal(Geometry(0.85, 1.0, 50.0)) or "")
