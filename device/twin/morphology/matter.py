"""What else the air carries: mineral dust and soot, fibres, droplets."""

from __future__ import annotations

import numpy as np

from device.twin.morphology.shapes import Body, Morphology, around, rough

__all__ = ["MATTER"]


def _dust(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Mineral dust and soot: angular, from clear quartz to opaque."""
    r = diameter_um / 2
    axes = r * np.exp(rng.normal(0, 0.25, 3))
    opaque = rng.random() < 0.6
    contrast = complex(rng.uniform(0.04, 0.12), rng.uniform(0.03, 0.15) if opaque else rng.uniform(0, 0.004))
    shape = (float(axes[0]), float(axes[1]), float(axes[2]))
    return [Body((0, 0, 0), shape, rough(rng, 0.45), contrast, 0.0, contrast, 1.6)]


def _fibre(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Textile and plant fibre: a bent cylinder many times as long as thick (cotton, cellulose, index 1.53 to 1.58).

    Source: Dris et al., Environ. Pollut. 221, 453 (2017), doi:10.1016/j.envpol.2016.12.013 (length 50 um and more).
    """
    radius = diameter_um / 2
    length = diameter_um * rng.uniform(8, 16)
    pieces = max(int(length / (0.6 * radius)), 8)
    contrast = complex(around(rng, 0.06, 0.3), rng.uniform(0.0, 0.004))
    bend = rng.normal(0, 0.8)
    along = np.linspace(-0.5, 0.5, pieces)
    return [
        Body(
            (float(length * s), float(bend * length * 0.3 * (s**2 - 1 / 12)), 0.0),
            (1.3 * radius, radius, radius),
            None,
            contrast,
            0.0,
            contrast,
            1.02,
        )
        for s in along
    ]


def _droplet(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Water droplet that sank into the adhesive: a sphere of lower index (1.33 in 1.47)."""
    r = diameter_um / 2
    flatten = rng.uniform(0.85, 1.0)
    contrast = complex(-0.14 * around(rng, 1.0, 0.02), 0.0)
    return [Body((0, 0, 0), (r, r, r * flatten), None, contrast, 0.0, contrast, 1.02)]


MATTER = (
    Morphology("dust", _dust, (9.0, 0.5), (3, 40)),
    Morphology("fibre", _fibre, (8.0, 0.25), (4, 16)),
    Morphology("droplet", _droplet, (12.0, 0.4), (3, 40), flat=True),
)
"""Mineral dust and soot, fibres (the diameter is the thickness), droplets."""
