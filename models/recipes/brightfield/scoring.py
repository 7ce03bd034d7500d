"""How the brightfield view is scored, on the world of world.py.

Three particles lie in focus in the middle of the field; then one more lies 30 to 90 um above or below them, or a thin shape that grows
nowhere lies among them. Figures are medians over particles or scenes; structural similarity (Wang et al. 2004,
doi:10.1109/TIP.2003.819861: Gaussian window of 1.5 pixels, range 1, the light's own level) over the box of a particle in focus and 6
pixels around it. A ghost is what a picture shows of the particle out of focus beyond what the microscope does, over that
particle's contrast in focus (root mean squares over its box).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import models
from device.analysis.image_tiles import ChannelNetwork, run_image
from device.analysis.reconstruct import run_tiles
from device.analysis.views import brightfield_view, grey_picture, marked_computed
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from device.optics.propagation import backpropagate
from device.twin.scene import SimulatedParticle
from models.recipes.brightfield.world import (
    CORE_PX,
    FIELD_PX,
    GEOMETRY,
    PITCH_UM,
    SHAPE_PX,
    core,
    draw,
    inserted,
    places,
    recorded,
    sparse_planes,
    through,
    truth,
)  # fmt: skip
from models.training.hallucination import Insertion, feature_lines
from models.training.tables import Bar, bar_lines, score_lines

__all__ = ["network_view", "pictures", "report"]

Picture = NDArray[np.float32]
Box = tuple[slice, slice]

BACKPROPAGATED, THROUGH, SPARSE = (
    "back-propagated intensity", "back-propagated field through the microscope", "sparse planes through the microscope",
)  # fmt: skip
_MARGIN_PX = 6
_BARS = (
    Bar("network", "similarity", least=0.1, against=BACKPROPAGATED),
    Bar("network", "similarity", least=0.1, against=THROUGH),
    Bar("network", "similarity", least=0.1, against=SPARSE),
    Bar("network", "similarity", least=0.92),
    Bar("network", "ghost", most=0.10),
    Bar("network on hidef-small's field", "similarity", least=0.1, against="hidef-small's field through the microscope"),
)


@cache
def _hidef() -> HidefNetwork:
    bundle, interpreter = ModelStore(Path(models.__file__).parent / "artefacts").open("hidef-small")
    return HidefNetwork(interpreter, bundle.manifest)


def network_view(field: NDArray[np.complexfloating], network: ChannelNetwork) -> Picture:
    """What the network shows of a refocused field complex [height, width]: intensity, float32 [height, width], 1 where nothing is."""
    channels = np.stack([field.real - 1, field.imag], axis=-1).astype(np.float32)
    return np.maximum(1 + run_image(channels, network)[..., 0], 0)


def similarity_map(a: Picture, b: Picture) -> NDArray[np.float64]:
    """Structural similarity at every pixel, float64 [height, width]."""

    def mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5), np.float64)

    x, y = a.astype(np.float64), b.astype(np.float64)
    mx, my = mean(x), mean(y)
    vx, vy, covariance = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    levels = (2 * mx * my + 1e-4) / (mx * mx + my * my + 1e-4)
    return levels * (2 * covariance + 9e-4) / (vx + vy + 9e-4)


def _box(particle: SimulatedParticle, margin_px: int) -> Box:
    half, corner = particle.volume.length_um / 2 / PITCH_UM + margin_px, (FIELD_PX - CORE_PX) / 2
    y, x = (c / PITCH_UM - corner for c in (particle.y_um, particle.x_um))
    rows, columns = (slice(max(int(c - half), 0), min(int(c + half) + 1, CORE_PX)) for c in (y, x))
    return rows, columns


def _views(intensity: Picture, focus_um: float, network: ChannelNetwork) -> dict[str, Picture]:
    """By method, the picture of the plane in focus, float32 [CORE_PX, CORE_PX]."""
    field = backpropagate(intensity, GEOMETRY, focus_um)
    middle = core(field)
    return {
        "network": core(network_view(field, network)),
        BACKPROPAGATED: np.abs(middle) ** 2,
        THROUGH: through({0.0: middle}),
        SPARSE: through(sparse_planes(intensity, focus_um)),
    }


def _crop_views(intensity: Picture, focus_um: float, network: ChannelNetwork) -> dict[str, Picture]:
    """The same of the field that the box keeps crops of, all particles in focus."""
    field = run_tiles(backpropagate(intensity, GEOMETRY, focus_um), _hidef()).field
    return {
        "network on hidef-small's field": core(network_view(field, network)),
        "hidef-small's field through the microscope": core(
            brightfield_view(field, GEOMETRY.wavelength_um, GEOMETRY.object_pitch_um)
        ),
        "hidef-small's intensity": np.abs(core(field)) ** 2,
    }


def _likeness(view: Picture, right: Picture, boxes: list[Box]) -> list[dict[str, float]]:
    found = similarity_map(view, right)
    return [
        {"similarity": float(found[b].mean()), "error": float(np.sqrt(np.mean((view[b] - right[b]) ** 2)))} for b in boxes
    ]  # fmt: skip


def _rms(values: Picture) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def _empty(picture: Picture) -> list[Box]:
    """Up to four boxes of the inserted shape's size with nothing in them."""
    starts = range(8, CORE_PX - SHAPE_PX - 8, SHAPE_PX)
    boxes = [(slice(a, a + SHAPE_PX), slice(b, b + SHAPE_PX)) for a in starts for b in starts]
    return [box for box in boxes if np.abs(picture[box] - 1).max() < 0.02][:4]


