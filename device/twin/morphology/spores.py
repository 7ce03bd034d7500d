"""Mould spores, in an adhesive of index 1.47 under air.

Sizes after Ellis, Dematiaceous Hyphomycetes (1971), Domsch, Gams and Anderson, Compendium of Soil Fungi (2007), and the
airborne counts of Lacey and West, The Air Spora (2006), doi:10.1007/978-0-387-30253-9. Dark walls hold melanin, which
absorbs.
"""

from __future__ import annotations

import numpy as np

from device.twin.morphology.shapes import Body, Morphology, around

__all__ = ["SPORES"]


def _alternaria(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Alternaria: dark, club-shaped, in transverse cells that taper into a beak."""
    cells = int(rng.integers(3, 6))
    length = diameter_um * 1.9
    radius = 0.62 * length / cells
    contrast = around(rng, 0.030, 0.15) + around(rng, 0.009, 0.3) * 1j
    bodies: list[Body] = []
    for k in range(cells):
        taper = 1 - 0.55 * (k / (cells - 1)) ** 1.5
        x = (k / (cells - 1) - 0.5) * (length - 2 * radius)
        r = radius * taper
        bodies.append(Body((x, 0, 0), (1.05 * r, r, r), None, contrast, 0.15, contrast * 1.5, 1.05))
    return bodies


def _cladosporium(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Cladosporium: small lemon-shaped to cylindrical conidia, single or two-celled, olive."""
    r = diameter_um / 2
    aspect = around(rng, 1.7, 0.2)
    contrast = around(rng, 0.035, 0.15) + around(rng, 0.004, 0.3) * 1j
    a, b = r * aspect**0.5, r / aspect**0.5
    return [Body((0, 0, 0), (a, b, b), None, contrast, 0.1, contrast * 1.4, 1.05)]


def _penicillium(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Aspergillus/Penicillium type: a chain of small round conidia."""
    r = diameter_um / 2
    contrast = around(rng, 0.045, 0.15) + 0.002j
    bodies: list[Body] = []
    place, heading = np.zeros(3), rng.normal(size=3)
    for _ in range(int(rng.integers(2, 8))):
        bodies.append(Body((float(place[0]), float(place[1]), float(place[2])), (r, r, r), None, contrast, 0.0, contrast, 1.05))
        heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.25, 3)
        place = place + heading / np.linalg.norm(heading) * 1.9 * r
    return bodies


SPORES = (
    Morphology("alternaria", _alternaria, (15.0, 0.18), (9, 26)),
    Morphology("cladosporium", _cladosporium, (6.5, 0.22), (3.5, 12)),
    Morphology("penicillium", _penicillium, (3.5, 0.12), (2.5, 5)),
)
"""Alternaria, Cladosporium, Aspergillus/Penicillium chains."""
