"""What swims and drifts in water of index 1.33; contrasts are relative to it (index difference over 1.33).

Sizes: diatoms after Round, Crawford and Mann, The Diatoms (1990); Euglena after Leander et al. in Handbook of the Protists
(Springer, 2017), doi:10.1007/978-3-319-28149-0; Giardia cysts (8 to 14 um) and Cryptosporidium oocysts (4 to 6 um) after the US
EPA's Method 1623 (2005); rotifers after Wallace et al. in Thorp and Covich's Freshwater Invertebrates (2015). Indices: silica
frustule 1.43, cytoplasm 1.36 to 1.39 (Aas, J. Plankton Res. 18, 2223 (1996), doi:10.1093/plankt/18.12.2223).
"""

from __future__ import annotations

import numpy as np

from device.twin.morphology.shapes import Body, Morphology, around, bumps, rough

__all__ = ["WATER"]


_WATER = 1.33
_EQUATOR2 = np.array([[1, 0, 0], [-1, 0, 0]], np.float32)


def _relative(index: float, absorption: float = 0.0) -> complex:
    return complex((index - _WATER) / _WATER, absorption / _WATER)


def _pennate_diatom(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Pennate diatom: a silica boat five times as long as broad, two chloroplasts."""
    b = diameter_um / 2
    a = b * around(rng, 5.0, 0.2)
    shell = _relative(around(rng, 1.43, 0.005))
    plastid = _relative(1.41, 0.006)
    frustule = Body((0, 0, 0), (a, b, 0.8 * b), None, _relative(1.36), 0.18, shell, 1.02)
    sides = [Body((s * 0.35 * a, 0.0, 0.0), (0.25 * a, 0.55 * b, 0.4 * b), None, plastid, 0.0, plastid, 1.02) for s in (-1, 1)]
    return [frustule, *sides]


def _centric_diatom(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Centric diatom: a silica pill box."""
    r = diameter_um / 2
    shell = _relative(around(rng, 1.43, 0.005), 0.001)
    return [Body((0, 0, 0), (r, r, 0.4 * r), bumps(_ring(16), 0.04, 60.0), _relative(1.365, 0.002), 0.14, shell, 1.08)]


def _ring(count: int) -> np.ndarray:
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1).astype(np.float32)


