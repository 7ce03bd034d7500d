"""What the preview learns from: HIDEF's scenes of one instrument, the hologram itself instead of its refocused field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from device.instrument import load_instrument
from models.recipes.hidef.scenes import SceneRange, recordings
from models.recipes.hidef.transfer import instrument_scenes

__all__ = ["INSTRUMENT", "samples", "scene_range"]

INSTRUMENT = "bioaerosol-imx219-850nm"
_TILE_PX = 256
_EDGE_PX = 40
"""Along a tile's border half the fringes lie outside it; what is asked there is little."""
_EDGE_WEIGHT = 0.2


def scene_range() -> SceneRange:
    """The instrument's scenes: its light, its well, its pixels the only limit; particles over its depth and a fifth more."""
    instrument = load_instrument(INSTRUMENT)
    lamp, optics, sensor = instrument.lamp, instrument.optics, instrument.sensor
    scenes = instrument_scenes(instrument.geometry, optics.depth_um, (0.1 * sensor.full_well_e, sensor.full_well_e))
    source_um = lamp.source_distance_um or 1e9
    blur_px = lamp.source_diameter_um * optics.distance_um / (source_um - optics.distance_um) / sensor.pitch_um
    return replace(
        scenes, blur_px=1.3 * blur_px, relative_bandwidth=1.3 * lamp.bandwidth_um / lamp.wavelength_um, without_cutoff=1.0
    )


def samples(seed: int) -> Iterator[NDArray[np.float32]]:
    """Endless batches float32 [0 to 4, 256, 256, 4]: amplitude less 1; object field's real part less 1 and imaginary part; weight."""
    rng = np.random.default_rng((seed, 6))
    edge = np.full((_TILE_PX, _TILE_PX), _EDGE_WEIGHT, np.float32)
    edge[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX] = 1
    for scene in recordings(seed, scene_range()):
        near = scipy.ndimage.binary_dilation(np.abs(scene.target - 1) > 0.15, iterations=3)
        weight = np.ones(near.shape, np.float32) if scene.tissue else 1 + 5 * near.astype(np.float32)
        amplitude = np.sqrt(scene.recorded / max(float(scene.recorded.mean()), 1e-3)) - 1
        whole = np.stack([amplitude, scene.target.real - 1, scene.target.imag, weight], axis=-1).astype(np.float32)
        tiles = [whole[a : a + _TILE_PX, b : b + _TILE_PX] for a in (0, _TILE_PX) for b in (0, _TILE_PX)]
        # Empty tiles teach little after the first: keep one in five.
        kept = [t for t in tiles if scene.tissue or (t[..., 3] > 1).any() or rng.random() < 0.2]
        for tile in kept:
            tile[..., 3] *= edge
        yield np.stack(kept) if kept else np.zeros((0, _TILE_PX, _TILE_PX, 4), np.float32)
