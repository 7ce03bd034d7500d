"""The bead classifier: single beads, clumps by their number of beads, dust, on the assay's slide (instrument
`assay-ov9281-850nm`)."""

from __future__ import annotations

import numpy as np

from device.optics.geometry import Geometry
from device.twin.morphology import MORPHOLOGIES, Body, Morphology
from device.twin.morphology.shapes import around
from models.training.classify import ClassifierRecipe
from models.training.frames import Bench
from models.training.strangers import strangers

__all__ = ["RECIPE", "clump"]


def clump(rng: np.random.Generator, diameter_um: float, count: int) -> list[Body]:
    """So many equal polystyrene beads that lie on the slide and touch."""
    r = diameter_um / 2
    contrast = around(rng, 0.12, 0.05)
    places = [np.zeros(3)]
    while len(places) < count:
        angle = rng.uniform(0, 2 * np.pi)
        candidate = places[int(rng.integers(len(places)))] + 2 * r * np.array([np.cos(angle), np.sin(angle), 0])
        if all(np.linalg.norm(candidate - other) > 1.95 * r for other in places):
            places.append(candidate)
    middle = np.mean(places, axis=0)
    return [Body(tuple((p - middle).tolist()), (r, r, r), None, contrast, 0.0, contrast, 1.02) for p in places]


_SIZE = {"diameter_um": (10.0, 0.03), "limits_um": (9.0, 11.0)}

RECIPE = ClassifierRecipe(
    name="beads",
    classes=(
        Morphology("bead", lambda rng, d: clump(rng, d, 1), **_SIZE, flat=True),
        Morphology("cluster", lambda rng, d: clump(rng, d, int(rng.integers(4, 9))), **_SIZE, flat=True),
        Morphology("dimer", lambda rng, d: clump(rng, d, 2), **_SIZE, flat=True),
        MORPHOLOGIES["dust"],
        Morphology("trimer", lambda rng, d: clump(rng, d, 3), **_SIZE, flat=True),
    ),
    others={strangers((0.015, 0.25), (5.0, 90.0)): 1.0},
    never_seen=tuple(MORPHOLOGIES[name] for name in ("droplet", "ragweed", "euglena", "pennate-diatom")),
    look_alikes=(),
    bench=Bench(
        geometry=Geometry(0.85, 3.0, 1000.0), depth_um=(940.0, 1060.0), bandwidth_um=(0.015, 0.035),
        source_diameter_um=(60.0, 120.0), source_distance_um=60000.0, full_well_e=7000.0, fill=(0.2, 0.65),
        distance_error_um=15.0, finer=(2, 3), per_field=48, planes=4,
    ),
    optics={
        "wavelength_um": (0.82, 0.88), "pitch_um": (2.9, 3.1), "distance_um": (900.0, 1100.0), "defocus_um": 60.0,
        "defocus_number": (75.0, 115.0),
    },
    frames={"train": 90, "calibration": 14, "test": 18},
    limits="A bead is three pixels wide. Clumps lie flat on the slide; beads of 10 um only; 'cluster' is four to eight beads.",
)  # fmt: skip
