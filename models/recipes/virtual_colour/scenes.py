"""What virtual colour learns from: sections of ellipses and threads."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from models.recipes.virtual_colour.chemistry import Section, density, log_deviation

__all__ = ["samples"]

_TILE_PX, _PAINTED = 96, 4
Maps = dict[str, NDArray[np.float32]]


def _cover(maps: Maps, which: str, mask: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Lay a structure over what is there: its density where it covers, its own chemistry where it covers most."""
    maps[which] = (maps[which] * (1 - mask) + density(rng) * mask).astype(np.float32)
    maps[f"{which}_hidden"] = np.where(mask > 0.5, np.float32(rng.normal()), maps[f"{which}_hidden"])


def _ellipse(centre: NDArray[np.float64], axes: NDArray[np.float64], turned: float) -> NDArray[np.float32]:
    y, x = np.mgrid[:_TILE_PX, :_TILE_PX] - centre[:, None, None]
    u, v = (x * np.cos(turned) + y * np.sin(turned)) / axes[0], (y * np.cos(turned) - x * np.sin(turned)) / axes[1]
    return np.clip((1 - np.hypot(u, v)) * axes.min() + 0.5, 0, 1).astype(np.float32)


def _thread(rng: np.random.Generator) -> NDArray[np.float32]:
    start, angle, bend = rng.uniform(0, _TILE_PX, 2), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.01)
    along = np.linspace(-70, 70, 30)
    points = start + np.stack([along * np.cos(angle + bend * along), along * np.sin(angle + bend * along)], axis=-1)
    canvas = np.zeros((_TILE_PX * _PAINTED,) * 2, np.uint8)
    cv2.polylines(canvas, [(points * _PAINTED).astype(np.int32)], isClosed=False, color=255, thickness=int(rng.integers(8, 24)))
    return cv2.resize(canvas, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)


def _section(rng: np.random.Generator) -> Section:
    names = ("nuclear", "plasma", "pigment", "nuclear_hidden", "plasma_hidden")
    maps: Maps = {name: np.zeros((_TILE_PX, _TILE_PX), np.float32) for name in names}
    for _ in range(int(rng.integers(3, 16))):
        centre, axes, turned = rng.uniform(0, _TILE_PX, 2), rng.uniform(7, 22, 2), rng.uniform(0, np.pi)
        _cover(maps, "plasma", _ellipse(centre, axes, turned), rng)
        if rng.random() < 0.85:
            _cover(maps, "nuclear", _ellipse(centre + rng.normal(0, 2, 2), axes * rng.uniform(0.25, 0.5, 2), turned), rng)
    for _ in range(int(rng.integers(0, 7))):
        _cover(maps, "plasma", _thread(rng), rng)
    for _ in range(int(rng.integers(0, 12))):
        maps["pigment"] += float(rng.uniform(0.1, 0.8)) * _ellipse(rng.uniform(0, _TILE_PX, 2), rng.uniform(1, 4, 2), 0.0)
    return Section(**maps)


def samples(seed: int) -> Iterator[NDArray[np.float32]]:
    """Endless batches float32 [1, _TILE_PX, _TILE_PX, 13]: measured (6), colours less 1 (3), their deviations (3), weight."""
    rng = np.random.default_rng(seed)
    while True:
        section = _section(rng)
        measured = section.measured(rng, float(np.exp(rng.uniform(np.log(0.005), np.log(0.04)))), float(rng.uniform(0.3, 1.0)))
        _, deviation = section.known()
        weight = np.ones((_TILE_PX, _TILE_PX, 1), np.float32)
        yield np.concatenate([measured, section.colours() - 1, log_deviation(deviation), weight], axis=-1)[None]
