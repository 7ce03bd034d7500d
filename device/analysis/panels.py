"""A picture of one frame: hologram, focus, phase, and what was found, for eyes that never saw a hologram."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.drawing import FONT, GAP_PX, INK, PANE_PX, PAPER, Picture, phase_colours, scale_bar
from device.analysis.gallery import close_ups
from device.analysis.pipeline import FrameAnalysis
from device.analysis.scene import LEAST_EXPLAINED, FieldScene
from device.frames import Hologram
from device.records import Classification, Particle

__all__ = ["frame_panel"]


# Okabe and Ito's palette, safe for colour-blind readers; BGR.
_PALETTE = (
    (178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204), (0, 159, 230), (233, 180, 86), (60, 60, 60), (66, 160, 180),
)  # fmt: skip
_DOUBTED = (0, 94, 213)
_UNKNOWN = (40, 40, 150)
"""What is none of the classes has a colour that none of them has."""


def frame_panel(hologram: Hologram, analysis: FrameAnalysis, labels: tuple[str, ...] = ()) -> Picture:
    """uint8 BGR picture: recorded hologram | in focus, with boxes | phase; a legend below in plain words."""
    shape = hologram.intensity.shape
    field = analysis.reconstruction.field if analysis.reconstruction else np.ones(shape, np.complex64)
    scale = PANE_PX / max(shape)
    pitch_um = hologram.geometry.object_pitch_um
    colours = _colours(analysis.classifications, labels)
    amplitude, delay = _grey(np.abs(field), 0.2, 1.5), phase_colours(np.angle(field))
    recorded = _pane(_grey(hologram.intensity, 0.4, 1.8), scale)
    focused, phase = _pane(amplitude, scale), _pane(delay, scale)
    doubted = _tinted(recorded, analysis.scene)
    for particle, name in zip(analysis.particles, analysis.classifications, strict=True):
        _box(focused, particle, name, colours[name.label], scale)
    for pane in (recorded, focused, phase):
        scale_bar(pane, pitch_um / scale)
    unnamed = any(name.unnamed for name in analysis.classifications)
    found = "in focus, particles sized, not named" if unnamed else "in focus, particles named and sized"
    titles = ("what the sensor saw", found, "phase: how much the light was delayed")
    row = _row([*(_titled(p, t) for p, t in zip((recorded, focused, phase), titles, strict=True)), _phase_key(phase.shape[0])])
    width = row.shape[1]
    gallery = close_ups(analysis, amplitude, delay, colours, width)
    return np.vstack([_heading(hologram, analysis, width), row, gallery, _legend(analysis, colours, width, doubted=doubted)])


def _tinted(pane: Picture, scene: FieldScene | None) -> bool:
    """Colour where what was found does not predict the fringes; whether there is such a place."""
    if scene is None:
        return False
    doubted = (scene.confidence < LEAST_EXPLAINED).astype(np.uint8)
    there = cv2.resize(doubted, (pane.shape[1], pane.shape[0]), interpolation=cv2.INTER_NEAREST).astype(bool)
    pane[there] = (0.7 * pane[there] + 0.3 * np.array(_DOUBTED)).astype(np.uint8)
    return bool(doubted.any())


def _phase_key(height: int) -> Picture:
    """What the colours of the phase mean, from half a wave behind to half a wave ahead."""
    key = np.full((height + 30, 92, 3), PAPER, np.uint8)
    ramp = phase_colours(np.linspace(np.pi, -np.pi, height)[:, None])
    key[30:, :16] = cv2.resize(ramp, (16, height), interpolation=cv2.INTER_LINEAR)
    for text, y in (("+1/2 wave", 40), ("no delay", 34 + height // 2), ("-1/2 wave", height + 28)):
        cv2.putText(key, text, (20, y), FONT, 0.4, INK, 1, cv2.LINE_AA)
    return key


def _grey(values: NDArray[np.floating], low: float, high: float) -> Picture:
    grey = np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def _pane(picture: Picture, scale: float) -> Picture:
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)


def _colours(names: tuple[Classification, ...], labels: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
    ordered = [*labels, *sorted({n.label for n in names} - set(labels))]
    return {label: _PALETTE[k % len(_PALETTE)] for k, label in enumerate(ordered)} | {"unknown": _UNKNOWN}


def _box(pane: Picture, particle: Particle, name: Classification, colour: tuple[int, int, int], scale: float) -> None:
    x, y, width, height = particle.bbox_px
    a = (round((x - 3) * scale), round((y - 3) * scale))
    b = (round((x + width + 3) * scale), round((y + height + 3) * scale))
    cv2.rectangle(pane, a, b, colour, 2, cv2.LINE_AA)
    text = f"{name.label} {particle.esd_um:.0f}" if name.label != "particle" else f"{particle.esd_um:.0f}"
    (wide, _), _ = cv2.getTextSize(text, FONT, 0.42, 1)
    left, line = max(min(a[0], pane.shape[1] - wide - 4), 2), a[1] - 5 if a[1] > 18 else b[1] + 14
    cv2.rectangle(pane, (left - 2, line - 11), (left + wide + 2, line + 3), (255, 255, 255), -1)
    cv2.putText(pane, text, (left, line), FONT, 0.42, colour, 1, cv2.LINE_AA)


def _titled(pane: Picture, title: str) -> Picture:
    head = np.full((30, pane.shape[1], 3), PAPER, np.uint8)
    cv2.putText(head, title, (2, 21), FONT, 0.55, INK, 1, cv2.LINE_AA)
    return np.vstack([head, pane])


def _row(panes: list[Picture]) -> Picture:
    gap = np.full((panes[0].shape[0], GAP_PX, 3), PAPER, np.uint8)
    parts: list[Picture] = [gap]
    for pane in panes:
        parts += [pane, gap]
    return np.hstack(parts)


def _heading(hologram: Hologram, analysis: FrameAnalysis, width: int) -> Picture:
    head = np.full((44, width, 3), PAPER, np.uint8)
    found = len(analysis.particles)
    said = "nothing found" if found == 0 else f"{found} particle{'s' if found != 1 else ''}"
    if analysis.unchecked:
        said += ", too many to be checked"
    if analysis.scene is not None and analysis.scene.fails:
        said += ", not a particle field"
    if not analysis.analysed:
        said = f"not analysed, {analysis.obstructed:.0%} of the field is blocked"
    recorded = f"{hologram.geometry.distance_um / 1000:.3g} mm from the sensor, {hologram.geometry.wavelength_um * 1000:.0f} nm"
    text = f"{hologram.name or 'frame'}: {said}   ({recorded})"
    cv2.putText(head, text, (GAP_PX, 31), FONT, 0.7, INK, 2, cv2.LINE_AA)
    return head


def _legend(analysis: FrameAnalysis, colours: dict[str, tuple[int, int, int]], width: int, *, doubted: bool) -> Picture:
    foot = np.full((64, width, 3), PAPER, np.uint8)
    x = GAP_PX
    names = [n.label for n in analysis.classifications]
    for label in sorted(set(names)):
        text = f"{label}: {names.count(label)}"
        cv2.rectangle(foot, (x, 12), (x + 16, 28), colours[label], -1)
        cv2.putText(foot, text, (x + 24, 26), FONT, 0.55, INK, 1, cv2.LINE_AA)
        x += 24 + 11 * len(text) + 30
    note = "numbers beside the boxes: diameter in micrometres of the disc of the same area"
    if doubted:
        note += "; orange on the left: fringes that what was found does not predict"
    cv2.putText(foot, note, (GAP_PX, 52), FONT, 0.45, (110, 110, 110), 1, cv2.LINE_AA)
    return foot
