"""The curve of a training: loss against megapixels learned from, as a table and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.drawing import FONT, INK, PAPER, Picture

__all__ = ["curve_picture", "write_curve"]

_WIDTH_PX, _HEIGHT_PX = 900, 540
_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 90, 30, 30, 60
_BLUE, _PALE = (160, 90, 30), (225, 200, 175)


def write_curve(curve: Sequence[Sequence[float]], folder: Path) -> None:
    """Write curve.csv and curve.png; `curve` holds (step, megapixels, loss) of every round."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "megapixels", "loss"])
        writer.writerows(curve)
    if len(curve) > 1:
        cv2.imwrite(str(folder / "curve.png"), curve_picture(curve))


def curve_picture(curve: Sequence[Sequence[float]]) -> Picture:
    """The loss, thin, and its running mean, thick, uint8 BGR [height, width, 3]; both axes logarithmic."""
    _, megapixels, loss = np.array(curve, float).T
    x, y = np.log10(np.maximum(megapixels, 1e-3)), np.log10(np.maximum(loss, 1e-9))
    spans = (
        (float(x.min()), max(float(x.max()), float(x.min()) + 0.1)),
        (float(y.min()), max(float(y.max()), float(y.min()) + 0.1)),
    )
    picture = np.full((_HEIGHT_PX, _WIDTH_PX, 3), PAPER, np.uint8)
    _axes(picture, *spans)
    window = max(len(y) // 12, 1)
    smooth = np.convolve(np.pad(y, (window - 1, 0), mode="edge"), np.ones(window) / window, "valid")
    for values, colour, thick in ((y, _PALE, 1), (smooth, _BLUE, 2)):
        cv2.polylines(
            picture, [_places(x, values, *spans)], isClosed=False, color=colour, thickness=thick, lineType=cv2.LINE_AA
        )
    return picture


def _places(
    x: NDArray[np.float64], y: NDArray[np.float64], along: tuple[float, float], up: tuple[float, float]
) -> NDArray[np.int32]:
    """Pixels of points, int32 [n, 1, 2]."""
    column = _LEFT_PX + (x - along[0]) / (along[1] - along[0]) * (_WIDTH_PX - _LEFT_PX - _RIGHT_PX)
    row = _HEIGHT_PX - _BOTTOM_PX - (y - up[0]) / (up[1] - up[0]) * (_HEIGHT_PX - _TOP_PX - _BOTTOM_PX)
    return np.rint(np.stack([column, row], axis=1)).astype(np.int32)[:, None]


def _axes(picture: Picture, along: tuple[float, float], up: tuple[float, float]) -> None:
    bottom, right = _HEIGHT_PX - _BOTTOM_PX, _WIDTH_PX - _RIGHT_PX
    for value in _round_values(along):
        place = _places(np.array([np.log10(value)]), np.array([up[0]]), along, up)[0, 0]
        cv2.line(picture, (int(place[0]), bottom), (int(place[0]), _TOP_PX), (230, 230, 230), 1)
        cv2.putText(picture, f"{value:g}", (int(place[0]) - 14, bottom + 22), FONT, 0.5, INK, 1, cv2.LINE_AA)
    for value in _round_values(up):
        place = _places(np.array([along[0]]), np.array([np.log10(value)]), along, up)[0, 0]
        cv2.line(picture, (_LEFT_PX, int(place[1])), (right, int(place[1])), (230, 230, 230), 1)
        cv2.putText(picture, f"{value:g}", (14, int(place[1]) + 5), FONT, 0.5, INK, 1, cv2.LINE_AA)
    cv2.rectangle(picture, (_LEFT_PX, _TOP_PX), (right, bottom), INK, 1)
    cv2.putText(picture, "loss", (14, _TOP_PX - 10), FONT, 0.55, INK, 1, cv2.LINE_AA)
    cv2.putText(picture, "megapixels learned from", (right - 220, _HEIGHT_PX - 12), FONT, 0.55, INK, 1, cv2.LINE_AA)


def _round_values(span: tuple[float, float]) -> list[float]:
    """1, 2 and 5 times powers of ten within a span of logarithms; finer where there are too few."""
    powers = range(int(np.floor(span[0])), int(np.ceil(span[1])) + 1)
    for steps in ((1.0, 2.0, 5.0), tuple(np.arange(1.0, 10.0, 0.5)), tuple(np.arange(1.0, 10.0, 0.1))):
        found = [float(f"{m * 10.0**p:.6g}") for p in powers for m in steps if span[0] <= np.log10(m * 10.0**p) <= span[1]]
        if len(found) >= 3:
            break
    return found[:: max(len(found) // 8, 1)]
