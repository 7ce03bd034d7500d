"""An array in the store folder that survives power loss, or is known to be lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.errors import TransientError

__all__ = ["load_array", "save_array"]


def save_array(path: Path, values: NDArray[np.float32]) -> None:
    """Write all of it or nothing, and wait until it is on the disk; TransientError where the disk is full."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.save(file, values, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise TransientError("the store can't take a frame", where=path, got=str(error), remedy="Free disk space.") from error


def load_array(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """What was saved; None where there is none, or it isn't a frame of this shape."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(values, np.float32) if values.shape == shape and np.isfinite(values).all() else None
