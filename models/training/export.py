"""From a trained Keras network to a bundle: int8 .tflite, manifest, golden sample."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from device.errors import InputError
from device.inference.bounds import MOST_TOLERANCE
from device.inference.interpreter import Interpreter
from device.inference.manifest import SecondLook, Tensor, WeakLens
from device.inference.store import golden_array, split_stem

__all__ = ["BundleSpec", "channels_of", "check_free", "second_look_lines", "to_tflite", "trained_weights", "write_bundle"]


@dataclass(frozen=True)
class BundleSpec:
    """What a manifest says that the file itself doesn't."""

    name: str
    version: str
    task: str
    recipe: str
    inputs: Mapping[str, tuple[str, ...]]
    """Channels of every input, by its name in the file's signature; a sole one is called `input`."""
    outputs: Mapping[str, tuple[str, ...]]
    """Channels of every output; a sole one is called `output`."""
    optics: dict[str, tuple[float, float] | float]
    labels: tuple[str, ...] = ()
    temperature: float = 1.0
    conformal_quantile: float = 1.0
    reject_below: float = 0.0
    tile_multiple_px: int = 0
    """Sides of the input that a network of convolutions takes besides its own; 0: none."""
    conformal_quantiles: tuple[float, ...] = ()
    other_above: float = 1.0
    second_look: SecondLook | None = None
    """Of a reconstruction."""
    weak_lens: WeakLens | None = None
    """Of a reconstruction for one instrument."""
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of inputs and outputs by name, where not 1."""


def channels_of(ends: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """Of one side of a manifest, by tensor."""
    return {name: tensor.channels for name, tensor in ends.items()}


def trained_weights(work: Path, name: str = "weights") -> Path:
    """The weights that a training left in its folder; InputError where there are none."""
    path = work / f"{name}.weights.h5"
    if not path.exists():
        raise InputError(
            "nothing was trained here", where=path, expected="the work folder of a training", got="no such file",
            remedy="Run `holonode-models train` first, or name its folder with --work.",
        )  # fmt: skip
    return path


def to_tflite(model: Any, samples: Iterable[NDArray[np.float32]] | None) -> bytes:
    """Convert a Keras model of fixed input shape; with representative `samples` [1, ...] to full int8, else float32."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if samples is not None:
        kept = list(samples)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in kept)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    return converter.convert()


def _revision() -> str:
    result = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return repr(float(value)) if isinstance(value, float) else str(value)


def _table_lines(name: str, entries: dict[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in entries.items())]


def second_look_lines(table: SecondLook) -> list[str]:
    """The table as it stands in a manifest."""
    return _struct_lines("second_look", table)


def _struct_lines(name: str, table: Struct) -> list[str]:
    return _table_lines(name, {key: getattr(table, key) for key in table.__struct_fields__})


def check_free(folder: Path, name: str, version: str) -> Path:
    """Where a bundle's model will be; InputError where there is one of that name and version: what is released stays as it is."""
    path = folder / f"{name}-{version}.tflite"
    if split_stem(path.stem) is None:
        raise InputError("this is no version", where="--version", expected="major.minor.patch, such as 1.0.1", got=version)
    taken = next((p for p in (path, path.with_suffix(".toml"), path.with_suffix(".npz")) if p.exists()), None)
    if taken is not None:
        raise InputError(
            "this bundle exists, and bundles are never written over", where=taken, expected="a version that isn't taken",
            got=version, remedy="Give --version the next number, or --artefacts another folder.",
        )  # fmt: skip
    return path


def write_bundle(spec: BundleSpec, content: bytes, sample: Mapping[str, NDArray[np.float32]], folder: Path) -> Path:
    """Write NAME-VERSION.tflite, .toml and .npz; returns the model's path. `sample`, [1, ...] by input, becomes the golden one.

    InputError where that version exists.
    """
    path = check_free(folder, spec.name, spec.version)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    interpreter = Interpreter(path)
    stored = {name: end.quantise(sample[name]) for name, end in interpreter.inputs.items()}
    answer = interpreter.run_stored(stored)
    sides = (
        ("input", "input", interpreter.inputs, stored, spec.inputs),
        ("output", "expected", interpreter.outputs, answer, spec.outputs),
    )
    golden = {golden_array(key, name, values): array for _, key, _, values, _ in sides for name, array in values.items()}
    np.savez_compressed(path.with_suffix(".npz"), allow_pickle=False, **golden)
    tensors: dict[str, dict[str, Any]] = {}
    for which, _, ends, values, channels in sides:
        for name, end in ends.items():
            tensors[which if len(ends) == 1 else f"{which}s.{name}"] = {
                "shape": values[name].shape, "dtype": end.dtype, "scale": end.scale, "zero_point": end.zero_point,
                "channels": channels[name], "units": spec.units.get(name, "1"),
            }  # fmt: skip
    if spec.tile_multiple_px:
        tensors["input"]["multiple_px"] = spec.tile_multiple_px
    lines = [f"{key} = {_toml(getattr(spec, key))}" for key in ("name", "version", "task")]
    lines.append(f'sha256 = "{hashlib.sha256(content).hexdigest()}"')
    if spec.labels:
        keys = ("labels", "temperature", "conformal_quantile", "conformal_quantiles", "other_above", "reject_below")
        lines += [f"{key} = {_toml(getattr(spec, key))}" for key in keys]
    tables: dict[str, dict[str, Any]] = tensors | {
        "optics": spec.optics,
        "golden": {
            "input": "input",
            "expected": "expected",
            "tolerance": min(1.0, *(MOST_TOLERANCE[end.dtype] for end in interpreter.outputs.values())),
        },
        "recipe": {"name": spec.recipe, "commit": _revision()},
    }
    for table, entries in tables.items():
        lines += _table_lines(table, entries)
    if spec.weak_lens:
        lines += _struct_lines("weak_lens", spec.weak_lens)
    if spec.second_look:
        lines += second_look_lines(spec.second_look)
    path.with_suffix(".toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
