"""Model files of several named tensors: what a manifest may say of them, and what runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from device.errors import CheckError, InputError
from device.inference.bounds import load_manifest
from device.inference.interpreter import Interpreter
from device.inference.manifest import Manifest
from device.inference.store import ModelBundle, ModelStore, verify_golden
from device.rig.models import ARTEFACTS
from models.training.export import BundleSpec, write_bundle
from tests.architecture.one_system.shading.network import content

SHADOWS, LEVELS = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8), np.array([[1.0], [3.0]], np.float32)
OPTICS = {"wavelength_um": (0.4, 0.9), "pitch_um": (1.0, 2.0), "distance_um": (100.0, 900.0), "defocus_um": 50.0, "defocus_number": (1.0, 1e3)}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("named") / "shading-1.0.0.tflite"
    path.write_bytes(content(np.full(8, 0.5), np.array([2.0, -1.0])))
    return path


@pytest.fixture
def bundle(file: Path, tmp_path: Path) -> ModelBundle:
    pixels = tuple(f"pixel_{k}" for k in range(8))
    spec = BundleSpec(
        "shading", "1.0.0", "shading", "shading", {"shadow": pixels, "level": ("lamp",)},
        {"edge": pixels, "size": ("width", "height")}, OPTICS,
    )  # fmt: skip
    path = write_bundle(spec, file.read_bytes(), {"shadow": SHADOWS[:1], "level": LEVELS[:1]}, tmp_path)
    text = path.with_suffix(".toml").read_text()
    # Of a task that isn't here: what is read is the file's shape, not whether the box can use it.
    with pytest.raises(InputError, match=r"task 'shading': reconstruction \| .*classification.* is expected"):
        load_manifest(path.with_suffix(".toml"))
    import tomllib

    return ModelBundle(path, msgspec.convert(tomllib.loads(text), Manifest))


def test_every_sample_gives_every_answer_by_name(file: Path) -> None:
    interpreter = Interpreter(file)
    together = interpreter.run_named({"level": LEVELS, "shadow": SHADOWS})
    assert {name: values.shape for name, values in together.items()} == {"edge": (2, 8), "size": (2, 2)}
    np.testing.assert_allclose(together["size"], LEVELS * [2.0, -1.0], rtol=1e-6)
    np.testing.assert_allclose(together["edge"], SHADOWS * 0.5, atol=0.03)
    none = interpreter.run_named({"level": LEVELS[:0], "shadow": SHADOWS[:0]})
    assert {name: values.shape for name, values in none.items()} == {"edge": (0, 8), "size": (0, 2)}


@pytest.mark.parametrize(
    "batch",
    [
        {"shadow": SHADOWS},
        {"shadow": SHADOWS, "level": LEVELS, "more": LEVELS},
        {"shadow": LEVELS, "level": SHADOWS},
        {"shadow": SHADOWS, "level": LEVELS[:1]},
        {},
    ],
)
def test_what_is_missing_unknown_of_another_shape_or_number_is_refused(file: Path, batch: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError):
        Interpreter(file).run_named(batch)


def test_one_array_alone_is_refused_where_there_are_several(file: Path) -> None:
    interpreter = Interpreter(file)
    for call in (interpreter.run, interpreter.quantise, interpreter.dequantise, interpreter.run_quantised):
        with pytest.raises(InputError, match="to be named"):
            call(SHADOWS)


def test_the_self_test_looks_at_every_output(bundle: ModelBundle) -> None:
    assert verify_golden(bundle) == 0
    with np.load(bundle.golden) as arrays:
        kept = dict(arrays)
    assert set(kept) == {"input.shadow", "input.level", "expected.edge", "expected.size"}
    for name, off in (("expected.edge", 1), ("expected.size", 0.5)):
        np.savez(bundle.golden, **{**kept, name: kept[name] + kept[name].dtype.type(off)})
        with pytest.raises(CheckError, match="golden answer"):
            verify_golden(bundle)
    np.savez(bundle.golden, **{name: array for name, array in kept.items() if name != "input.level"})
    with pytest.raises(CheckError, match="can't be read"):
        verify_golden(bundle)


def test_a_manifest_names_the_tensors_as_the_file_does(bundle: ModelBundle) -> None:
    manifest = bundle.manifest
    swapped = {"level": manifest.inputs["level"], "shade": manifest.inputs["shadow"]}
    with np.load(bundle.golden) as arrays:
        kept = {name.replace("shadow", "shade"): array for name, array in arrays.items()}
    np.savez(bundle.golden, **kept)
    with pytest.raises(CheckError, match=r"other inputs than its manifest says.*expected level \| shade; got level \| shadow"):
        verify_golden(ModelBundle(bundle.model, msgspec.structs.replace(manifest, inputs=swapped)))


def test_a_manifest_has_one_tensor_or_several_on_each_side() -> None:
    manifest = ModelStore(ARTEFACTS).find("hidef").manifest
    said = msgspec.to_builtins(manifest)
    assert (set(manifest.takes), set(manifest.gives)) == ({"input"}, {"output"})
    pair = {"a": said["input"], "b": said["input"]}
    for changed in (
        {"inputs": pair},
        {"input": None},
        {"input": None, "inputs": {"a": said["input"]}},
        {"output": None},
        {"outputs": pair},
    ):
        with pytest.raises(msgspec.ValidationError, match="a manifest has one"):
            msgspec.convert({**said, **changed}, Manifest)
    assert set(msgspec.convert({**said, "input": None, "inputs": pair}, Manifest).takes) == {"a", "b"}


def test_what_works_on_one_tensor_refuses_several(tmp_path: Path) -> None:
    shipped = ModelStore(ARTEFACTS).find("bioaerosol").model.with_suffix(".toml").read_text(encoding="utf-8")
    path = tmp_path / "some-1.0.0.toml"
    table = shipped[shipped.index("[input]") : shipped.index("[output]")]
    path.write_text(shipped.replace(table, table.replace("[input]", "[inputs.a]") + table.replace("[input]", "[inputs.b]")))
    with pytest.raises(InputError, match=r"inputs a, b: a classification has one, \[input\]"):
        load_manifest(path)
    many = "".join(table.replace("[input]", f"[inputs.t{k}]") for k in range(17))
    path.write_text(shipped.replace(table, many))
    with pytest.raises(InputError, match="17 inputs: up to 16 are expected"):
        load_manifest(path)