def report(network: ChannelNetwork, count: int) -> list[str]:
    """The tables, of `count` scenes."""
    rng = np.random.default_rng(4711)
    scores: dict[str, list[dict[str, float]]] = {}
    ghosts: dict[str, list[dict[str, float]]] = {}
    insertions: dict[str, list[Insertion]] = {}
    for _ in range(count):
        focus_um = GEOMETRY.distance_um + float(rng.uniform(-60, 60))
        *spots, spot, beside = places(rng, 5)
        sharp = [draw(rng, place, focus_um) for place in spots]
        blurred = draw(rng, beside, focus_um + float(rng.choice([-1, 1]) * rng.uniform(30, 90)))
        boxes = [_box(p, _MARGIN_PX) for p in sharp]
        right, crowded = truth(sharp, focus_um), truth([*sharp, blurred], focus_um)
        alone = truth([blurred], blurred.z_um) - 1
        frame, frame_crowded = recorded(rng, sharp), recorded(rng, [*sharp, blurred])
        views, views_crowded = (_views(f, focus_um, network) for f in (frame, frame_crowded))
        where = _box(blurred, 2 * _MARGIN_PX)
        contrast = _rms(alone[where])
        for name, view in views_crowded.items():
            scores.setdefault(name, []).extend(_likeness(view, crowded, boxes))
            ghost = _rms((view - views[name] - crowded + right)[where]) / contrast
            ghosts.setdefault(name, []).append({"ghost": ghost})
        ghosts.setdefault("the microscope itself", []).append({"ghost": _rms((crowded - right)[where]) / contrast})
        for name, view in _crop_views(frame, focus_um, network).items():
            scores.setdefault(name, []).extend(_likeness(view, right, boxes))
        strange = [*sharp, inserted(rng, spot, focus_um)]
        right_strange, frame_strange = truth(strange, focus_um), recorded(rng, strange)
        # Only where the shape is: elsewhere the two truths differ by its fringes.
        shown = right.copy()
        shown[_box(strange[-1], 0)] = right_strange[_box(strange[-1], 0)]
        for name, view in _views(frame_strange, focus_um, network).items():
            insertions.setdefault(name, []).append(Insertion(view, views[name], shown, right, _empty(right)))
    everything = {name: [*scores.get(name, []), *ghosts.get(name, [])] for name in {**scores, **ghosts}}
    bars = [bar_lines([bar], ghosts if bar.metric == "ghost" else scores) for bar in _BARS]
    return [
        *score_lines(everything, ["similarity", "error", "ghost"]), "", *bars[0][:2], *(line for bar in bars for line in bar[2:]), "",
        *feature_lines(insertions),
    ]  # fmt: skip


def pictures(network: ChannelNetwork, count: int, folder: Path) -> list[Path]:
    """PNG files of `count` scenes with one particle out of focus: the microscope's picture, then each method's."""
    rng, paths = np.random.default_rng(4712), []
    for k in range(count):
        focus_um = GEOMETRY.distance_um + float(rng.uniform(-60, 60))
        *spots, beside = places(rng, 4)
        blurred = draw(rng, beside, focus_um + float(rng.choice([-1, 1]) * rng.uniform(30, 90)))
        particles = [*(draw(rng, place, focus_um) for place in spots), blurred]
        views = _views(recorded(rng, particles), focus_um, network)
        large = [
            grey_picture(view).repeat(2, axis=0).repeat(2, axis=1) for view in (truth(particles, focus_um), *views.values())
        ]
        large[1] = marked_computed(large[1])
        paths.append(folder / f"brightfield-{k}.png")
        cv2.imwrite(str(paths[-1]), np.hstack(large))
    return paths
