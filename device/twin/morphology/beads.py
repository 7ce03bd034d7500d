"""Microspheres and their clusters: polystyrene, in the adhesive or in oil (contrast 0.11 to 0.12)."""

from __future__ import annotations

import numpy as np

from device.twin.morphology.shapes import Body, Morphology, around

__all__ = ["BEADS"]


def _bead(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Polystyrene microsphere."""
    r = diameter_um / 2
    contrast = around(rng, 0.12, 0.05)
    return [Body((0, 0, 0), (r, r, r), None, contrast, 0.0, contrast, 1.02)]


def _dimer(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Two touching microspheres."""
    r = diameter_um / 2
    contrast = around(rng, 0.12, 0.05)
    return [Body((s * r, 0.0, 0.0), (r, r, r), None, contrast, 0.0, contrast, 1.02) for s in (-1, 1)]


def _cluster(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Touching microspheres lying on the window."""
    r = diameter_um / 2
    contrast = around(rng, 0.12, 0.05)
    places = [np.zeros(3)]
    wanted = int(rng.integers(2, 6))
    while len(places) < wanted:
        angle = rng.uniform(0, 2 * np.pi)
        candidate = places[int(rng.integers(len(places)))] + 2 * r * np.array([np.cos(angle), np.sin(angle), 0])
        if all(np.linalg.norm(candidate - other) > 1.95 * r for other in places):
            places.append(candidate)
    middle = np.mean(places, axis=0)
    return [Body(tuple((p - middle).tolist()), (r, r, r), None, contrast, 0.0, contrast, 1.02) for p in places]


BEADS = (
    Morphology("bead", _bead, (10.0, 0.03), (1, 60)),
    Morphology("dimer", _dimer, (10.0, 0.03), (1, 60)),
    Morphology("cluster", _cluster, (10.0, 0.03), (1, 60), flat=True),
)
"""Single beads, dimers, clusters of two to five (the diameter is a bead's)."""
