"""Trained weights out of a shipped file, so that training goes on from what runs on the boxes.

An int8 file keeps a scale for every output channel: what comes back differs from what was trained by less than half of one
step, which a few hundred steps of training take away again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.inference.interpreter import constants
from models.training.unet import tap_place

__all__ = ["restore_weights"]

Floats = NDArray[np.float32]


def restore_weights(model: Any, file: Path) -> None:
    """Put the weights of a .tflite file of the same network into a Keras model; InputError where it is another network.

    A model may take more channels than the file's: those begin without effect. Where it gives another number of channels its
    head, the last kernel and bias, begins afresh.
    """
    wanted = model.get_weights()
    stored = constants(file)[: len(wanted)]
    if stored and stored[0].ndim == 4:
        stored[0] = _widened(stored[0], wanted[0].shape[2])
    found = [_as_keras(values, wanted[k].shape) for k, values in enumerate(stored)]
    if found and found[-1] is None:
        found[-2:] = wanted[-2:]
    if len(found) != len(wanted) or any(f is None for f in found):
        raise InputError(
            "the file holds another network", where=file, expected=f"{len(wanted)} tensors of weights as the recipe builds them",
            got=", ".join(str(list(v.shape)) for v in constants(file)),
            remedy="Train from the start, or name a bundle of this recipe.",
        )  # fmt: skip
    model.set_weights(found)


def _widened(kernel: Floats, inputs: int) -> Floats:
    """A kernel [out, height, width, in] for more inputs."""
    missing = max(inputs - kernel.shape[3], 0)
    return np.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, missing)))


def _as_keras(stored: Floats, shape: tuple[int, ...]) -> Floats | None:
    """One tensor in Keras's order of axes; None where it can't be that one.

    A file's kernels are [out, height, width, in], Keras's [height, width, in, out], and [height, width, out, in] of a
    transposed convolution, which a file may hold as a convolution whose outputs are rearranged (see export).
    """
    if stored.ndim != 4:
        return stored.reshape(shape) if stored.size == np.prod(shape) else _unrepeated(stored, shape)
    for candidate in (stored.transpose(1, 2, 3, 0), stored.transpose(1, 2, 0, 3)):
        if candidate.shape == shape:
            return np.ascontiguousarray(candidate)
    return _gathered(stored, shape)


def _unrepeated(stored: Floats, shape: tuple[int, ...]) -> Floats | None:
    """The bias of a transposed convolution, stored once for each of the four places that it fills."""
    return stored[: shape[0]] if len(shape) == 1 and stored.shape == (4 * shape[0],) else None


def _gathered(stored: Floats, shape: tuple[int, ...]) -> Floats | None:
    """The kernel of a transposed convolution of stride 2 from that of its convolution; the inverse of export's spreading."""
    if len(shape) != 4 or stored.shape[0] != 4 * shape[2] or stored.shape[3] != shape[3]:
        return None
    out = np.zeros(shape, np.float32)
    reach = stored.shape[1] // 2
    for y in range(shape[0]):
        for x in range(shape[1]):
            (row, tap_y), (column, tap_x) = tap_place(y, shape[0]), tap_place(x, shape[1])
            first = (2 * row + column) * shape[2]
            out[y, x] = stored[first : first + shape[2], tap_y + reach, tap_x + reach]
    return out
