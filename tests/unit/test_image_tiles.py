"""A network of images over images of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis.image_tiles import run_image


@dataclass
class Sum:
    """Both channels added up and twice that: what it says of a pixel depends on that pixel alone."""

    tile_px: int = 64
    multiple_px: int = 16
    margin_px: int = 8
    passes: int = 0

    def run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.multiple_px:
            assert tile.shape[0] % self.multiple_px == tile.shape[1] % self.multiple_px == 0
        else:
            assert tile.shape[:2] == (self.tile_px, self.tile_px)
        self.passes += 1
        total = tile.sum(axis=-1)
        return np.stack([total, 2 * total, -total], axis=-1)


@pytest.mark.parametrize("shape", [(64, 64), (33, 150), (7, 5), (700, 90)])
@pytest.mark.parametrize("multiple_px", [16, 0])
def test_every_pixel_of_an_image_of_any_size_is_answered(shape: tuple[int, int], multiple_px: int) -> None:
    image = np.random.default_rng(2).normal(size=(*shape, 2)).astype(np.float32)
    network = Sum(multiple_px=multiple_px)
    found = run_image(image, network)
    total = image.sum(axis=-1)
    assert found.shape == (*shape, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack([total, 2 * total, -total], axis=-1), rtol=1e-5, atol=1e-5)


def test_large_images_are_run_in_tiles() -> None:
    network = Sum(multiple_px=0)
    run_image(np.zeros((150, 64, 2), np.float32), network)
    assert network.passes == 3
