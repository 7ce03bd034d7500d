"""Pollen, in an adhesive of index 1.47 under air.

Sizes and ornament after Hesse et al., Pollen Terminology: An Illustrated Handbook (Springer, 2009), and Halbritter et al.,
Illustrated Pollen Terminology (Springer, 2018), doi:10.1007/978-3-319-71365-6; hydrated diameters after Beug, Leitfaden der
Pollenbestimmung (Pfeil, 2004). Walls are 1.5 to 2 um thick. Indices are assumed, not measured: exine about 1.52 to 1.55 and
content about 1.48 to 1.49, so that the contrasts to the adhesive are effective values.
"""

from __future__ import annotations

import numpy as np

from device.twin.morphology.shapes import Body, Morphology, around, bumps, furrows, sphere_points

__all__ = ["POLLEN"]

_EQUATOR3 = np.array([[np.cos(a), np.sin(a), 0] for a in (0.0, 2.0944, 4.1888)], np.float32)


def _birch(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Betula: suboblate, three protruding pores on the equator, smooth."""
    r = diameter_um / 2
    relief = bumps(_EQUATOR3, around(rng, 0.16, 0.2), 22.0)
    contrast = around(rng, 0.013, 0.15) + 0.0006j
    return [Body((0, 0, 0), (r, r, 0.85 * r), relief, contrast, 0.10, around(rng, 0.055, 0.15) + 0.003j, 1.3)]


def _grass(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Poaceae: spheroidal, one annulate pore, thin wall, starch-filled."""
    r = diameter_um / 2
    relief = bumps(np.array([[1, 0, 0]], np.float32), -around(rng, 0.12, 0.2), 40.0)
    stretch = around(rng, 1.0, 0.06)
    contrast = around(rng, 0.012, 0.15) + 0.0005j
    return [Body((0, 0, 0), (r * stretch, r, r), relief, contrast, 0.05, around(rng, 0.050, 0.15) + 0.002j, 1.1)]


def _oak(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Quercus: prolate, three deep furrows, verrucate."""
    r = diameter_um / 2
    relief = furrows(3, around(rng, 0.35, 0.15), 0.32)
    contrast = around(rng, 0.014, 0.15) + 0.0008j
    return [Body((0, 0, 0), (r, r, 1.2 * r), relief, contrast, 0.12, around(rng, 0.055, 0.15) + 0.004j, 1.1)]


def _ragweed(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Ambrosia: spheroidal, echinate, with many short conical spines and a thick wall."""
    r = diameter_um / 2 * 0.9
    relief = bumps(sphere_points(int(rng.integers(50, 80))), around(rng, 0.20, 0.15), 90.0)
    contrast = around(rng, 0.013, 0.15) + 0.0008j
    return [Body((0, 0, 0), (r, r, r), relief, contrast, 0.16, around(rng, 0.060, 0.15) + 0.005j, 1.3)]


def _olive(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Olea europaea: suboblate, three furrows, coarse reticulate wall, thick."""
    r = diameter_um / 2
    count = int(rng.integers(110, 150))
    net, colpi = bumps(sphere_points(count), around(rng, 0.07, 0.2), 160.0), furrows(3, around(rng, 0.18, 0.15), 0.22)
    contrast = around(rng, 0.013, 0.15) + 0.0008j
    return [
        Body(
            (0, 0, 0), (r, r, 0.92 * r), lambda unit: net(unit) + colpi(unit), contrast, 0.17,
            around(rng, 0.060, 0.15) + 0.004j, 1.15,
        )
    ]  # fmt: skip


def _bermuda(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Cynodon dactylon: small, spheroidal grass pollen, one annulate pore, thin granular wall."""
    r = diameter_um / 2
    pore = bumps(np.array([[1, 0, 0]], np.float32), -around(rng, 0.14, 0.2), 30.0)
    contrast = around(rng, 0.012, 0.15) + 0.0005j
    stretch = around(rng, 1.0, 0.04)
    return [Body((0, 0, 0), (r * stretch, r, r), pore, contrast, 0.07, around(rng, 0.050, 0.15) + 0.002j, 1.1)]


POLLEN = (
    Morphology("birch", _birch, (22.0, 0.07), (17, 28)),
    Morphology("grass", _grass, (33.0, 0.12), (22, 48)),
    Morphology("oak", _oak, (27.0, 0.08), (20, 36)),
    Morphology("ragweed", _ragweed, (19.0, 0.06), (15, 24)),
    Morphology("olive", _olive, (22.0, 0.07), (17, 28)),
    Morphology("bermuda-grass", _bermuda, (25.0, 0.08), (19, 32)),
)
"""Birch, grasses (Poaceae), oak, ragweed, olive, Bermuda grass."""
