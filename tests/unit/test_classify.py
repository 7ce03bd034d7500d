"""Temperature, prediction sets and the reject threshold keep what they promise; simulated frames come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device.analysis.crops import CROP_CHANNELS, CROP_PX
from device.errors import InputError
from device.optics.geometry import Geometry
from device.twin.morphology import MORPHOLOGIES, make_volume
from models.recipes.beads import classes as beads
from models.recipes.bioaerosol import classes as bioaerosol
from models.recipes.water import classes as water
from models.training.calibration import (
    KNOWN_REJECTED,
    auroc,
    balanced_accuracy,
    bootstrap_groups,
    calibrate,
    calibration_error,
    fit_temperature,
    softmax,
)
from models.training.classifier_finetune import labelled_crops
from models.training.classify import ClassifierRecipe, balanced_weights
from models.training.crops import Crops
from models.training.frames import Bench, Frame, _Stock, frames, render
from models.training.spoiled import spoiled_crops
from models.training.strangers import strangers

RECIPES = (beads.RECIPE, bioaerosol.RECIPE, water.RECIPE)


def told(count: int, classes: int, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the truth, times `scale`, and labels drawn from it; a tenth are strangers."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes + 1))
    logits[:, classes] = rng.normal(-4, 1, count)
    labels = np.array([rng.choice(classes, p=row) for row in softmax(logits[:, :classes])])
    strange = rng.random(count) < 0.1
    labels[strange], logits[strange, classes] = classes, rng.normal(6, 1, int(strange.sum()))
    return logits * scale, labels


def test_the_temperature_undoes_what_made_logits_too_sure() -> None:
    logits, labels = told(6000, 5, seed=1, scale=2.0)
    known = labels < 5
    assert fit_temperature(logits[known][:, :5], labels[known]) == pytest.approx(2.0, rel=0.05)


def test_sets_cover_nine_in_ten_of_every_class_and_few_known_ones_are_rejected() -> None:
    logits, labels = told(8000, 5, seed=2, scale=1.7)
    found = calibrate(logits, labels, np.arange(len(labels)), 5)
    fresh, truth = told(8000, 5, seed=3, scale=1.7)
    known = truth < 5
    chances = softmax(fresh[known][:, :5], found.temperature)
    held = (1 - chances <= np.array(found.quantiles))[np.arange(int(known.sum())), truth[known]]
    for k in range(5):
        assert held[truth[known] == k].mean() == pytest.approx(0.9, abs=0.03)
    other = softmax(fresh, found.temperature)[:, 5]
    assert (other[known] > found.other_above).mean() == pytest.approx(KNOWN_REJECTED, abs=0.01)
    assert (other[~known] > found.other_above).mean() > 0.9
    assert calibration_error(chances.max(axis=1), chances.argmax(axis=1) == truth[known]) < 0.02


def test_scores_of_scores() -> None:
    assert auroc(np.array([0.9, 0.8, 0.5]), np.array([0.1, 0.5])) == pytest.approx(5.5 / 6)
    assert balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(0.75)
    value, low, high = bootstrap_groups(lambda i: float(i.mean()), np.arange(100) // 10)
    assert low < value == 49.5 < high
    weights = balanced_weights(np.array([0, 0, 0, 1, 2]), 3, other_weight=2.0)
    assert weights[:3].sum() == pytest.approx(weights[3]) == pytest.approx(weights[4] / 2)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_never_shows_in_training_what_it_is_scored_on(recipe: ClassifierRecipe) -> None:
    kept_out = {m.name for m in (*recipe.never_seen, *recipe.look_alikes)}
    for split in ("train", "calibration"):
        assert not kept_out & {m.name for m in recipe.mix(split)}
    assert {m.name for m in recipe.mix("test")} == {*recipe.labels, *(m.name for m in recipe.never_seen)}
    assert recipe.labels == tuple(sorted(recipe.labels))


def test_strangers_are_of_many_shapes_and_none_is_a_ball() -> None:
    rng = np.random.default_rng(4)
    kind = strangers((0.02, 0.2))
    sizes = []
    for _ in range(40):
        bodies = kind.draw(rng, 12.0)
        volume = make_volume(bodies, 1.0)
        assert np.isfinite(volume.contrast).all()
        assert np.abs(volume.contrast).max() > 0
        alone = len(bodies) == 1 and bodies[0].relief is None
        assert not (alone and max(bodies[0].semi_axes_um) < 1.15 * min(bodies[0].semi_axes_um))
        sizes.append(volume.esd_um)
    assert np.std(sizes) > 1


def test_spoiled_crops_are_finite_unlike_each_other_and_keep_to_the_crops_scales() -> None:
    rng = np.random.default_rng(5)
    images = np.zeros((6, CROP_PX, CROP_PX, len(CROP_CHANNELS)), np.float16)
    images[..., 3] = np.log2(1.12) / 4
    targets = np.arange(6) % 2
    for k, image in enumerate(images):
        # Class 0 is 6 um, class 1 40 um across.
        size = (6.0, 40.0)[targets[k]]
        side = round(size / 1.12)
        own = slice(CROP_PX // 2 - side // 2, CROP_PX // 2 + side - side // 2)
        image[own, own, 1], image[own, own, 2] = 0.5, np.log2(size) / 4
    spoiled = spoiled_crops(images, targets, 60, 0.4, rng).astype(np.float32)
    assert spoiled.shape == (60, *images.shape[1:])
    assert np.isfinite(spoiled).all()
    assert np.abs(spoiled).max() <= 2
    # None is as it was, and none of another size is as large as its class is.
    assert all(np.abs(spoiled - image).max(axis=(1, 2, 3)).min() > 0.01 for image in images.astype(np.float32))
    resized = spoiled[np.abs(spoiled[:, 0, 0, 3] - images[0, 0, 0, 3]) > 0.1]
    assert len(resized) > 0
    sizes = 2 ** (4 * resized[..., 2].max(axis=(1, 2)))
    assert all(np.abs(np.log2(sizes / known)).min() > 0.2 for known in (6.0, 40.0))


def test_large_shapes_stand_in_for_large_ones_only() -> None:
    kind = strangers((0.02, 0.1), (4.0, 40.0))
    stock = _Stock(2.0, above_um=40.0, size=2)
    rng = np.random.default_rng(6)
    wide = [stock.draw(rng, kind, (0.0, 0.0)) for _ in range(80)]
    assert any(centred for _, centred in wide)
    assert np.mean([volume.esd_um < 15 for volume, _ in wide]) > 0.3


SMALL = Bench(
    geometry=Geometry(0.85, 1.12, 300.0), depth_um=(290.0, 310.0), bandwidth_um=(0.002, 0.01), source_diameter_um=(30.0, 60.0),
    source_distance_um=40000.0, full_well_e=20000.0, fill=(0.6, 0.7), field_px=128, per_field=3, margin_px=8,
)  # fmt: skip


@pytest.mark.parametrize("finer", [(1, 2), (2, 3)])
def test_frames_to_learn_from_and_to_score_on_show_the_same_particles_in_the_same_places(finer: tuple[int, int]) -> None:
    from dataclasses import replace

    bench = replace(SMALL, finer=finer, bandwidth_um=(0.0, 0.0), source_diameter_um=(0.0, 0.0), per_field=1)
    mix = {MORPHOLOGIES["bead"]: 1.0}
    for scoring in (False, True):
        frame = render(np.random.default_rng(8), bench, mix, scoring=scoring)
        contrast = np.abs(frame.truth - 1)
        rows, columns = np.nonzero(contrast > 0.3)
        assert columns.mean() * 1.12 == pytest.approx(frame.x_um[0], abs=0.6)
        assert rows.mean() * 1.12 == pytest.approx(frame.y_um[0], abs=0.6)
        # Fringes are round about the same place.
        y, x = np.mgrid[0:128, 0:128]
        near = np.hypot(x - frame.x_um[0] / 1.12, y - frame.y_um[0] / 1.12) < 12
        assert np.abs(frame.intensity - 1)[near].mean() > 3 * frame.noise


def test_frames_are_rendered_once_and_read_afterwards(tmp_path: Path) -> None:
    mix = {MORPHOLOGIES["birch"]: 1.0, MORPHOLOGIES["dust"]: 1.0}
    first = list(frames(tmp_path, SMALL, mix, 2, 7, scoring=False))
    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = list(frames(tmp_path, SMALL, mix, 2, 7, scoring=False))
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    for one, other in zip(first, again, strict=True):
        assert isinstance(one, Frame)
        np.testing.assert_array_equal(one.intensity, other.intensity)
        assert one.names == other.names


def exported(path: Path, count: int, side: int = CROP_PX) -> Path:
    labels = np.array(["birch", "oak", "", "unknown"] * count)[:count]
    images = np.zeros((count, side, side, len(CROP_CHANNELS)), np.float32)
    np.savez(path, images=images, labels=labels, esd_um=np.full(count, 20.0, np.float32))
    return path


def test_labels_that_tell_are_learnt_from_and_others_left_out(tmp_path: Path) -> None:
    crops = labelled_crops(exported(tmp_path / "a.npz", 80))
    assert isinstance(crops, Crops)
    assert sorted(set(crops.names)) == ["birch", "oak"]
    assert len(crops) == 40


@pytest.mark.parametrize(("count", "side", "said"), [(20, CROP_PX, "too few"), (80, 64, "another recipe")])
def test_labelled_crops_that_cant_serve_are_refused(tmp_path: Path, count: int, side: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        labelled_crops(exported(tmp_path / "a.npz", count, side))
    with pytest.raises(InputError, match="can't be read"):
        labelled_crops(tmp_path / "none.npz")


def test_a_file_that_is_no_archive_is_refused_without_advice_to_unpickle_it(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"junk")
    with pytest.raises(InputError, match="no archive of plain arrays") as told:
        labelled_crops(tmp_path / "a.npz")
    assert "pickle" not in str(told.value)
