"""A rolling pool of simulated samples.

Rendering and learning run at their own pace: one process overwrites the oldest samples, another draws at random.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pool"]


@dataclass
class Pool:
    """Samples of one shape in a memory-mapped file.

    The file holds float16 [capacity, height, width, channels]; a one-number JSON beside it counts what was ever written.
    """

    folder: Path
    capacity: int
    shape: tuple[int, int, int]
    turns: bool = True
    """Whether a sample turned or mirrored is as good a one."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "samples.f16"
        mode = "r+" if path.exists() else "w+"
        self._data: NDArray[np.float16] = np.memmap(path, np.float16, mode, shape=(self.capacity, *self.shape))

    @property
    def written(self) -> int:
        """Samples ever written."""
        path = self.folder / "written.json"
        return json.loads(path.read_text())["written"] if path.exists() else 0

    def write(self, samples: NDArray[np.floating]) -> None:
        """Put samples [n, height, width, channels] in the oldest places."""
        written = self.written
        for k, sample in enumerate(samples):
            self._data[(written + k) % self.capacity] = sample
        path = self.folder / "written.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"written": written + len(samples)}))
        partial.replace(path)

    def batch(self, rng: np.random.Generator, size: int) -> NDArray[np.float32]:
        """Random samples, each turned and mirrored at random where it may be; float32 [size, height, width, channels]."""
        filled = min(self.written, self.capacity)
        picked = self._data[np.sort(rng.choice(filled, size, replace=filled < size))].astype(np.float32)
        for k in range(size if self.turns else 0):
            turned = np.rot90(picked[k], int(rng.integers(4)))
            picked[k] = turned[:, ::-1] if rng.random() < 0.5 else turned
        return picked
