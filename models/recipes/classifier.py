"""The bioaerosol classifier: names a particle from its reconstructed field.

Trained on what it will see: crops of fields that the shipped int8 HIDEF file reconstructed from simulated frames of the
instrument, at the places where the pipeline's own segmentation found the particles. Size stays physical: a crop has a
fixed pitch (see device.analysis.crops).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.analysis.crops import CROP_PX, classifier_crop
from device.analysis.depth import estimate_depth, nominal_depth
from device.analysis.measure import measure
from device.analysis.refine import RefineSettings, refine
from device.analysis.segment import segment
from device.inference.interpreter import Interpreter
from device.inference.networks import ClassifierNetwork, HidefNetwork
from device.inference.store import ModelStore
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate
from device.twin.forward import object_field, thin_hologram
from device.twin.illumination import Illumination
from device.twin.scene import Particle, draw_particle
from models.recipes.hidef import field_method
from models.training.export import BundleSpec, to_tflite, write_bundle
from models.training.quality import wilson_interval

__all__ = ["LABELS", "NEVER_SEEN", "Crops", "build", "evaluate_bundle", "export", "render_crops", "run_training"]

Complex = NDArray[np.complex64]
Reconstruct = Callable[[Complex], Complex]

LABELS = ("alternaria", "birch", "cladosporium", "dust", "grass", "oak", "penicillium", "ragweed")
"""Classes, in the order of the network's outputs."""

NEVER_SEEN = ("bead", "cluster")
"""Morphologies kept out of training, to score the reject option."""

GEOMETRY = Geometry(0.85, 1.12, 500.0)
FIELD_PX = 512
REFINE_ITERATIONS = 6
"""As in the preset: what the box does to a field, the crops go through too."""
FULL_WELL_E = 4700.0


@dataclass(frozen=True)
class Crops:
    """Crops with their truth."""

    images: NDArray[np.float32]
    """float32 [n, CROP_PX, CROP_PX, 2]."""
    truth_images: NDArray[np.float32]
    """The same crops cut from the true field: the ceiling."""
    labels: NDArray[np.int64]
    """Index into the names they were drawn from."""
    esd_um: NDArray[np.float32]
    """True sizes."""


def render_crops(seed: int, fields: int, names: tuple[str, ...], reconstruct: Reconstruct, per_field: int = 36) -> Crops:
    """Crops of random frames, reconstructed by `reconstruct` (back-propagated field -> object field)."""
    rng = np.random.default_rng(seed)
    images, truths, labels, sizes = [], [], [], []
    for _ in range(fields):
        light = Illumination(0.85, float(rng.uniform(0.002, 0.014)), float(rng.uniform(30, 160)), 40000.0)
        particles = _draw(rng, names, per_field)
        clean = thin_hologram((FIELD_PX, FIELD_PX), GEOMETRY.pitch_um, particles, light)
        # The background's share of a full well: the brighter it is, the sooner the foci of large grains are clipped.
        fill = float(np.exp(rng.uniform(np.log(0.15), np.log(0.65))))
        electrons = fill * FULL_WELL_E
        frame = np.minimum(rng.poisson(clean * electrons), FULL_WELL_E)
        noisy = (frame / np.maximum(rng.poisson(electrons, clean.shape), 1)).astype(np.float32)
        start = backpropagate(noisy, GEOMETRY, GEOMETRY.distance_um + float(rng.normal(0, 8)))
        field = _refined(noisy, reconstruct(start), start)
        truth = object_field(clean.shape, particles, light)
        for particle, x_px, y_px in _found(field, start, particles):
            images.append(classifier_crop(field, x_px, y_px, GEOMETRY.pitch_um))
            truths.append(classifier_crop(truth, x_px, y_px, GEOMETRY.pitch_um))
            labels.append(names.index(particle.label))
            sizes.append(particle.esd_um)
    return Crops(np.stack(images), np.stack(truths), np.array(labels), np.array(sizes, np.float32))


def _refined(intensity: NDArray[np.float32], field: Complex, start: Complex) -> Complex:
    """What the pipeline makes of a network's field before it cuts crops: refined at the depths it estimates itself."""
    parts = segment(field, start=start)
    if not parts:
        return field
    depths = [estimate_depth(start, field, part, GEOMETRY) for part in parts]
    refined = refine(np.sqrt(intensity), field, parts, depths, GEOMETRY, RefineSettings(REFINE_ITERATIONS))
    return np.where(refined.supports, refined.field, field)


