"""An array in the store folder that survives power loss, or is known to be lost."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import TransientError

__all__ = ["load_array", "save_array"]


_LONGEST_HEADER = 1000
"""Characters."""


def _sum_of(values: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).digest()


def save_array(path: Path, values: NDArray[np.float32]) -> None:
    """Write all of it or nothing, and wait until it is on the disk; TransientError where the disk is full."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.save(file, values, allow_pickle=False)
            file.write(_sum_of(values))  # behind what NumPy reads
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise TransientError("the store can't take a frame", where=path, got=str(error), remedy="Free disk space.") from error


def load_array(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """What was saved; None where there is none, it isn't a frame of this shape, or a bit of it has changed."""
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False, max_header_size=_LONGEST_HEADER)
            known = file.read()
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError, TypeError):
        return None  # what a garbled head makes of it
    if known and known != _sum_of(values):
        return None
    return np.asarray(values, np.float32) if values.shape == shape and np.isfinite(values).all() else None
