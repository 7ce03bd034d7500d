"""The only place that imports a TFLite runtime."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import CheckError, HardwareError, InputError
from device.installation import how_to_install
from device.library_output import library_lines

__all__ = ["Interpreter", "constants", "runtime_name"]


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


class Interpreter:
    """One model file, ready to run; safe to share between threads.

    `shape` instead of the file's own input shape, batch axis included, where the network takes any.
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
        except (ValueError, RuntimeError) as error:
            raise CheckError("the runtime refuses this model", where=path, got=str(error).splitlines()[0]) from error
        counts = len(self._runner.get_input_details()), len(self._runner.get_output_details())
        if counts != (1, 1):
            raise CheckError(
                "the model has other ends than this program knows", where=path, expected="1 input, 1 output", got=counts
            )
        self._lock = threading.Lock()
        self._input = self._runner.get_input_details()[0]
        self._output = self._runner.get_output_details()[0]

    def resized(self, shape: tuple[int, ...]) -> Interpreter:
        """The same file for another input shape, batch axis included."""
        return Interpreter(self.path, self.threads, shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, batch axis included."""
        return tuple(int(n) for n in self._input["shape"])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one answer, batch axis included."""
        return tuple(int(n) for n in self._output["shape"])

    @property
    def quantisation(self) -> tuple[tuple[str, float, int], tuple[str, float, int]]:
        """(dtype, scale, zero point) of input and output."""
        return _quantisation(self._input), _quantisation(self._output)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """One pass in physical values: float32 [n, ...] in, float32 [n, ...] out, one sample at a time."""
        if batch.shape[1:] != self.input_shape[1:]:
            raise InputError("wrong shape for this network", expected=("n", *self.input_shape[1:]), got=batch.shape)
        return np.concatenate([self.dequantise(self.run_quantised(self.quantise(sample[None]))) for sample in batch])

    def quantise(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Physical values as the model stores its input; what is out of range saturates."""
        dtype, scale, zero = _quantisation(self._input)
        if scale == 0:
            return values.astype(np.float32, copy=False)
        info = np.iinfo(dtype)
        scaled = values * np.float32(1 / scale)
        scaled += np.float32(zero)
        np.rint(scaled, out=scaled)
        return np.clip(scaled, info.min, info.max, out=scaled).astype(dtype)

    def dequantise(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Physical values of the model's output."""
        _, scale, zero = _quantisation(self._output)
        if scale == 0:
            return stored.astype(np.float32, copy=False)
        return (stored.astype(np.float32) - np.float32(zero)) * np.float32(scale)

    def run_quantised(self, stored: NDArray[Any]) -> NDArray[Any]:
        """One pass in stored values, batch included."""
        with self._lock:
            self._runner.set_tensor(self._input["index"], stored)
            self._runner.invoke()
            return self._runner.get_tensor(self._output["index"])


def _quantisation(details: Any) -> tuple[str, float, int]:
    scale, zero = details["quantization"]
    return np.dtype(details["dtype"]).name, float(scale), int(zero)


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
