"""The networks in physical terms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from device.inference.interpreter import Interpreter
from device.inference.manifest import Manifest
from device.records import Classification

__all__ = ["ClassifierNetwork", "HidefNetwork"]

_SHAPES_KEPT = 4


@dataclass(frozen=True)
class HidefNetwork:
    """Back-propagated field in, object field out."""

    interpreter: Interpreter
    manifest: Manifest

    margin_px: int = 32
    """Border of a tile that lacks the surroundings the network looks at."""
    resized: dict[tuple[int, int], Interpreter] = field(default_factory=dict, compare=False, repr=False)
    """Interpreters for other tiles than the file's own, the few that were used last."""

    @property
    def tile_px(self) -> int:
        """Side of the tile the file was made for."""
        return self.manifest.input.shape[1]

    @property
    def multiple_px(self) -> int:
        """Any tile whose sides are multiples of this will do; 0: only its own."""
        return self.manifest.input.multiple_px

    def _for(self, shape: tuple[int, int]) -> Interpreter:
        if shape == (self.tile_px, self.tile_px) or not self.multiple_px:
            return self.interpreter
        if shape not in self.resized:
            while len(self.resized) >= _SHAPES_KEPT:
                self.resized.pop(next(iter(self.resized)))
            self.resized[shape] = self.interpreter.resized((1, *shape, self.manifest.input.shape[3]))
        return self.resized[shape]

    def run(self, tile: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """One pass over one tile, complex64 [height, width], 1 where nothing is."""
        channels = np.stack([tile.real - 1, tile.imag], axis=-1).astype(np.float32)[None]
        out = self._for((tile.shape[0], tile.shape[1])).run(channels)[0]
        result = np.empty(out.shape[:2], np.complex64)
        result.real = out[..., 0] + 1
        result.imag = out[..., 1]
        return result


@dataclass(frozen=True)
class ClassifierNetwork:
    """Crops in, calibrated names out."""

    interpreter: Interpreter
    manifest: Manifest

    def probabilities(self, crops: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities float64 [n, classes] of crops float32 [n, side, side, 2]."""
        if len(crops) == 0:
            return np.zeros((0, len(self.manifest.labels)))
        logits = self.interpreter.run(crops).astype(np.float64) / self.manifest.temperature
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def classify(self, crops: NDArray[np.float32], reject_below: float = 0.0) -> list[Classification]:
        """One Classification a crop; 'unknown' where the best probability is under the larger of the two thresholds."""
        labels = self.manifest.labels
        least = max(reject_below, self.manifest.reject_below)
        out: list[Classification] = []
        for row in self.probabilities(crops):
            best = int(np.argmax(row))
            inside = tuple(labels[k] for k in np.argsort(-row) if 1 - row[k] <= self.manifest.conformal_quantile)
            label = labels[best] if row[best] >= least else "unknown"
            chances = {name: round(float(p), 5) for name, p in zip(labels, row, strict=True)}
            out.append(Classification(label, float(row[best]), chances, inside or (labels[best],)))
        return out
