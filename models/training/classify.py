"""The machinery of all classifiers: frames -> crops -> network -> int8 bundle -> figures.

A recipe (models/recipes) says which classes, which instrument, and what is never shown. The network has one output more than
there are classes: 'other', learnt from strangers (models.training.strangers). The work folder keeps frames (which depend on no
network), crops (which depend on the HIDEF file) and weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.analysis.crops import CROP_CHANNELS, CROP_PX
from device.inference.interpreter import Interpreter
from device.inference.store import ModelStore
from device.twin.morphology import Morphology
from models.training.calibration import balanced_accuracy, calibrate
from models.training.crops import Crops, box_pipeline, box_settings, seen_crops, true_crops
from models.training.export import BundleSpec, to_tflite, trained_weights, write_bundle
from models.training.frames import Bench, Frame, frames
from models.training.restore import restore_weights
from models.training.spoiled import spoiled_crops

__all__ = ["ClassifierRecipe", "Fit", "build", "export", "fit", "keep_bundle", "run_training"]

OTHER = "other"
"""Name of the output after the classes."""

_OTHERS_SHARE = 0.4
"""Of the particles of a frame to learn from."""

_STRANGERS_SHARE = 0.16
"""Of the particles of a frame to calibrate or to score on."""

_SPOILED_SHARE = 0.25
"""Crops that were never whole, over those of the classes."""

_SEEDS = {"train": 101, "calibration": 2020, "test": 90_000, "look_alikes": 95_000}


@dataclass(frozen=True)
class ClassifierRecipe:
    """One classifier."""

    name: str
    classes: tuple[Morphology, ...]
    """In the order of the network's outputs."""
    others: Mapping[Morphology, float]
    """What it learns to call 'other', with weights."""
    never_seen: tuple[Morphology, ...]
    """Kept out of training, to score the reject option."""
    look_alikes: tuple[Morphology, ...]
    """Kept out of training too: near relatives of the classes, reported apart."""
    bench: Bench
    optics: Mapping[str, tuple[float, float] | float]
    """What the manifest says is covered."""
    frames: Mapping[str, int]
    """How many of each kind: train, calibration, test, look_alikes."""
    limits: str
    """For the card."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(morphology.name for morphology in self.classes)

    def mix(self, split: str) -> dict[Morphology, float]:
        """Weights of what the frames of a split hold."""
        others = {"train": self.others, "calibration": self.others}.get(split) or dict.fromkeys(
            self.never_seen if split == "test" else self.look_alikes, 1.0
        )
        share = _OTHERS_SHARE if split == "train" else _STRANGERS_SHARE
        known = {} if split == "look_alikes" else {m: (1 - share) / len(self.classes) for m in self.classes}
        return known | {m: share * w / sum(others.values()) for m, w in others.items()}

    def rendered(self, work: Path, split: str, count: int | None = None) -> Iterator[Frame]:
        """The frames of a split, rendered where the work folder lacks them."""
        wanted = self.frames.get(split, 0) if count is None else count
        folder = work / "frames" / split
        return frames(folder, self.bench, self.mix(split), wanted, _SEEDS[split], scoring=split != "train")

    def crops(self, work: Path, split: str, store: ModelStore, count: int | None = None) -> Crops:
        """The crops of a split as the box sees them; cut once for every HIDEF file."""
        folder = work / "crops" / store.find("hidef").manifest.sha256[:12] / split
        pipeline = box_pipeline(store)
        return self._cut(work, split, count, folder, lambda frame, k: seen_crops(frame, k, pipeline, self.bench.geometry))

    def true_crops(self, work: Path, split: str, count: int | None = None) -> Crops:
        """The crops of a split cut from the true fields."""
        settings, folder = box_settings(), work / "crops" / "truth" / split
        return self._cut(work, split, count, folder, lambda frame, k: true_crops(frame, k, settings, self.bench.geometry))

    def _cut(self, work: Path, split: str, count: int | None, folder: Path, one: Callable[[Frame, int], Crops]) -> Crops:
        wanted = self.frames.get(split, 0) if count is None else count
        paths = [folder / f"{k:05d}.npz" for k in range(wanted)]
        if not all(path.exists() for path in paths):
            for k, (path, frame) in enumerate(zip(paths, self.rendered(work, split, wanted), strict=True)):
                if not path.exists():
                    one(frame, k).save(path)
        return Crops.joined([Crops.load(path) for path in paths])

    def targets(self, crops: Crops) -> NDArray[np.int64]:
        """int64 [n]: index of the class, or their number for what is none of them."""
        places = {name: k for k, name in enumerate(self.labels)}
        return np.array([places.get(str(name), len(places)) for name in crops.names], np.int64)


@dataclass(frozen=True)
class Fit:
    """How a network is fitted."""

    epochs: int = 45
    batch: int = 64
    peak_rate: float = 1.5e-3
    """Falls to nothing along half a cosine."""
    seed: int = 1
    precision: str = "mixed_bfloat16"
    """Keras precision policy; bfloat16 is three times as fast where the processor has it."""

    def gentler(self) -> Fit:
        """The same for a network that knows a good deal."""
        return replace(self, peak_rate=6e-4)

    def seeded(self, seed: int) -> Fit:
        """The same with another seed."""
        return replace(self, seed=seed)


def build(outputs: int, name: str, batch_size: int | None = None) -> Any:
    """A small network of convolutions: float32 [n, CROP_PX, CROP_PX, channels] -> logits [n, outputs]; some 150,000 weights.

    No dense layers: a convolution as large as its map is one, and quantises by channel.
    """
    from keras import Model, layers

    inputs = layers.Input((CROP_PX, CROP_PX, len(CROP_CHANNELS)), batch_size=batch_size, name="crop")
    x = layers.Conv2D(24, 5, strides=2, padding="same", activation="relu")(inputs)
    for width in (40, 64):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(96, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dropout(0.25)(x)
    x = layers.Conv2D(outputs, 3, dtype="float32")(x)
    return Model(inputs, layers.Reshape((outputs,), dtype="float32", name="logits")(x), name=name)


def fit(model: Any, images: NDArray[np.float16], targets: NDArray[np.int64], how: Fit, weights: NDArray[np.float64]) -> None:
    """Fit with turns and mirrors; the running average of the weights stays in the model.

    `images` [n, CROP_PX, CROP_PX, channels]; `targets` int64 [n] outputs; `weights` float64 [n] of the samples.
    """
    import keras

    steps = how.epochs * max(len(targets) // how.batch, 1)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=how.peak_rate, warmup_steps=steps // 20)
    optimiser = keras.optimizers.AdamW(rate, weight_decay=2e-3, use_ema=True, ema_momentum=0.995)
    model.compile(optimiser, keras.losses.SparseCategoricalCrossentropy(from_logits=True), weighted_metrics=["accuracy"])
    model.fit(
        _batches(images, targets, weights, how), epochs=how.epochs, verbose=0, shuffle=False, callbacks=[_told(how.epochs)]
    )


def _batches(images: NDArray[np.float16], targets: NDArray[np.int64], weights: NDArray[np.float64], how: Fit) -> Any:
    """Whole batches of varied crops in another order every epoch; one sequence, for Keras averages weights over one `fit`."""
    import keras

    rng = np.random.default_rng(how.seed)

    class Batches(keras.utils.PyDataset):
        order = rng.permutation(len(targets))

        def __len__(self) -> int:
            return max(len(targets) // how.batch, 1)

        def __getitem__(self, index: int) -> tuple[Any, ...]:
            picks = self.order[index * how.batch : (index + 1) * how.batch]
            return _varied(images[picks], rng), targets[picks], weights[picks]

        def on_epoch_end(self) -> None:
            self.order = rng.permutation(len(targets))

    return Batches()


def _told(epochs: int) -> Any:
    """A callback that prints how it goes."""
    import keras

    def say(epoch: int, logs: dict[str, float]) -> None:
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(
                f"epoch {epoch + 1:3d} of {epochs}  loss {logs['loss']:.4f}  balanced accuracy {logs['accuracy']:.4f}",
                flush=True,
            )

    return keras.callbacks.LambdaCallback(on_epoch_end=say)


def _varied(images: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float32]:
    """The same crops turned and mirrored at random, sizes a little off, as another segmentation would find them."""
    out = images.astype(np.float32)
    turns, mirrors = rng.integers(4, size=len(out)), rng.random(len(out)) < 0.5
    for k, image in enumerate(out):
        turned = np.rot90(image, int(turns[k]))
        out[k] = turned[:, ::-1].copy() if mirrors[k] else turned.copy()
    out[..., 2] *= rng.normal(1, 0.015, (len(out), 1, 1)).astype(np.float32)
    return out


def balanced_weights(targets: NDArray[np.int64], outputs: int, other_weight: float = 1.5) -> NDArray[np.float64]:
    """Weights float64 [n] of mean 1 that make every class count alike, and 'other', the last, as `other_weight` of one."""
    counts = np.maximum(np.bincount(targets, minlength=outputs), 1)
    weights = (1.0 / counts)[targets]
    weights[targets == outputs - 1] *= other_weight
    return weights / weights.mean()


def run_training(
    recipe: ClassifierRecipe, work: Path, store: ModelStore, how: Fit | None = None, start: Path | None = None
) -> None:
    """Render, cut with the store's HIDEF file, fit, the ceiling too; keeps everything in `work`. `start`: a .tflite to go on from."""
    chosen = how or Fit()
    fit_crops(recipe, recipe.crops(work, "train", store), work / "weights.weights.h5", chosen, start)
    fit_crops(recipe, recipe.true_crops(work, "train"), work / "ceiling.weights.h5", chosen, start)


