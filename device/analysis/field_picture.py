"""Amplitude, phase and confidence of a field, or slices of an index, as one picture, with scale bar and colour bars."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.drawing import FONT, GAP_PX, INK, PANE_PX, PAPER, Picture, phase_colours, scale_bar

__all__ = ["field_picture", "index_picture"]

_BAR_PX = 16
_LABELS_PX = 64


def field_picture(
    field: NDArray[np.complexfloating], pitch_um: float, title: str, confidence: NDArray[np.floating] | None = None,
    ambiguity: NDArray[np.floating] | None = None,
) -> Picture:  # fmt: skip
    """uint8 BGR picture of a complex [height, width] field, `pitch_um` at the object plane: amplitude | phase | confidence | ambiguity.

    `confidence` [rows, columns] of tiles, 0 to 1; NaN, shown as paper, where nothing stands out. `ambiguity` [height, width]: by how
    much another field that explains the hologram differs, in units of the light.
    """
    scale = PANE_PX / max(field.shape)
    amplitude, phase = np.abs(field), np.angle(field)
    low, high = 0.0, max(float(np.quantile(amplitude, 0.999)), 1e-6)
    bright = _pane(_grey(amplitude, low, high), scale, pitch_um)
    delayed = _pane(phase_colours(phase), scale, pitch_um)
    panes = [
        _titled(bright, _grey(_ramp(low, high), low, high), (low, high), "amplitude"),
        _titled(delayed, phase_colours(_ramp(-np.pi, np.pi)), (-np.pi, np.pi), "phase (rad)"),
    ]
    if confidence is not None:
        sure = _grey(np.nan_to_num(confidence), 0, 1)
        sure[np.isnan(confidence)] = PAPER
        size = (bright.shape[1], bright.shape[0])
        tiles = np.asarray(cv2.resize(sure, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        panes.append(_titled(tiles, _grey(_ramp(0, 1), 0, 1), (0, 1), "share of unseen fringes predicted"))
    if ambiguity is not None:
        unsure = _pane(_grey(ambiguity, 0, 1), scale, pitch_um)
        panes.append(_titled(unsure, _grey(_ramp(0, 1), 0, 1), (0, 1), "another field differs by"))
    return _headed(np.hstack(panes), title)


def index_picture(index: NDArray[np.floating], pitch_um: float, title: str) -> Picture:
    """uint8 BGR picture of a refractive index [z, y, x]: its middle slices, across the light and along it twice."""
    middle = [n // 2 for n in index.shape]
    slices = {"y over x": index[middle[0]], "z over x": index[:, middle[1]], "y over z": index[:, :, middle[2]].T}
    low, high = float(index.min()), float(index.max())
    high = max(high, low + 1e-6)
    scale = PANE_PX / max(index.shape)
    bar = _grey(_ramp(low, high), low, high)
    panes = [_titled(_pane(_grey(i, low, high), scale, pitch_um), bar, (low, high), name) for name, i in slices.items()]
    return _headed(np.hstack(panes), title)


def _headed(row: Picture, title: str) -> Picture:
    head = np.full((36, row.shape[1], 3), PAPER, np.uint8)
    cv2.putText(head, title, (GAP_PX, 25), FONT, 0.6, INK, 1, cv2.LINE_AA)
    return np.vstack([head, row])


def _ramp(low: float, high: float) -> NDArray[np.float64]:
    return np.linspace(high, low, 256)[:, None]


def _grey(values: NDArray[np.floating], low: float, high: float) -> Picture:
    grey = np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def _pane(picture: Picture, scale: float, pitch_um: float) -> Picture:
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    pane = np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)
    scale_bar(pane, pitch_um / scale)
    return pane


def _titled(pane: Picture, ramp: Picture, limits: tuple[float, float], title: str) -> Picture:
    """The pane with its title above and its colour bar at the right."""
    height, width = pane.shape[:2]
    canvas = np.full((height + 30 + GAP_PX, width + GAP_PX + 8 + _BAR_PX + _LABELS_PX, 3), PAPER, np.uint8)
    cv2.putText(canvas, title, (GAP_PX, 21), FONT, 0.55, INK, 1, cv2.LINE_AA)
    canvas[30 : 30 + height, GAP_PX : GAP_PX + width] = pane
    left = GAP_PX + width + 8
    canvas[30 : 30 + height, left : left + _BAR_PX] = cv2.resize(ramp, (_BAR_PX, height), interpolation=cv2.INTER_LINEAR)
    for value, y in ((limits[1], 42), (sum(limits) / 2, 34 + height // 2), (limits[0], 28 + height)):
        cv2.putText(
            canvas,
            f"{value:.3f}" if limits[1] - limits[0] < 0.1 else f"{value:.2f}",
            (left + _BAR_PX + 4, y),
            FONT,
            0.42,
            INK,
            1,
            cv2.LINE_AA,
        )
    return canvas
