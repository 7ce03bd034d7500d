"""How virtual colour is scored: on sections of another generator, packed cells with lobed nuclei between wavy bands.

The chemistry is the same, for it is the question; outlines, noise and blur are others. The ceiling is the mean of all sections that look
like the one seen, each structure's density told. Intervals are the predicted mean and so many predicted deviations; how many, half of
the sections say (split conformal: V. Vovk et al., Algorithmic Learning in a Random World, 2005), and the other half judge.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.image_tiles import ChannelNetwork, run_image
from device.analysis.views import marked_computed
from models.recipes.virtual_colour.chemistry import Section, density
from models.training.hallucination import Insertion, feature_lines, strange_shape
from models.training.tables import Bar, bar_lines, score_lines

__all__ = ["pictures", "report"]

Map = NDArray[np.float32]

_SIDE_PX, _SHAPE_PX = 144, 24
_COVERED = 0.9
_METHODS = ("network", "linear colour regression", "quadratic colour regression", "ceiling: conditional mean")
_BARS = (
    Bar("network", "error over the ceiling's", most=1.05),
    Bar("network", "similarity", least=0.05, against="linear colour regression"),
    Bar("network", "covered by 90 %", least=0.88, most=0.92),
)


def _blurred(rng: np.random.Generator, scale_px: float) -> Map:
    noise = cv2.GaussianBlur(rng.standard_normal((_SIDE_PX, _SIDE_PX)), (0, 0), scale_px)
    return (noise / noise.std()).astype(np.float32)


def _section(rng: np.random.Generator, strange: bool = False) -> Section:
    """Voronoi cells with a gap between them, a lobed nucleus in most, bands of one plasma across; `strange`: a shape in it."""
    y, x = np.mgrid[:_SIDE_PX, :_SIDE_PX].astype(np.float32)
    seeds = rng.uniform(0, _SIDE_PX, (int(rng.integers(8, 40)), 2))
    away = np.hypot(y - seeds[:, 0, None, None], x - seeds[:, 1, None, None])
    order = np.sort(away, axis=0)
    owner = away.argmin(axis=0)
    tissue = np.clip((order[1] - order[0]) / 2 - 0.5, 0, 1) * (order[0] < 24)
    densities, hidden = (np.array([density(rng) for _ in seeds]), rng.normal(size=len(seeds)))
    plasma, plasma_hidden = (tissue * densities[owner]).astype(np.float32), hidden[owner].astype(np.float32)
    nuclear, nuclear_hidden = np.zeros_like(x), np.zeros_like(x)
    for seed in seeds[rng.random(len(seeds)) < 0.8]:
        radius, lobes, turned = rng.uniform(2.5, 6.5), int(rng.integers(2, 5)), rng.uniform(0, 2 * np.pi)
        angle = np.arctan2(y - seed[0], x - seed[1])
        reach = radius * (1 + rng.uniform(0, 0.3) * np.cos(lobes * angle + turned))
        mask = np.clip(reach - np.hypot(y - seed[0], x - seed[1]) + 0.5, 0, 1)
        nuclear += mask * np.float32(density(rng)) - mask * nuclear
        nuclear_hidden[mask > 0.5] = rng.normal()
    if rng.random() < 0.6:
        wave = np.sin((x * rng.normal() + y * rng.normal()) / 9 + 1.5 * _blurred(rng, 14))
        band = np.clip((wave - 0.8) * 6, 0, 1)
        plasma += band * np.float32(density(rng)) - band * plasma
        plasma_hidden[band > 0.5] = rng.normal()
    pigment = 0.5 * np.clip(_blurred(rng, 1.5) - 2.4, 0, 1)
    if strange:
        place = (slice(60, 60 + _SHAPE_PX),) * 2
        shape = strange_shape(rng, _SHAPE_PX)
        nuclear[place] += shape * (1.5 - nuclear[place])
    return Section(nuclear, plasma, pigment.astype(np.float32), nuclear_hidden, plasma_hidden)


def _terms(measured: Map, *, squares: bool) -> NDArray[np.float64]:
    flat = measured.reshape(-1, 6).astype(np.float64)
    pairs = [flat[:, i] * flat[:, j] for i in range(6) for j in range(i, 6)] if squares else []
    return np.column_stack([np.ones(len(flat)), flat, *pairs])


def _regressions(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Least squares over sections of the very generator that scores: the best that pixel by pixel can do here."""
    seen = [(section.measured(rng, 0.015, 0.6), section.colours()) for section in (_section(rng) for _ in range(24))]
    colours = np.concatenate([c.reshape(-1, 3) for _, c in seen])
    terms = {
        name: np.concatenate([_terms(m, squares=s) for m, _ in seen])
        for name, s in zip(_METHODS[1:3], (False, True), strict=True)
    }
    return {name: np.asarray(np.linalg.lstsq(matrix, colours, rcond=None)[0], np.float64) for name, matrix in terms.items()}


