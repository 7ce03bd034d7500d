"""The two sizes of HIDEF's network."""

from __future__ import annotations

from models.training.unet import UNet

__all__ = ["SAMPLE_SHAPE", "SIZES", "TILE_PX"]

SIZES = {"hidef": UNet((32, 56, 96, 160)), "hidef-small": UNet((16, 32, 56, 96))}
"""`hidef` for a Pi 5 or a Jetson, `hidef-small` for a Pi 4 or a Zero 2."""

TILE_PX = 256
SAMPLE_SHAPE = (TILE_PX, TILE_PX, 5)
"""Start field (2), object field (2), weight."""
