"""A shipped classifier learns on from crops that people labelled (`holonode review export`).

It starts from the weights in the shipped int8 file, sees old simulated crops beside the new ones so that it forgets nothing,
and is kept only where it is no worse on crops that were held back.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.crops import CROP_CHANNELS, CROP_PX
from device.errors import CheckError, InputError
from device.inference.store import ModelBundle, ModelStore
from models.training.calibration import balanced_accuracy
from models.training.classify import ClassifierRecipe, Fit, balanced_weights, build, fit, int8_content, int8_logits, keep_bundle
from models.training.crops import Crops
from models.training.restore import restore_weights

__all__ = ["LEARN_ON", "FineTunedClassifier", "finetune_classifier", "labelled_crops"]

LEARN_ON = Fit(epochs=8, peak_rate=3e-4)
"""From trained weights."""

LEAST_LABELLED = 20
"""Fewer can neither teach nor check."""

_HELD_BACK = 4
"""One labelled crop in so many only checks."""

_MAY_LOSE = 0.01
"""Balanced accuracy on simulated crops that a gain in the field may cost."""


@dataclass(frozen=True)
class FineTunedClassifier:
    """What came of it."""

    path: Path
    """The new bundle's model."""
    labelled: int
    """Crops learnt from and checked with."""
    before: float
    """Balanced accuracy on the labelled crops held back."""
    after: float
    simulated_before: float
    """Balanced accuracy on simulated crops that training never saw."""
    simulated_after: float


def labelled_crops(file: Path) -> Crops:
    """The labelled crops of an exported file; what a person couldn't tell ('unknown') or didn't label is left out."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            images, labels, esd_um = arrays["images"], arrays["labels"].astype(str), arrays["esd_um"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy's own words for a file that is no archive advise to unpickle it.
        known = isinstance(error, OSError | KeyError)
        raise InputError(
            "the labelled crops can't be read", where=file, expected="an .npz file with images, labels and esd_um",
            got=str(error) if known else "no archive of plain arrays, or a damaged one",
            remedy="`holonode review export --out FILE.npz` writes one.",
        ) from error  # fmt: skip
    wanted = (CROP_PX, CROP_PX, len(CROP_CHANNELS))
    if images.shape[1:] != wanted:
        raise InputError(
            "the crops are of another recipe", where=file, expected=f"images [n, {', '.join(map(str, wanted))}]",
            got=list(images.shape), remedy="Export crops that a service of this version kept.",
        )  # fmt: skip
    told = (labels != "") & (labels != "unknown")
    crops = Crops(images.astype(np.float16), labels, np.arange(len(labels)), esd_um.astype(np.float32)).picked(told)
    if len(crops) < LEAST_LABELLED:
        raise InputError("too few labelled crops", where=file, expected=f"{LEAST_LABELLED} or more", got=len(crops))
    return crops


def finetune_classifier(
    recipe: ClassifierRecipe, work: Path, bundle: ModelBundle, labelled: Path, out: Path, version: str, *, store: ModelStore, how: Fit | None = None,
    rehearsal_frames: int | None = None,
) -> FineTunedClassifier:  # fmt: skip
    """Write a bundle that learnt from `labelled` too.

    `work` holds the recipe's simulated crops; what it lacks is rendered and cut with the store's HIDEF file,
    `rehearsal_frames` frames (None: as many as the recipe says). A label that is no class teaches what 'other' is.
    InputError where the bundle is another recipe's; CheckError, and nothing written, where the result is worse on the labelled crops held back, or clearly worse on
    simulated ones.
    """
    import keras

    if (made_by := bundle.manifest.recipe.name) != recipe.name:
        raise InputError("the bundle is another recipe's", where=bundle.model, expected=recipe.name, got=made_by)
    chosen = how or LEARN_ON
    crops = labelled_crops(labelled)
    old = recipe.crops(work, "train", store, rehearsal_frames)
    calibration = recipe.crops(work, "calibration", store, rehearsal_frames)
    held = _held_back(recipe.targets(crops))
    lessons = Crops.joined([old, crops.picked(~held)])
    keras.mixed_precision.set_global_policy(chosen.precision)
    keras.utils.set_random_seed(chosen.seed)
    model = build(len(recipe.labels) + 1, recipe.name)
    restore_weights(model, bundle.model)
    targets = recipe.targets(lessons)
    weights = balanced_weights(targets, len(recipe.labels) + 1)
    # The few of the field weigh as much as the many of the simulation.
    weights[len(old) :] *= weights[: len(old)].sum() / weights[len(old) :].sum()
    fit(model, lessons.images, targets, chosen, weights / weights.mean())
    content = int8_content(model, recipe, lessons.images)
    field = _score(recipe, out, crops.picked(held))
    simulated = _score(recipe, out, calibration)
    found = FineTunedClassifier(
        out / f"{recipe.name}-{version}.tflite", len(crops), field(bundle.model.read_bytes()), field(content),
        simulated(bundle.model.read_bytes()), simulated(content),
    )  # fmt: skip
    if found.after < found.before or found.simulated_after < found.simulated_before - _MAY_LOSE:
        raise CheckError(
            "fine-tuning made it worse; nothing was written", where=labelled,
            expected=f"balanced accuracy of {found.before:.3f} on labelled, {found.simulated_before:.3f} on simulated crops held back",
            got=f"{found.after:.3f} and {found.simulated_after:.3f}", remedy="Label more crops, and look at the labels again.",
        )  # fmt: skip
    keep_bundle(recipe, content, calibration, out, version)
    return found


def _held_back(targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """One in _HELD_BACK of each class, bool [n]; at least one of every class that has two."""
    held = np.zeros(len(targets), np.bool_)
    for k in np.unique(targets):
        held[np.flatnonzero(targets == k)[1::_HELD_BACK]] = True
    return held


def _score(recipe: ClassifierRecipe, folder: Path, crops: Crops) -> Callable[[bytes], float]:
    """Balanced accuracy, 'other' being a class like any, of a file's content."""
    return lambda content: balanced_accuracy(int8_logits(content, folder, crops).argmax(axis=1), recipe.targets(crops))
