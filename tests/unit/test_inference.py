"""Bundles are verified before they are used, and refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from device.analysis.crops import CROP_CHANNELS, CROP_PX
from device.errors import CheckError, InputError
from device.inference.networks import ClassifierNetwork, HidefNetwork
from device.inference.store import ModelBundle, ModelStore, checked, verify_golden, verify_golden_in_child
from device.optics.geometry import Geometry
from device.rig.models import ARTEFACTS


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    for path in ARTEFACTS.iterdir():
        shutil.copy(path, tmp_path / path.name)
    return tmp_path


def model(folder: Path, name: str = "hidef") -> Path:
    return next(folder.glob(f"{name}-[0-9]*.tflite"))


@pytest.mark.parametrize("name", ["hidef", "bioaerosol"])
def test_the_shipped_bundles_pass_their_own_checks(name: str) -> None:
    bundle, interpreter = ModelStore(ARTEFACTS).open(name)
    assert bundle.manifest.input.dtype == "int8"
    assert bundle.manifest.output.dtype == "int8"
    assert interpreter.input_shape == bundle.manifest.input.shape
    assert verify_golden(bundle) <= bundle.manifest.golden.tolerance


@pytest.mark.parametrize("name", ["bioaerosol"])
def test_the_classifier_files_are_small(name: str) -> None:
    assert model(ARTEFACTS, name).stat().st_size <= 200_000


def test_a_classifier_made_for_other_crops_is_refused() -> None:
    bundle, interpreter = ModelStore(ARTEFACTS).open("bioaerosol")
    older = msgspec.structs.replace(bundle.manifest.input, channels=("re_minus_1", "im"))
    with pytest.raises(InputError, match="made for other crops"):
        ClassifierNetwork(interpreter, msgspec.structs.replace(bundle.manifest, input=older))


def test_a_flipped_bit_is_refused(installed: Path) -> None:
    path = model(installed)
    content = bytearray(path.read_bytes())
    content[1000] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckError, match="not the one its manifest names"):
        ModelStore(installed).open("hidef")


def test_a_truncated_model_whose_manifest_was_forged_takes_no_process_with_it(installed: Path) -> None:
    import hashlib

    path = model(installed)
    true = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:200_000])
    forged = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = path.with_suffix(".toml")
    manifest.write_text(manifest.read_text().replace(true, forged))
    with pytest.raises(CheckError):
        ModelStore(installed).open("hidef")


def test_a_golden_answer_that_differs_is_refused(installed: Path) -> None:
    path = model(installed)
    with np.load(path.with_suffix(".npz")) as arrays:
        sample, expected = arrays["input"], arrays["expected"]
    np.savez(path.with_suffix(".npz"), input=sample, expected=np.roll(expected, 20, axis=1))
    with pytest.raises(CheckError, match="golden answer"):
        verify_golden(checked(path))
    bundle = checked(path)
    with pytest.raises(CheckError, match="golden answer"):
        verify_golden_in_child(ModelBundle(bundle.model, _renamed(bundle)))


def _renamed(bundle: ModelBundle):
    # Another digest, so that an earlier pass of the same file in this process doesn't count.
    import msgspec

    return msgspec.structs.replace(bundle.manifest, sha256="0" * 64)


def test_missing_and_broken_manifests_are_clear_errors(installed: Path) -> None:
    manifest = model(installed).with_suffix(".toml")
    manifest.write_text(manifest.read_text().replace("[golden]", "[golden]\nsurprise = 1"))
    with pytest.raises(InputError, match="manifest is not valid"):
        ModelStore(installed).find("hidef")
    manifest.unlink()
    with pytest.raises(InputError, match="manifest can't be read"):
        ModelStore(installed).find(str(model(installed)))
    with pytest.raises(InputError, match="no such model"):
        ModelStore(installed).find("hidef")
    with pytest.raises(InputError, match="no such model"):
        ModelStore(installed).find("nobody")


def test_the_newest_version_wins(installed: Path) -> None:
    path = model(installed)
    name, _, version = path.stem.rpartition("-")
    for newer in ("99.10.0", "99.9.0"):
        for suffix in (".tflite", ".npz"):
            shutil.copy(path.with_suffix(suffix), installed / f"{name}-{newer}{suffix}")
        (installed / f"{name}-{newer}.toml").write_text(path.with_suffix(".toml").read_text().replace(version, newer, 1))
    assert ModelStore(installed).find("hidef").model.stem == "hidef-99.10.0"
    assert ModelStore(installed).find(path.stem).model == path
    (installed / "hidef-99.10.0.toml").write_text(path.with_suffix(".toml").read_text())
    with pytest.raises(CheckError, match="named for another bundle"):
        ModelStore(installed).find("hidef")


def test_a_manifest_of_other_shapes_is_refused(installed: Path) -> None:
    manifest = model(installed).with_suffix(".toml")
    manifest.write_text(manifest.read_text().replace("[1, 256, 256, 2]", "[1, 128, 128, 2]", 1))
    with pytest.raises(CheckError, match="other shapes"):
        ModelStore(installed).open("hidef")


def test_optics_that_are_not_covered_are_named() -> None:
    manifest = ModelStore(ARTEFACTS).find("hidef").manifest
    assert manifest.refusal(Geometry(0.532, 6.5, 9000.0)) is None
    assert "defocus_number" in (manifest.refusal(Geometry(0.532, 6.5, 100.0)) or "")


def test_hidef_leaves_an_empty_field_empty() -> None:
    bundle, interpreter = ModelStore(ARTEFACTS).open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    field = network.run(np.ones((network.tile_px, network.tile_px), np.complex64))
    assert np.abs(field - 1).max() < 0.1


def test_probabilities_are_probabilities_and_sets_hold_what_is_plausible() -> None:
    bundle, interpreter = ModelStore(ARTEFACTS).open("bioaerosol")
    network = ClassifierNetwork(interpreter, bundle.manifest)
    crops = np.random.default_rng(0).normal(0, 0.5, (3, CROP_PX, CROP_PX, len(CROP_CHANNELS))).astype(np.float32)
    probabilities, other = network.judge(crops)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert ((other >= 0) & (other <= 1)).all()
    for named in network.classify(crops, reject_below=1.0):
        assert named.label == "unknown"
        quantiles = dict(zip(bundle.manifest.labels, bundle.manifest.conformal_quantiles, strict=True))
        inside = [name for name, p in named.probabilities.items() if 1 - p <= quantiles[name]]
        assert sorted(named.prediction_set) == sorted(inside)
    assert network.classify(crops[:0]) == []