def predicted(measured: Map, network: ChannelNetwork) -> tuple[Map, Map]:
    """(colours, their standard deviations), float32 [height, width, 3], of a network's answer."""
    answer = run_image(measured, network)
    return np.clip(1 + answer[..., :3], 0, 1), np.exp(np.clip(4 * answer[..., 3:] - 2, -4.6, 1.0))


def _similarity(a: Map, b: Map) -> float:
    """Structural similarity, mean over colours and pixels (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""

    def mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5), np.float64)

    x, y = a.astype(np.float64), b.astype(np.float64)
    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    return float(np.mean((2 * mx * my + 1e-4) * (2 * both + 9e-4) / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4))))


def _rms(error: Map) -> float:
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))


def report(network: ChannelNetwork, count: int) -> list[str]:
    """The tables, of `count` sections; as many more set how wide 90 % is."""
    rng = np.random.default_rng(77)
    fits = _regressions(rng)
    ratios = []
    for _ in range(count):
        section = _section(rng)
        mean, deviation = predicted(section.measured(rng, 0.015, 0.6), network)
        ratios.append(np.abs(section.colours() - mean) / deviation)
    widths = np.quantile(np.array(ratios), _COVERED)
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in _METHODS}
    insertions: dict[str, list[Insertion]] = {"network": []}
    for seed in range(count):
        section = _section(np.random.default_rng((78, seed)))
        measured = section.measured(np.random.default_rng(seed), 0.015, 0.6)
        colours, (known, spread) = section.colours(), section.known()
        mean, deviation = predicted(measured, network)
        found = {"network": mean, "ceiling: conditional mean": known}
        for (name, fit), squares in zip(fits.items(), (False, True), strict=True):
            found[name] = np.clip(_terms(measured, squares=squares) @ fit, 0, 1).reshape(colours.shape).astype(np.float32)
        ceiling = _rms(known - colours)
        for name in _METHODS:
            row = {"error": _rms(found[name] - colours), "similarity": _similarity(found[name], colours)}
            scores[name].append(row | {"error over the ceiling's": row["error"] / ceiling})
        near = spread.max(axis=-1) > 0.02
        covered = np.abs(colours - mean) <= widths * deviation
        scores["network"][-1] |= {"covered by 90 %": float(covered.mean()), "of what is stained": float(covered[near].mean())}
        strange = _section(np.random.default_rng((78, seed)), strange=True)
        shown, _ = predicted(strange.measured(np.random.default_rng(seed), 0.015, 0.6), network)
        insertions["network"].append(_insertion(shown, mean, strange.known()[0], known))
    metrics = ["error", "error over the ceiling's", "similarity", "covered by 90 %", "of what is stained"]
    return [
        *score_lines(scores, metrics), "", f"90 % are the mean and {widths:.2f} predicted deviations.", "", *bar_lines(_BARS, scores), "",
        *feature_lines(insertions),
    ]  # fmt: skip


def _insertion(shown: Map, without: Map, truth_with: Map, truth: Map) -> Insertion:
    """In red, where haematoxylin shows; empty where nothing absorbs."""
    starts = range(0, _SIDE_PX - _SHAPE_PX, _SHAPE_PX)
    boxes = [(slice(a, a + _SHAPE_PX), slice(b, b + _SHAPE_PX)) for a in starts for b in starts]
    empty = [box for box in boxes if truth[box][..., 0].min() > 0.97][:4]
    return Insertion(shown[..., 0], without[..., 0], truth_with[..., 0], truth[..., 0], empty)


def pictures(network: ChannelNetwork, count: int, folder: Path) -> list[Path]:
    """PNG files of `count` sections: phase, the colours it would take, those predicted, and their deviation (white: 0.3)."""
    rng, paths = np.random.default_rng(78), []
    for k in range(count):
        section = _section(rng)
        measured = section.measured(rng, 0.015, 0.6)
        mean, deviation = predicted(measured, network)
        phase = np.repeat(measured[..., 1:2] / 3, 3, axis=-1)
        panes = [phase, section.colours(), mean, np.repeat(deviation.max(axis=-1, keepdims=True) / 0.3, 3, axis=-1)]
        eight = [(np.clip(pane[..., ::-1], 0, 1) * 255).astype(np.uint8) for pane in panes]
        # What was not seen says so in itself, wherever it is cut out to.
        marked = [
            *(p.repeat(2, axis=0).repeat(2, axis=1) for p in eight[:2]),
            *(marked_computed(p.repeat(2, axis=0).repeat(2, axis=1)) for p in eight[2:]),
        ]
        paths.append(folder / f"virtual-colour-{k}.png")
        cv2.imwrite(str(paths[-1]), np.hstack(marked))
    return paths
