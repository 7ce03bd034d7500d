"""HIDEF: holographic imaging with deep learning for extended focus.

One pass turns the back-propagated hologram into the field of all particles in focus, phase recovered, twin image gone
(Wu et al., Optica 5, 704 (2018), doi:10.1364/OPTICA.5.000704).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from models.training.loop import Schedule, fill_pool, train
from models.training.pool import Pool
from models.training.unet import build_unet

__all__ = ["build", "run_training"]

WIDTHS = (32, 56, 96, 160)
TILE_PX = 256
POOL_CAPACITY = 4096


def build() -> Any:
    """The `small` network of the family."""
    return build_unet(WIDTHS)


def run_training(work: Path, schedule: Schedule, seed: int = 1, deadline_s: float = float("inf")) -> None:
    """Train in `work`, rendering beside it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    shape = (TILE_PX, TILE_PX, 5)
    renderer = fill_pool("models.recipes.hidef_scenes", work / "pool", POOL_CAPACITY, shape, seed)
    try:
        train(build, Pool(work / "pool", POOL_CAPACITY, shape), work, schedule, seed, deadline_s)
    finally:
        renderer.terminate()
        renderer.wait()