def fit_crops(recipe: ClassifierRecipe, crops: Crops, path: Path, how: Fit, start: Path | None = None) -> Any:
    """Fit a network to crops and keep its weights; a fresh one, or from the weights of a .tflite file."""
    import keras

    keras.mixed_precision.set_global_policy(how.precision)
    keras.utils.set_random_seed(how.seed)
    images, targets = with_spoiled(recipe, crops, how.seed)
    outputs = len(recipe.labels) + 1
    model = build(outputs, recipe.name)
    if start is not None:
        restore_weights(model, start)
    print(f"{path.stem}: {len(crops)} crops, {len(images) - len(crops)} spoiled ones", flush=True)
    fit(model, images, targets, how, balanced_weights(targets, outputs))
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(path)
    return model


def with_spoiled(recipe: ClassifierRecipe, crops: Crops, seed: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Images and targets of crops, and after them of some that were never whole and are 'other'."""
    images, targets, classes = crops.images, recipe.targets(crops), len(recipe.labels)
    known, geometry = targets < classes, recipe.bench.geometry
    count = int(_SPOILED_SHARE * known.sum())
    if count == 0:
        return images, targets
    rng = np.random.default_rng([seed, 7])
    spoiled = spoiled_crops(images[known], targets[known], count, geometry.wavelength_um / geometry.medium_index, rng)
    return np.concatenate([images, spoiled]), np.concatenate([targets, np.full(count, classes, np.int64)])


def float_logits(recipe: ClassifierRecipe, weights: Path, crops: Crops) -> NDArray[np.float32]:
    """What a network says of crops before it is quantised, float32 [n, outputs]."""
    model = build(len(recipe.labels) + 1, recipe.name)
    model.load_weights(weights)
    return np.asarray(model.predict(crops.images.astype(np.float32), batch_size=256, verbose=0), np.float32)


def int8_content(model: Any, recipe: ClassifierRecipe, images: NDArray[np.float16], seed: int = 5) -> bytes:
    """The .tflite file, int8, of a trained network; ranges from a few hundred of `images`."""
    import keras

    keras.mixed_precision.set_global_policy("float32")
    plain = build(len(recipe.labels) + 1, recipe.name, batch_size=1)
    plain.set_weights(model.get_weights())
    picks = np.random.default_rng(seed).choice(len(images), min(400, len(images)), replace=False)
    return to_tflite(plain, [images[k][None].astype(np.float32) for k in picks])


def int8_logits(content: bytes, folder: Path, crops: Crops) -> NDArray[np.float32]:
    """What a file says of crops, float32 [n, outputs]."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / "probe.partial"
    probe.write_bytes(content)
    try:
        return Interpreter(probe).run(crops.images.astype(np.float32))
    finally:
        probe.unlink()


def export(recipe: ClassifierRecipe, work: Path, store: ModelStore, out: Path, version: str) -> Path:
    """int8 bundle of the weights in `work`; temperature, sets and threshold from the int8 file's own outputs."""
    model = build(len(recipe.labels) + 1, recipe.name)
    model.load_weights(trained_weights(work))
    content = int8_content(model, recipe, recipe.crops(work, "train", store).images)
    return keep_bundle(recipe, content, recipe.crops(work, "calibration", store), out, version)


def keep_bundle(recipe: ClassifierRecipe, content: bytes, calibration: Crops, out: Path, version: str) -> Path:
    """Calibrate a file on crops that its training never saw, and write the bundle."""
    logits, targets = int8_logits(content, out, calibration), recipe.targets(calibration)
    classes = len(recipe.labels)
    found = calibrate(logits, targets, calibration.frames, classes)
    spec = BundleSpec(
        recipe.name, version, "classification", recipe.name, {"input": CROP_CHANNELS}, {"output": (*recipe.labels, OTHER)}, dict(recipe.optics),
        recipe.labels, temperature=round(found.temperature, 4), conformal_quantile=round(found.quantile, 5),
        conformal_quantiles=tuple(round(q, 5) for q in found.quantiles), other_above=round(found.other_above, 5),
    )  # fmt: skip
    known = targets < classes
    right = balanced_accuracy(logits[known][:, :classes].argmax(axis=1), targets[known])
    print(
        f"int8 on calibration crops: balanced accuracy {right:.4f}; temperature {found.temperature:.3f}; {len(content) // 1024} kB"
    )
    return write_bundle(spec, content, {"input": calibration.images[:1].astype(np.float32)}, out)
