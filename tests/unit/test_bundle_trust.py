"""A bundle can't vouch for itself: the box holds it against its own bounds before it installs it, and again before it uses it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from device.errors import CheckError, HolonodeError, InputError
from device.inference.active import activate, install, rollback
from device.inference.store import ACTIVE_FILE, ModelStore, manifest_digest
from device.rig.models import ARTEFACTS
from tests.faults.models_corruption import SUFFIXES, released

NAME = "bioaerosol"
VERSION = "8.0.0"
LABELS = '["alternaria", "birch", "cladosporium", "dust", "grass", "oak", "penicillium", "ragweed"]'
SWAPPED = LABELS.replace("birch", "-").replace("oak", "birch").replace("-", "oak")
SHIPPED = next(ARTEFACTS.glob(f"{NAME}-*.tflite"))


def stated(key: str, table: str = "") -> str:
    """The shipped manifest's line of a key, in a table or before the first: figures change with every training."""
    text = SHIPPED.with_suffix(".toml").read_text(encoding="utf-8")
    part = text.split(f"[{table}]")[1] if table else text
    return next(line for line in part.splitlines() if line.startswith(f"{key} = "))


QUANTILES = stated("conformal_quantiles")

CLAIMS: dict[str, tuple[str, str]] = {
    "labels in another order than the outputs": (f"labels = {LABELS}", "labels = " + SWAPPED),
    "a label the outputs don't have": ('labels = ["alternaria"', 'labels = ["anthrax"'),
    "a label twice": (LABELS, LABELS.replace("birch", "oak")),
    "one label too few": (f"labels = {LABELS}", "labels = " + LABELS.replace(', "ragweed"', "")),
    "one label too many": (f"labels = {LABELS}", "labels = " + LABELS.replace("]", ', "yew"]')),
    "no labels": (f"labels = {LABELS}", "labels = []"),
    "a label of control characters": ('"birch"', '"bi\\u001b[2Jrch"'),
    "a label that reads backwards": ('"birch"', '"\\u202ehcrib"'),
    "a label that is a formula": ('"birch"', '"=cmd()"'),
    "a label without end": ('"birch"', '"' + "b" * 500 + '"'),
    "an empty label": ('"birch"', '""'),
    "a label that means something else": ('"birch"', '"unknown"'),
    "'other' among the labels": (LABELS, LABELS.replace("ragweed", "other")),
    "a tolerance that verifies nothing": ("tolerance = 1.0", "tolerance = 1e9"),
    "an infinite tolerance": ("tolerance = 1.0", "tolerance = inf"),
    "no tolerance": ("tolerance = 1.0", "tolerance = nan"),
    "a temperature of zero": (stated("temperature"), "temperature = 0.0"),
    "a temperature that is none": (stated("temperature"), "temperature = nan"),
    "a quantile above one": (stated("conformal_quantile"), "conformal_quantile = 7.0"),
    "quantiles of other labels": (QUANTILES, "conformal_quantiles = [" + QUANTILES.split(", ", 1)[1]),
    "a quantile that is none": (QUANTILES, "conformal_quantiles = [nan, " + QUANTILES.split(", ", 1)[1]),
    "a threshold below zero": (stated("other_above"), "other_above = -1.0"),
    "optics without end": ("wavelength_um = [0.82, 0.88]", "wavelength_um = [0.0, inf]"),
    "optics the wrong way round": ("distance_um = [400.0, 600.0]", "distance_um = [600.0, 400.0]"),
    "optics that are none": ("defocus_um = 100.0", "defocus_um = nan"),
    "another output shape than the file's": ("shape = [1, 9]", "shape = [1, 9, 1]"),
    "an input shape without end": ("shape = [1, 48, 48, 4]", "shape = [1, 480000, 480000, 4]"),
    "a zero point that the type can't hold": (stated("zero_point", "output"), "zero_point = 3800"),
    "a scale that is none": (stated("scale", "output"), "scale = nan"),
    "channels that the shape doesn't have": ('channels = ["re_minus_1", "im", "own_log2_esd", "log2_pitch"]', 'channels = ["re_minus_1"]'),
    "a name that is a path": (f'name = "{NAME}"', 'name = "../../evil"'),
    "a name with a line break": (f'name = "{NAME}"', f'name = "{NAME}\\n"'),
    "a version with a leading zero": (f'version = "{VERSION}"', 'version = "08.0.0"'),
    "a version with a line break": (f'version = "{VERSION}"', f'version = "{VERSION}\\n"'),
    "a version in other digits": (f'version = "{VERSION}"', 'version = "\\u0668.0.0"'),
    "a golden array elsewhere": ('expected = "expected"', 'expected = "/etc/passwd"'),
    "a recipe of control characters": (stated("commit", "recipe"), 'commit = "\\u001b]0;x\\u0007"'),
    "nested without end": ('units = "1"', f'units = {"[" * 5000}'),
    "the labels of a reconstruction": ('task = "classification"', 'task = "reconstruction"'),
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(ARTEFACTS, installed=tmp_path / "store" / "models")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return released(tmp_path / "usb", VERSION)


def claiming(bundle: Path, old: str, new: str) -> Path:
    manifest = bundle.with_suffix(".toml")
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    return bundle


def smuggle(bundle: Path, store: ModelStore) -> Path:
    """The files put into the store by hand, and the list of active models with them."""
    assert store.installed is not None
    store.installed.mkdir(parents=True, exist_ok=True)
    for suffix in SUFFIXES:
        (store.installed / f"{NAME}-{VERSION}{suffix}").write_bytes(bundle.with_suffix(suffix).read_bytes())
    digest = manifest_digest(bundle)
    (store.installed / ACTIVE_FILE).write_text(f'{{"{NAME}": [{{"version": "{VERSION}", "manifest_sha256": "{digest}"}}]}}')
    return store.installed / f"{NAME}-{VERSION}.tflite"


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_manifest_that_claims_what_can_not_be_is_neither_installed_nor_activated_nor_used(
    claim: str, store: ModelStore, bundle: Path
) -> None:
    claiming(bundle, *CLAIMS[claim])
    with pytest.raises(HolonodeError):
        install(store, bundle, None)
    assert not store.models(f"{NAME}-{VERSION}")
    smuggle(bundle, store)
    with pytest.raises(HolonodeError):
        activate(store, NAME, VERSION, None)
    assert store.open(NAME)[0].model == SHIPPED


def with_golden(bundle: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(bundle.with_suffix(".npz"), **arrays)
    return bundle


def test_a_golden_sample_that_tells_nothing_verifies_nothing(store: ModelStore, bundle: Path) -> None:
    with np.load(bundle.with_suffix(".npz")) as golden:
        sample, expected = golden["input"], golden["expected"]
    for arrays in (
        {"input": np.zeros_like(sample), "expected": expected},
        {"input": sample, "expected": np.zeros_like(expected)},
        {"input": sample.astype(np.float64), "expected": expected},
        {"input": sample, "expected": np.full(expected.shape, np.nan)},
    ):
        with pytest.raises(CheckError):
            install(store, with_golden(bundle, **arrays), None)
    assert not store.models(f"{NAME}-{VERSION}")


def test_a_golden_sample_that_unpacks_without_end_is_refused_before_it_does(store: ModelStore, bundle: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|i1", "fortran_order": False, "shape": (1, 2**28)})
    with zipfile.ZipFile(bundle.with_suffix(".npz"), "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("input", "expected"):
            with packed.open(f"{name}.npy", "w", force_zip64=True) as array:
                array.write(header.getvalue())
                for _ in range(80):
                    array.write(bytes(2**20))
    assert bundle.with_suffix(".npz").stat().st_size < 2**20
    with pytest.raises(CheckError, match="unpacks to too much"):
        install(store, bundle, None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_link_is_no_bundle_neither_given_nor_in_the_store(
    store: ModelStore, bundle: Path, tmp_path: Path, suffix: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    linked = bundle.with_suffix(suffix)
    elsewhere.write_bytes(linked.read_bytes())
    linked.unlink()
    linked.symlink_to(elsewhere)
    with pytest.raises(InputError, match="plain file"):
        install(store, bundle, None)
    placed = smuggle(bundle, store).with_suffix(suffix)
    placed.unlink()
    placed.symlink_to(elsewhere)
    with pytest.raises(CheckError, match="link to something else"):
        activate(store, NAME, VERSION, None)
    assert store.open(NAME)[0].model == SHIPPED


def test_an_archive_given_as_a_link_is_refused_with_its_own_name(store: ModelStore, bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.tflite"
    link.symlink_to(bundle)
    with pytest.raises(InputError, match=str(bundle)):
        install(store, link, None)


def test_two_bundles_of_one_name_and_version_are_told_and_neither_is_chosen(tmp_path: Path, bundle: Path) -> None:
    shipped, mine = tmp_path / "shipped", tmp_path / "mine"
    for folder, temperature in ((shipped, "1.5"), (mine, "1.6")):
        folder.mkdir()
        for suffix in SUFFIXES:
            (folder / bundle.with_suffix(suffix).name).write_bytes(bundle.with_suffix(suffix).read_bytes())
        claiming(folder / bundle.name, stated("temperature"), f"temperature = {temperature}")
    store = ModelStore(shipped, installed=mine)
    with pytest.raises(CheckError, match="two bundles have this name and version"):
        activate(store, NAME, VERSION, None)
    assert store.find(NAME).model.parent == shipped


def test_an_older_bundle_comes_only_where_that_is_asked_for_and_rollback_always(store: ModelStore, tmp_path: Path) -> None:
    bundles = {version: released(tmp_path / version, version) for version in ("0.9.0", "8.0.0", "9.0.0", "10.0.0")}
    with pytest.raises(InputError, match="--allow-older"):
        install(store, bundles["0.9.0"], None)
    for version in ("8.0.0", "10.0.0"):
        install(store, bundles[version], None)
    with pytest.raises(InputError, match="older than the one that is there"):
        install(store, bundles["9.0.0"], None)
    assert install(store, bundles["9.0.0"], None, allow_older=True).changed
    activate(store, NAME, "8.0.0", None)
    activate(store, NAME, "10.0.0", None)
    with pytest.raises(InputError, match="older than the one that is in use"):
        activate(store, NAME, "9.0.0", None)
    assert store.find(NAME).manifest.version == "10.0.0"
    assert rollback(store, NAME).manifest.version == "8.0.0"
    activate(store, NAME, "10.0.0", None)
    assert activate(store, NAME, "9.0.0", None, allow_older=True).changed
    assert store.find(NAME).manifest.version == "9.0.0"
    assert rollback(store, NAME).manifest.version == "10.0.0"


def test_what_ships_keeps_to_the_bounds() -> None:
    store = ModelStore(ARTEFACTS)
    for model in store.models():
        bundle = store.find(str(model))
        assert hashlib.sha256(model.read_bytes()).hexdigest() == bundle.manifest.sha256
