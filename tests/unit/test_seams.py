"""The shipped network by tiles of its own size is as good as in one pass over the whole field, and no seam shows."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from device.analysis.reconstruct import run_tiles
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate
from device.rig.models import ARTEFACTS
from device.twin.forward import object_field, thin_hologram
from device.twin.illumination import Illumination
from device.twin.scene import draw_particle

GEOMETRY = Geometry(0.85, 1.12, 500.0)
SHAPE = (400, 570)


def test_no_seam_shows() -> None:
    rng = np.random.default_rng(4)
    field_um = (SHAPE[0] * GEOMETRY.pitch_um, SHAPE[1] * GEOMETRY.pitch_um)
    particles = [
        draw_particle(rng, name, field_um=field_um, depth_um=(450.0, 550.0), voxel_um=GEOMETRY.pitch_um)
        for name in ("ragweed", "alternaria", "cladosporium") * 7
    ]
    light = Illumination(0.85, 0.008, 100.0, 40000.0)
    start = backpropagate(thin_hologram(SHAPE, GEOMETRY.pitch_um, particles, light), GEOMETRY)
    truth = object_field(SHAPE, particles, light)
    bundle, interpreter = ModelStore(ARTEFACTS).open("hidef")
    whole = HidefNetwork(interpreter, bundle.manifest)
    own = msgspec.structs.replace(bundle.manifest, input=msgspec.structs.replace(bundle.manifest.input, multiple_px=0))
    one, tiled = run_tiles(start, whole), run_tiles(start, replace(whole, manifest=own))
    assert one.tiles == 1
    assert tiled.tiles == 6
    # A tile's network sees less around it, and answers a little differently; no worse.
    errors = [np.linalg.norm(r.field - truth) for r in (one, tiled)]
    assert errors[1] < 1.03 * errors[0]
    # Across a seam the difference of the two goes on: no pixel jumps more than the fields themselves do.
    apart = tiled.field - one.field
    jumps = [max(float(np.abs(np.diff(f, axis=k)).max()) for k in (0, 1)) for f in (apart, one.field)]
    assert jumps[0] < 0.5 * jumps[1]
