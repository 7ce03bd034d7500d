"""The only place that imports a TFLite runtime."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import CheckError, HardwareError, InputError
from device.installation import how_to_install
from device.library_output import library_lines

__all__ = ["End", "Interpreter", "constants", "runtime_name"]


def _runtime() -> tuple[str, Any]:
    """(name, Interpreter class): ai-edge-litert, or tflite-runtime where only that exists (32-bit Raspberry Pi OS)."""
    try:
        from ai_edge_litert.interpreter import Interpreter as LiteRt

        return "ai-edge-litert", LiteRt
    except ImportError:
        pass
    try:
        from tflite_runtime.interpreter import Interpreter as TfLite  # pyright: ignore[reportMissingImports]

        return "tflite-runtime", TfLite
    except ImportError as error:
        raise HardwareError(
            "no TFLite runtime is installed",
            expected="ai-edge-litert (or tflite-runtime on 32-bit systems)",
            remedy=how_to_install("box"),
        ) from error


def runtime_name() -> str:
    """Name and version of the runtime in use."""
    from importlib.metadata import version

    name, _ = _runtime()
    return f"{name} {version(name)}"


_CHATTER = ("INFO: ",)
"""How the runtime's lines begin that tell a user nothing."""


@dataclass(frozen=True)
class End:
    """A tensor that goes into a model file or comes out of it."""

    index: int
    """The runtime's."""
    shape: tuple[int, ...]
    """Of one sample, batch axis included."""
    dtype: str
    """Stored type."""
    scale: float
    """Quantisation step; 0 for float32."""
    zero_point: int
    """Stored value that stands for 0."""

    @classmethod
    def of(cls, details: Any) -> End:
        """As the runtime describes it."""
        scale, zero = details["quantization"]
        shape = tuple(int(n) for n in details["shape"])
        return cls(int(details["index"]), shape, np.dtype(details["dtype"]).name, float(scale), int(zero))

    @property
    def quantisation(self) -> tuple[str, float, int]:
        """(dtype, scale, zero point)."""
        return self.dtype, self.scale, self.zero_point

    def quantise(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Physical values as the model stores them; what is out of range saturates."""
        dtype, scale, zero = self.quantisation
        if scale == 0:
            return values.astype(np.float32, copy=False)
        info = np.iinfo(dtype)
        scaled = values * np.float32(1 / scale)
        scaled += np.float32(zero)
        np.rint(scaled, out=scaled)
        return np.clip(scaled, info.min, info.max, out=scaled).astype(dtype)

    def dequantise(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Physical values of what the model stores."""
        _, scale, zero = self.quantisation
        if scale == 0:
            return stored.astype(np.float32, copy=False)
        return (stored.astype(np.float32) - np.float32(zero)) * np.float32(scale)


class Interpreter:
    """One model file, ready to run; safe to share between threads.

    Tensors have the names that the file's signature gives them; a sole one is called `input` or `output`, whatever the file calls
    it. `shape` instead of the sole input's own, batch axis included, where the network takes any.
    """

    def __init__(self, path: Path, threads: int = 1, shape: tuple[int, ...] | None = None) -> None:
        _, runtime = _runtime()
        self.path, self.threads = path, threads
        try:
            with library_lines(_CHATTER, []):
                self._runner = runtime(model_path=str(path), num_threads=threads)
                if shape is not None:
                    self._runner.resize_tensor_input(self._runner.get_input_details()[0]["index"], shape)
                self._runner.allocate_tensors()
                self.inputs: Mapping[str, End] = self._ends("input")
                self.outputs: Mapping[str, End] = self._ends("output")
        except (ValueError, RuntimeError) as error:
            raise CheckError("the runtime refuses this model", where=path, got=str(error).splitlines()[0]) from error
        self._lock = threading.Lock()

    def _ends(self, which: str) -> Mapping[str, End]:
        found = getattr(self._runner, f"get_{which}_details")()
        if not found:
            raise CheckError(f"the model has no {which}", where=self.path, expected="one or more", got="none")
        if len(found) == 1:
            return {which: End.of(found[0])}
        signatures = list(self._runner.get_signature_list())
        if len(signatures) != 1:
            raise CheckError(
                f"nothing names the model's {which}s", where=self.path, expected=f"one signature, for {len(found)} {which}s",
                got=len(signatures), remedy="Export it with one signature, which names its tensors.",
            )  # fmt: skip
        named = getattr(self._runner.get_signature_runner(signatures[0]), f"get_{which}_details")()
        return {str(name): End.of(details) for name, details in sorted(named.items())}

    def resized(self, shape: tuple[int, ...]) -> Interpreter:
        """The same file, of one input, for another shape of it, batch axis included."""
        return Interpreter(self.path, self.threads, shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample of the sole input, batch axis included."""
        return self._sole(self.inputs).shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one answer of the sole output, batch axis included."""
        return self._sole(self.outputs).shape

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """`run_named` for one input and one output: float32 [n, ...] in, float32 [n, ...] out."""
        self._sole(self.outputs)
        return self.run_named({"input": batch})["output"]

    def run_named(self, batch: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """One pass in physical values: float32 [n, ...] by input in, float32 [n, ...] by output out, one sample at a time.

        InputError where inputs are missing, unknown, of another shape, or not as many of each.
        """
        wanted = {name: ("n", *end.shape[1:]) for name, end in self.inputs.items()}
        given = {name: ("n", *values.shape[1:]) for name, values in batch.items()}
        if given != wanted:
            raise InputError("wrong shape for this network", expected=wanted, got={n: v.shape for n, v in batch.items()})
        counts = {name: len(values) for name, values in batch.items()}
        if len(set(counts.values())) != 1:
            raise InputError("not as many samples of every input", expected="the same number", got=counts)
        samples = [{name: values[k : k + 1] for name, values in batch.items()} for k in range(next(iter(counts.values())))]
        answers = [self._pass(sample) for sample in samples]
        return {
            name: np.concatenate([np.zeros((0, *end.shape[1:]), np.float32), *(answer[name] for answer in answers)])
            for name, end in self.outputs.items()
        }

    def _pass(self, sample: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        stored = {name: end.quantise(sample[name]) for name, end in self.inputs.items()}
        return {name: self.outputs[name].dequantise(values) for name, values in self.run_stored(stored).items()}

    def run_stored(self, stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """One pass in stored values, batch included, by name."""
        with self._lock:
            for name, end in self.inputs.items():
                self._runner.set_tensor(end.index, stored[name])
            self._runner.invoke()
            return {name: self._runner.get_tensor(end.index) for name, end in self.outputs.items()}

    def quantise(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Physical values as the sole input stores them."""
        return self._sole(self.inputs).quantise(values)

    def dequantise(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Physical values of the sole output."""
        return self._sole(self.outputs).dequantise(stored)

    def run_quantised(self, stored: NDArray[Any]) -> NDArray[Any]:
        """`run_stored` for one input and one output."""
        self._sole(self.outputs)
        return self.run_stored({"input": stored})["output"]

    def _sole(self, ends: Mapping[str, End]) -> End:
        if len(ends) != 1:
            raise InputError("this network's tensors are to be named", where=self.path, expected=" | ".join(ends))
        return next(iter(ends.values()))


def constants(path: Path) -> list[NDArray[np.float32]]:
    """Kernels and biases of a file's convolutions as float32, in the order in which they act: kernel, bias, kernel, ...

    Kernels are [out, height, width, in]. InputError where the file is no network of convolutions.
    """
    _, runtime = _runtime()
    runner = runtime(model_path=str(path))
    runner.allocate_tensors()
    details = {t["index"]: t for t in runner.get_tensor_details()}
    out: list[NDArray[np.float32]] = []
    for operator in runner._get_ops_details():  # noqa: SLF001  the runtime has no public way to the operators
        inputs = [details[k] for k in operator["inputs"] if k in details]
        kernel_first = {"CONV_2D": (1, 2), "TRANSPOSE_CONV": (1, 3), "FULLY_CONNECTED": (1, 2)}.get(operator["op_name"])
        if kernel_first is None:
            continue
        out += [_dequantised(runner.get_tensor(inputs[k]["index"]), inputs[k]["quantization_parameters"]) for k in kernel_first]
    if not out:
        raise InputError("the file holds no convolutions", where=path)
    return out


def _dequantised(stored: NDArray[Any], parameters: dict[str, Any]) -> NDArray[np.float32]:
    scales = np.asarray(parameters["scales"], np.float32)
    if scales.size == 0:
        return stored.astype(np.float32)
    axis = int(parameters["quantized_dimension"])
    shape = [1] * stored.ndim
    shape[axis] = scales.size
    zero_points = np.asarray(parameters["zero_points"], np.float32).reshape(shape)
    return (stored.astype(np.float32) - zero_points) * scales.reshape(shape)
