"""How good a shipped classifier is: the int8 file behind the int8 HIDEF file and refinement, on frames of another forward
model than training's, and what crops of the true field would allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.config import AnalysisConfig
from device.inference.networks import ClassifierNetwork
from device.inference.store import ModelStore
from models.training.calibration import auroc, balanced_accuracy, bootstrap_groups, calibration_error
from models.training.classify import ClassifierRecipe, float_logits
from models.training.crops import Crops
from models.training.export import trained_weights

__all__ = ["Figures", "evaluate", "table_lines"]

Interval = tuple[float, float, float]
"""Value with the ends of its 95 % interval: frames drawn again."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """What a card says; all on simulated crops."""

    crops: int
    frames: int
    accuracy: Interval
    balanced: Interval
    ceiling: Interval
    """Balanced accuracy of a network trained and scored on crops of the true field."""
    calibration_error: Interval
    coverage: Interval
    """Share of 90 % prediction sets that hold the truth."""
    set_size: float
    """Mean number of names in a set."""
    never_seen: Interval
    """AUROC of 1 - p(other), known classes against what was never seen."""
    never_seen_by_kind: dict[str, float]
    look_alikes: dict[str, float]
    """AUROC of near relatives of the classes."""
    known_rejected: float
    """Share of particles of the classes that come out as 'unknown'."""
    never_seen_rejected: float
    recall: NDArray[np.float64]
    """float64 [classes]."""
    ceiling_recall: NDArray[np.float64]
    class_coverage: NDArray[np.float64]
    confusion: Indices
    """int64 [true, named]."""


def evaluate(recipe: ClassifierRecipe, work: Path, store: ModelStore, fields: int | None = None) -> Figures:
    """Score the store's bundle of a recipe on `fields` frames (None: as many as the recipe says)."""
    bundle, interpreter = store.open(recipe.name)
    ceiling = trained_weights(work, "ceiling")
    network = ClassifierNetwork(interpreter, bundle.manifest)
    box, truth = recipe.crops(work, "test", store, fields), recipe.true_crops(work, "test", fields)
    targets, classes = recipe.targets(box), len(recipe.labels)
    known = targets < classes
    chances, other = network.judge(box.images.astype(np.float32))
    named, inside = chances.argmax(axis=1), network.sets(chances)
    p, own, y, groups = chances[known], inside[known], targets[known], box.frames[known]
    held = own[np.arange(len(y)), y]
    right, best = named[known] == y, p.max(axis=1)
    least = max(AnalysisConfig().reject_below, bundle.manifest.reject_below)
    rejected = (other > bundle.manifest.other_above) | (chances.max(axis=1) < least)
    truth = truth.picked(recipe.targets(truth) < classes)
    truth_y = recipe.targets(truth)
    truth_named = float_logits(recipe, ceiling, truth)[:, :classes].argmax(axis=1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (y, named[known]), 1)

    def told(which: Indices) -> float:
        out = known[which]
        return auroc(1 - other[which][out], 1 - other[which][~out])

    return Figures(
        crops=len(y),
        frames=len(np.unique(groups)),
        accuracy=bootstrap_groups(lambda i: float(right[i].mean()), groups),
        balanced=bootstrap_groups(lambda i: balanced_accuracy(named[known][i], y[i]), groups),
        ceiling=bootstrap_groups(lambda i: balanced_accuracy(truth_named[i], truth_y[i]), truth.frames),
        calibration_error=bootstrap_groups(lambda i: calibration_error(best[i], right[i]), groups),
        coverage=bootstrap_groups(lambda i: float(held[i].mean()), groups),
        set_size=float(own.sum(axis=1).mean()),
        never_seen=bootstrap_groups(told, box.frames),
        never_seen_by_kind=_by_kind(box, known, other, other[known]),
        look_alikes=_look_alikes(recipe, work, store, network, other[known]),
        known_rejected=float(rejected[known].mean()),
        never_seen_rejected=float(rejected[~known].mean()),
        recall=_shares(right, y, classes),
        ceiling_recall=_shares(truth_named == truth_y, truth_y, classes),
        class_coverage=_shares(held, y, classes),
        confusion=confusion,
    )


def _shares(hits: NDArray[np.bool_], labels: Indices, classes: int) -> NDArray[np.float64]:
    return np.array([hits[labels == k].mean() if (labels == k).any() else np.nan for k in range(classes)])


def _by_kind(
    crops: Crops, known: NDArray[np.bool_], other: NDArray[np.float64], known_other: NDArray[np.float64]
) -> dict[str, float]:
    """AUROC of every kind that isn't known."""
    return {
        str(name): auroc(1 - known_other, 1 - other[(crops.names == name) & ~known]) for name in np.unique(crops.names[~known])
    }


def _look_alikes(
    recipe: ClassifierRecipe, work: Path, store: ModelStore, network: ClassifierNetwork, known_other: NDArray[np.float64]
) -> dict[str, float]:
    if not recipe.look_alikes:
        return {}
    crops = recipe.crops(work, "look_alikes", store)
    other = network.judge(crops.images.astype(np.float32))[1]
    return _by_kind(crops, np.zeros(len(crops), np.bool_), other, known_other)


def _interval(value: Interval) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"


def table_lines(figures: Figures, labels: tuple[str, ...]) -> list[str]:
    """The evaluation as Markdown; intervals are 95 %, by bootstrap over frames."""
    rows = [
        ("crops of the classes, in frames", f"{figures.crops}, {figures.frames}"),
        ("balanced accuracy", _interval(figures.balanced)),
        ("balanced accuracy on crops of the true field, by a network trained on such: the ceiling", _interval(figures.ceiling)),
        ("accuracy", _interval(figures.accuracy)),
        ("expected calibration error, 15 bins", _interval(figures.calibration_error)),
        ("coverage of the 90 % prediction sets", _interval(figures.coverage)),
        ("names in a set, mean", f"{figures.set_size:.2f}"),
        ("AUROC, classes against shapes never seen", _interval(figures.never_seen)),
        *((f"the same, {name} alone", f"{value:.3f}") for name, value in figures.never_seen_by_kind.items()),
        *((f"the same, look-alike {name}", f"{value:.3f}") for name, value in figures.look_alikes.items()),
        ("called 'unknown', of the classes", f"{figures.known_rejected:.3f}"),
        ("called 'unknown', of shapes never seen", f"{figures.never_seen_rejected:.3f}"),
    ]
    lines = ["| figure (simulated) | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += ["| class | crops | named rightly | ceiling | sets that hold it |", "|---|---|---|---|---|"]
    lines += [
        f"| {label} | {figures.confusion[k].sum()} | {figures.recall[k]:.3f} | {figures.ceiling_recall[k]:.3f} | {figures.class_coverage[k]:.3f} |"
        for k, label in enumerate(labels)
    ]
    lines += ["", "| true, named | " + " | ".join(labels) + " |", "|---|" + "---|" * len(labels)]
    lines += [f"| {labels[k]} | " + " | ".join(str(n) for n in row) + " |" for k, row in enumerate(figures.confusion)]
    return lines