def _found(field: Complex, start: Complex, particles: list[Particle]) -> Iterator[tuple[Particle, float, float]]:
    """Particles that the pipeline's segmentation finds, each once, with the centre it measures, in pixels."""
    pitch_um = GEOMETRY.pitch_um
    nominal = nominal_depth(GEOMETRY)
    left = list(particles)
    for part in segment(field, start=start):
        measured = measure(field, part, nominal, GEOMETRY)
        near = [p for p in left if np.hypot(p.x_um - measured.x_um, p.y_um - measured.y_um) < max(p.esd_um / 3, 3.0)]
        if near:
            # Of several in reach the one of the same size: a spore beside a grain is not the grain.
            best = min(near, key=lambda p: abs(np.log(p.esd_um / measured.esd_um)))
            left.remove(best)
            yield best, measured.x_um / pitch_um, measured.y_um / pitch_um


def _draw(rng: np.random.Generator, names: tuple[str, ...], count: int) -> list[Particle]:
    side_um = FIELD_PX * GEOMETRY.pitch_um
    return [
        draw_particle(
            rng, names[int(rng.integers(len(names)))], field_um=(side_um, side_um), depth_um=(400.0, 600.0),
            voxel_um=GEOMETRY.pitch_um,
        )
        for _ in range(count)
    ]  # fmt: skip


def build() -> Any:
    """A small convolutional network: float32 [n, CROP_PX, CROP_PX, 2] -> logits [n, classes]; about 130,000 weights."""
    from keras import Model, layers

    inputs = layers.Input((CROP_PX, CROP_PX, 2), name="crop")
    x = layers.Conv2D(24, 5, strides=2, padding="same", activation="relu")(inputs)
    for width in (32, 48, 72):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(64, 1, activation="relu")(x)
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    return Model(inputs, layers.Dense(len(LABELS), name="logits")(x), name="bioaerosol")


