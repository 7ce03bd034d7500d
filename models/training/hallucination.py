"""How often a learned image invents what isn't there, and erases what is.

A structure that no training saw is put into a scene, and the scene is imaged with it and without. What came of it is the
difference of the two images projected on the difference of the two truths: 1 is all of it, 0 nothing. It is erased where less than
half of it is left. Something is invented where the truth holds nothing of that size and the image differs from it, at the scale of
the structure, by half of the structure's contrast and more (root mean squares).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from models.training.quality import wilson_interval

__all__ = ["SHAPES", "Insertion", "feature_lines", "strange_shape"]

Image = NDArray[np.floating[Any]] | NDArray[np.complexfloating[Any, Any]]

_HALF = 0.5
_LETTERS = "AEFHKRSTXZ"
SHAPES = ("ring with a gap", "cross", "letter", "bars", "spiral")
"""What `strange_shape` draws: nothing that grows, crystallises or is made as a bead."""


def strange_shape(rng: np.random.Generator, size_px: int, kind: str | None = None) -> NDArray[np.float32]:
    """One shape, float32 [size, size], 0 to 1, with soft edges; `kind` one of SHAPES, None: any."""
    kind = kind or str(rng.choice(SHAPES))
    side = 8 * size_px
    canvas, middle = np.zeros((side, side), np.uint8), (side // 2, side // 2)
    thick = max(side // 9, 1)
    match kind:
        case "ring with a gap":
            cv2.ellipse(canvas, middle, (side // 3, side // 3), float(rng.uniform(0, 360)), 0, 300, 255, thick)
        case "cross":
            for rows, columns in ((slice(0, side), slice(side // 2 - thick, side // 2 + thick)),):
                canvas[rows, columns] = canvas[columns, rows] = 255
        case "letter":
            letter = str(rng.choice(list(_LETTERS)))
            scale = side / 26
            (width, height), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
            place = ((side - width) // 2, (side + height) // 2)
            cv2.putText(canvas, letter, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick)
        case "bars":
            for k in range(3):
                canvas[side // 8 : -side // 8, (2 * k + 1) * side // 7 : (2 * k + 2) * side // 7] = 255
        case "spiral":
            turns = np.linspace(0.6, 2.4 * 2 * np.pi, 200)
            radius = turns / turns.max() * 0.42 * side
            points = np.stack([radius * np.cos(turns), radius * np.sin(turns)], axis=-1) + side / 2
            cv2.polylines(canvas, [points.astype(np.int32)], isClosed=False, color=255, thickness=max(thick // 2, 1))
        case _:
            raise ValueError(f"no such shape: {kind}, one of {', '.join(SHAPES)}")
    turned = cv2.warpAffine(canvas, cv2.getRotationMatrix2D(middle, float(rng.uniform(0, 360)), 0.9), (side, side))
    return cv2.resize(turned, (size_px, size_px), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class Insertion:
    """One structure put into one scene; images and truths [height, width], real or complex, in the same units."""

    image_with: Image
    image_without: Image
    truth_with: Image
    truth_without: Image
    empty: Sequence[tuple[slice, slice]] = ()
    """Boxes of the structure's size where the truth holds nothing like it."""

    @property
    def box(self) -> tuple[slice, slice]:
        """Where the two truths differ."""
        rows, columns = np.nonzero(np.abs(self.truth_with - self.truth_without) > 0)
        return slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)

    @property
    def left(self) -> float:
        """Share of the structure that the image shows."""
        box = self.box
        return _share((self.image_with - self.image_without)[box], self._change)

    @property
    def _change(self) -> Image:
        return (self.truth_with - self.truth_without)[self.box]

    def invented(self) -> list[float]:
        """Contrast of what the image shows in every empty box and the truth doesn't, over the structure's."""
        sigma_px = max(self._change.shape) / 12
        change = _contrast(_smooth(self._change, sigma_px))
        error = _smooth(self.image_without - self.truth_without, sigma_px)
        return [_contrast(error[box]) / max(change, 1e-12) for box in self.empty]


def _share(found: Image, change: Image) -> float:
    return float(np.real(np.vdot(change, found)) / max(float(np.real(np.vdot(change, change))), 1e-12))


def _contrast(image: Image) -> float:
    return float(np.std(image))


def _smooth(image: Image, sigma_px: float) -> Image:
    return scipy.ndimage.gaussian_filter(image, sigma_px, mode="nearest")


def feature_lines(rows: dict[str, Sequence[Insertion]]) -> list[str]:
    """Markdown: by method, the median share that is left, the share of erased ones and of places with an invented one."""
    lines = ["| method | inserted | share shown | erased | empty places | invented |", "|---|---|---|---|---|---|"]
    for name, insertions in rows.items():
        left = [i.left for i in insertions]
        found = [share for i in insertions for share in i.invented()]
        erased, invented = sum(s < _HALF for s in left), sum(s >= _HALF for s in found)
        cells = [f"{np.median(left):.2f}", _rate(erased, len(left)), str(len(found)), _rate(invented, len(found))]
        lines.append(f"| {name} | {len(left)} | " + " | ".join(cells) + " |")
    return lines


def _rate(hits: int, trials: int) -> str:
    if not trials:
        return "-"
    low, high = wilson_interval(hits, trials)
    return f"{100 * hits / trials:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
