"""The networks in physical terms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from device.analysis.crops import CROP_CHANNELS, CROP_PX
from device.analysis.depth import DepthSettings
from device.analysis.second_look import RingGain
from device.errors import InputError
from device.inference.interpreter import Interpreter
from device.inference.manifest import Manifest, Tensor
from device.optics.photon_noise import equivalent_photons
from device.records import Classification

__all__ = ["ClassifierNetwork", "HidefNetwork", "ImageNetwork"]

_SHAPES_KEPT = 4


@dataclass(frozen=True)
class ImageNetwork:
    """An image of any channels in, an image of any channels out; what they mean is in the manifest."""

    interpreter: Interpreter
    manifest: Manifest

    margin_px: int = 32
    """Border of a tile that lacks the surroundings the network looks at."""
    resized: dict[tuple[int, int], Interpreter] = field(default_factory=dict, compare=False, repr=False)
    """Interpreters for other tiles than the file's own, the few that were used last."""

    @property
    def _input(self) -> Tensor:
        return self.manifest.takes["input"]

    @property
    def tile_px(self) -> int:
        """Side of the tile the file was made for."""
        return self._input.shape[1]

    @property
    def multiple_px(self) -> int:
        """Any tile whose sides are multiples of this will do; 0: only its own."""
        return self._input.multiple_px

    def _for(self, shape: tuple[int, int]) -> Interpreter:
        if shape == (self.tile_px, self.tile_px) or not self.multiple_px:
            return self.interpreter
        if shape not in self.resized:
            while len(self.resized) >= _SHAPES_KEPT:
                self.resized.pop(next(iter(self.resized)))
            self.resized[shape] = self.interpreter.resized((1, *shape, self._input.shape[3]))
        return self.resized[shape]

    def run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """One pass over one tile, float32 [height, width, channels in] -> float32 [height, width, channels out]."""
        return self._for((tile.shape[0], tile.shape[1])).run(tile[None])[0]


@dataclass(frozen=True)
class HidefNetwork:
    """Back-propagated field in, object field out."""

    interpreter: Interpreter
    manifest: Manifest
    margin_px: int = 32
    """Border of a tile that lacks the surroundings the network looks at."""
    noise: float = 0.0
    """Of a frame of few photons, relative, of a pixel; for a network that is told of it."""
    image: ImageNetwork = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", ImageNetwork(self.interpreter, self.manifest, self.margin_px))

    @property
    def tile_px(self) -> int:
        """Side of the tile the file was made for."""
        return self.image.tile_px

    @property
    def multiple_px(self) -> int:
        """Any tile whose sides are multiples of this will do; 0: only its own."""
        return self.image.multiple_px

    @property
    def ring_gain(self) -> RingGain | None:
        """How a second look weighs what a pass leaves out; None where the bundle has no such table."""
        table = self.manifest.second_look
        return RingGain(table.cycles_per_px, table.visibility, table.gain) if table else None

    @property
    def depth_settings(self) -> DepthSettings:
        """How first depths are found with its fields."""
        lens = self.manifest.weak_lens
        return (
            DepthSettings(weak_lens=lens.number_per_px, weak_lens_deviation=lens.deviation_per_px) if lens else DepthSettings()
        )

    def for_noise(self, noise: float) -> HidefNetwork:
        """The same network, told the noise of a frame of few photons: relative, of a pixel."""
        told = replace(self, noise=noise)
        # What was resized for the other frames' tiles serves this one's.
        object.__setattr__(told, "image", self.image)
        return told

    def run(self, tile: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """One pass over one tile, complex64 [height, width], 1 where nothing is."""
        channels = [tile.real - 1, tile.imag]
        if self.noise:
            channels.append(np.full(tile.shape, math.log10(equivalent_photons(self.noise))))
        out = self.image.run(np.stack(channels, axis=-1).astype(np.float32))
        result = np.empty(out.shape[:2], np.complex64)
        result.real = out[..., 0] + 1
        result.imag = out[..., 1]
        return result


@dataclass(frozen=True)
class ClassifierNetwork:
    """Crops in, calibrated names out.

    A network may have one output more than there are classes: 'other', for what is none of them.
    """

    interpreter: Interpreter
    manifest: Manifest

    def __post_init__(self) -> None:
        crop = self.manifest.takes["input"]
        if crop.channels != CROP_CHANNELS or crop.shape[1:3] != (CROP_PX, CROP_PX):
            raise InputError(
                "the classifier was made for other crops", where=f"{self.manifest.name} {self.manifest.version}",
                expected=f"{CROP_PX} x {CROP_PX} of {', '.join(CROP_CHANNELS)}",
                got=f"{' x '.join(str(n) for n in crop.shape[1:3])} of {', '.join(crop.channels)}",
                remedy="Install a bundle of this version of the program, or set analysis.classifier_model = \"\".",
            )  # fmt: skip

    def judge(self, crops: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(calibrated probabilities float64 [n, classes] given that it is one of them, probability of 'other' float64 [n]).

        `crops` float32 [n, CROP_PX, CROP_PX, channels].
        """
        classes = len(self.manifest.labels)
        if len(crops) == 0:
            return np.zeros((0, classes)), np.zeros(0)
        logits = self.interpreter.run(crops).astype(np.float64) / self.manifest.temperature
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        other = raised[:, classes:].sum(axis=1) / raised.sum(axis=1)
        known = np.exp(logits[:, :classes] - logits[:, :classes].max(axis=1, keepdims=True))
        return known / known.sum(axis=1, keepdims=True), other

    def probabilities(self, crops: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities float64 [n, classes]: of each class, given that it is one of them."""
        return self.judge(crops)[0]

    def sets(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which classes are in each prediction set, bool [n, classes]."""
        manifest = self.manifest
        quantiles = np.array(manifest.conformal_quantiles or (manifest.conformal_quantile,) * len(manifest.labels))
        return 1 - probabilities <= quantiles

    def classify(self, crops: NDArray[np.float32], reject_below: float = 0.0) -> list[Classification]:
        """One Classification a crop.

        'unknown' where 'other' is too probable, its probability the score; or where the best class is less probable than the
        larger of the two thresholds. A prediction set is empty where a crop fits no class as well as nine in ten of its
        own do.
        """
        labels = self.manifest.labels
        least = max(reject_below, self.manifest.reject_below)
        probabilities, others = self.judge(crops)
        out: list[Classification] = []
        for row, inside, other in zip(probabilities, self.sets(probabilities), others, strict=True):
            best = int(np.argmax(row))
            label, score = (labels[best], row[best]) if row[best] >= least else ("unknown", row[best])
            if other > self.manifest.other_above:
                label, score = "unknown", other
            chances = {name: round(float(p), 5) for name, p in zip(labels, row, strict=True)}
            names = tuple(labels[k] for k in np.argsort(-row) if inside[k])
            out.append(Classification(label, float(score), chances, names))
        return out