def train(crops: Crops, held_out: Crops, epochs: int = 40, seed: int = 1) -> Any:
    """Fit with turns and mirrors; returns the Keras model of the best held-out epoch."""
    import keras

    keras.utils.set_random_seed(seed)
    model = build()
    steps = epochs * (len(crops.labels) // 64)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=1.5e-3, warmup_steps=steps // 20)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-3), loss, metrics=["accuracy"])
    rng = np.random.default_rng(seed)
    best, best_weights = np.inf, model.get_weights()
    for epoch in range(epochs):
        order = rng.permutation(len(crops.labels))
        turned = _turned(crops.images[order], rng)
        model.fit(turned, crops.labels[order], batch_size=64, verbose=0, shuffle=False)
        scored = model.evaluate(held_out.images, held_out.labels, batch_size=256, verbose=0)
        if scored[0] < best:
            best, best_weights = scored[0], model.get_weights()
        print(f"epoch {epoch + 1:3d}  held-out loss {scored[0]:.4f}  accuracy {scored[1]:.4f}", flush=True)
    model.set_weights(best_weights)
    return model


def _turned(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    out = np.empty_like(images)
    for k, image in enumerate(images):
        turned = np.rot90(image, int(rng.integers(4)))
        out[k] = turned[:, ::-1] if rng.random() < 0.5 else turned
    return out


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities float64 [n, classes]."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    raised = np.exp(scaled)
    return raised / raised.sum(axis=1, keepdims=True)


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599)."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        picked = softmax(logits, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(picked, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 3), method="bounded").x))


def conformal_quantile(probabilities: NDArray[np.float64], labels: NDArray[np.int64], coverage: float = 0.9) -> float:
    """Threshold on 1 - p of split conformal prediction (Vovk et al. 2005): a class is in the set where 1 - p is below."""
    scores = np.sort(1 - probabilities[np.arange(len(labels)), labels])
    rank = min(int(np.ceil((len(scores) + 1) * coverage)), len(scores)) - 1
    return float(scores[rank])


def reconstructor(store: ModelStore) -> Reconstruct:
    """Back-propagated field -> object field by the shipped HIDEF file."""
    bundle, interpreter = store.open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    return field_method(network.run, network.tile_px, network.margin_px)


def run_training(work: Path, store: ModelStore, *, fields: int = 150, epochs: int = 40, seed: int = 1) -> None:
    """Render crops with the shipped HIDEF file and fit; keeps crops and weights in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    reconstruct = reconstructor(store)
    parts = {"train": (seed, fields), "held_out": (seed + 1000, fields // 5), "calibration": (seed + 2000, fields // 5)}
    crops = {name: render_crops(start, count, LABELS, reconstruct) for name, (start, count) in parts.items()}
    for name, part in crops.items():
        print(f"{name}: {len(part.labels)} crops", flush=True)
    calibration = crops["calibration"]
    np.savez(work / "calibration.npz", images=calibration.images, labels=calibration.labels)
    model = train(crops["train"], crops["held_out"], epochs, seed)
    model.save_weights(work / "weights.weights.h5")


def export(work: Path, out: Path, version: str) -> Path:
    """int8 bundle of the weights in `work`, temperature and conformal quantile fitted on the int8 file's own outputs."""
    model = build()
    model.load_weights(work / "weights.weights.h5")
    with np.load(work / "calibration.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    content = to_tflite(_fixed(model), [image[None] for image in images[:300]])
    probe = out / "probe.partial"
    out.mkdir(parents=True, exist_ok=True)
    probe.write_bytes(content)
    logits = Interpreter(probe).run(images)
    probe.unlink()
    # Half fits the temperature, the other half the quantile: a quantile on fitted data would be too small.
    half = len(labels) // 2
    temperature = fit_temperature(logits[:half], labels[:half])
    quantile = conformal_quantile(softmax(logits[half:], temperature), labels[half:])
    optics: dict[str, tuple[float, float] | float] = {
        "wavelength_um": (0.82, 0.88),
        "pitch_um": (1.09, 1.15),
        "distance_um": (400.0, 600.0),
        "defocus_um": 100.0,
        "defocus_number": (240.0, 440.0),
    }
    spec = BundleSpec(
        "bioaerosol", version, "classification", "classifier", ("re_minus_1", "im"), LABELS, optics, LABELS,
        round(temperature, 4), round(quantile, 4), 0.5,
    )  # fmt: skip
    print(f"int8 on calibration crops: accuracy {(logits.argmax(axis=1) == labels).mean():.4f}; temperature {temperature:.3f}")
    return write_bundle(spec, content, images[:1], out)


def _fixed(model: Any) -> Any:
    """The network for one crop at a time, without what only training needs."""
    import keras

    inputs = keras.Input((CROP_PX, CROP_PX, 2), batch_size=1)
    return keras.Model(inputs, model(inputs, training=False))


@dataclass(frozen=True)
class Quality:
    """What the card says; all on simulated crops."""

    crops: int
    accuracy: tuple[float, float, float]
    """With its 95 % interval."""
    balanced_accuracy: float
    ceiling: float
    """Balanced accuracy of the same network on crops of the true field."""
    calibration_error: float
    """Expected calibration error, 15 bins."""
    coverage: float
    """Share of 90 % prediction sets that hold the truth."""
    never_seen_auroc: float
    """Of the best probability, classes against never-seen morphologies."""
    confusion: NDArray[np.int64]
    """[true, named], in the order of LABELS."""


def evaluate_bundle(store: ModelStore, fields: int = 30, seed: int = 90_000) -> Quality:
    """Score the shipped int8 classifier behind the shipped int8 HIDEF on frames that nothing was fitted on."""
    reconstruct = reconstructor(store)
    bundle, interpreter = store.open("bioaerosol")
    network = ClassifierNetwork(interpreter, bundle.manifest)
    seen = render_crops(seed, fields, LABELS, reconstruct)
    unseen = render_crops(seed + 1, max(fields // 4, 1), NEVER_SEEN, reconstruct)
    chances = network.probabilities(seen.images)
    named = chances.argmax(axis=1)
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion, (seen.labels, named), 1)
    right = named == seen.labels
    truth_named = network.probabilities(seen.truth_images).argmax(axis=1)
    best, other = chances.max(axis=1), network.probabilities(unseen.images).max(axis=1)
    return Quality(
        crops=len(right),
        accuracy=(float(right.mean()), *wilson_interval(int(right.sum()), len(right))),
        balanced_accuracy=_balanced(named, seen.labels),
        ceiling=_balanced(truth_named, seen.labels),
        calibration_error=_calibration_error(best, right),
        coverage=float((1 - chances[np.arange(len(right)), seen.labels] <= bundle.manifest.conformal_quantile).mean()),
        never_seen_auroc=float((best[:, None] > other[None, :]).mean() + 0.5 * (best[:, None] == other[None, :]).mean()),
        confusion=confusion,
    )


def _balanced(named: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([(named[truth == k] == k).mean() for k in np.unique(truth)]))


def _calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[which == k].mean() - right[which == k].mean()) * (which == k).mean() for k in np.unique(which)]
    return float(np.sum(gaps))


def table_lines(quality: Quality) -> list[str]:
    """The evaluation as Markdown."""
    rows = [
        ("crops", f"{quality.crops}"),
        ("accuracy", f"{quality.accuracy[0]:.3f} ({quality.accuracy[1]:.3f} to {quality.accuracy[2]:.3f})"),
        ("balanced accuracy", f"{quality.balanced_accuracy:.3f}"),
        ("balanced accuracy on crops of the true field (not what it was trained on)", f"{quality.ceiling:.3f}"),
        ("expected calibration error", f"{quality.calibration_error:.3f}"),
        ("coverage of the 90 % prediction sets", f"{quality.coverage:.3f}"),
        ("AUROC of the best probability, known against never-seen shapes", f"{quality.never_seen_auroc:.3f}"),
    ]
    lines = ["| figure (simulated) | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += ["| true, named | " + " | ".join(LABELS) + " |", "|---|" + "---|" * len(LABELS)]
    lines += [f"| {LABELS[k]} | " + " | ".join(str(n) for n in row) + " |" for k, row in enumerate(quality.confusion)]
    return lines