def _euglena(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Euglena: a spindle four times as long as broad, green discs, a dark eyespot."""
    b = diameter_um / 2
    a = b * around(rng, 4.2, 0.15)
    body = Body((0, 0, 0), (a, b, b), bumps(_EQUATOR2, 0.18, 3.0), _relative(1.375, 0.001), 0.05, _relative(1.39), 1.25)
    green = _relative(1.40, 0.006)
    discs = [
        Body((float(x), float(y), float(z)), (0.22 * b, 0.22 * b, 0.22 * b), None, green, 0.0, green, 1.02)
        for x, y, z in zip(
            rng.uniform(-0.6, 0.5, 8) * a, rng.uniform(-0.45, 0.45, 8) * b, rng.uniform(-0.45, 0.45, 8) * b, strict=True
        )
    ]
    eye = _relative(1.42, 0.03)
    return [body, *discs, Body((0.75 * a, 0.2 * b, 0.0), (0.14 * b, 0.14 * b, 0.14 * b), None, eye, 0.0, eye, 1.02)]


def _giardia(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Giardia cyst: a smooth ovoid 1.4 times as long as broad, thin refractile wall, two to four nuclei."""
    b = diameter_um / 2
    a = b * around(rng, 1.4, 0.08)
    nuclei = _relative(1.40)
    inner = [
        Body((float(x), float(y), 0.0), (0.2 * b, 0.2 * b, 0.2 * b), None, nuclei, 0.0, nuclei, 1.02)
        for x, y in zip(rng.uniform(0.2, 0.55, 3) * a, rng.uniform(-0.3, 0.3, 3) * b, strict=True)
    ]
    return [Body((0, 0, 0), (a, b, b), None, _relative(around(rng, 1.375, 0.003)), 0.08, _relative(1.43), 1.02), *inner]


def _cryptosporidium(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Cryptosporidium oocyst: nearly a sphere, thick wall, a dense residual body."""
    r = diameter_um / 2
    stretch = around(rng, 1.06, 0.03)
    dense = _relative(1.42, 0.001)
    shell = Body((0, 0, 0), (r * stretch, r, r), None, _relative(around(rng, 1.385, 0.003)), 0.12, _relative(1.44), 1.02)
    return [shell, Body((0.3 * r, 0.2 * r, 0.0), (0.3 * r, 0.3 * r, 0.3 * r), None, dense, 0.0, dense, 1.02)]


def _rotifer(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Rotifer (Keratella, Brachionus): a lorica with a spined front and a gut, 80 to 200 um long."""
    b = diameter_um / 2
    a = 1.5 * b
    soft, hard = _relative(1.365, 0.0008), _relative(1.40, 0.001)
    gut = _relative(1.40, 0.005)
    lorica = Body((0, 0, 0), (a, b, 0.6 * b), bumps(_EQUATOR2[:1], 0.15, 6.0), soft, 0.08, hard, 1.2)
    spines = [
        Body((float(-1.15 * a), float(y * b), 0.0), (0.3 * a, 0.05 * b, 0.05 * b), None, hard, 0.0, hard, 1.02)
        for y in (-0.5, 0.0, 0.5)
    ]
    return [lorica, *spines, Body((0.15 * a, 0, 0), (0.4 * a, 0.35 * b, 0.3 * b), rough(rng, 0.2), gut, 0.0, gut, 1.4)]


def _bubble(_rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Air bubble: a sphere of index 1, which the water's own curvature keeps round."""
    r = diameter_um / 2
    contrast = _relative(1.0)
    return [Body((0, 0, 0), (r, r, r), None, contrast, 0.0, contrast, 1.02)]


def _bead(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Polystyrene microsphere in water (index 1.58 to 1.59 in the red and near infrared)."""
    r = diameter_um / 2
    contrast = _relative(around(rng, 1.585, 0.002))
    return [Body((0, 0, 0), (r, r, r), None, contrast, 0.0, contrast, 1.02)]


def _detritus(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Organic detritus: an irregular, loose flake of several lumps."""
    r = diameter_um / 2
    lumps: list[Body] = []
    for _ in range(int(rng.integers(3, 7))):
        x, y, z = rng.normal(0, 0.45 * r, 3)
        axes = 0.55 * r * np.exp(rng.normal(0, 0.3, 3))
        contrast = _relative(rng.uniform(1.35, 1.40), rng.uniform(0, 0.008))
        shape = (float(axes[0]), float(axes[1]), float(axes[2]))
        lumps.append(Body((float(x), float(y), float(z)), shape, rough(rng, 0.35), contrast, 0.0, contrast, 1.6))
    return lumps


WATER = (
    Morphology("pennate-diatom", _pennate_diatom, (8.0, 0.25), (3, 20)),
    Morphology("centric-diatom", _centric_diatom, (25.0, 0.35), (8, 80)),
    Morphology("euglena", _euglena, (11.0, 0.15), (7, 18)),
    Morphology("giardia", _giardia, (8.5, 0.08), (6.5, 11)),
    Morphology("cryptosporidium", _cryptosporidium, (5.0, 0.07), (4, 6)),
    Morphology("rotifer", _rotifer, (75.0, 0.2), (45, 120)),
    Morphology("bubble", _bubble, (30.0, 0.6), (4, 200)),
    Morphology("bead-in-water", _bead, (10.0, 0.03), (1, 60)),
    Morphology("detritus", _detritus, (20.0, 0.6), (4, 120)),
)
"""Diatoms, Euglena, Giardia and Cryptosporidium, rotifers, bubbles, beads, detritus (the diameter of long ones is their breadth)."""
