"""The bioaerosol classifier: names a particle from its reconstructed field.

Trained on what it will see: crops of fields that the shipped int8 HIDEF file reconstructed from simulated frames of the
instrument, at the places where the particles truly are, give or take a pixel. Size stays physical: a crop has a fixed
pitch (see device.analysis.crops).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.analysis.crops import CROP_PX, classifier_crop
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate
from device.twin.forward import Illumination, object_field, thin_hologram
from device.twin.scene import Particle, draw_particle

__all__ = ["LABELS", "NEVER_SEEN", "Crops", "build", "conformal_quantile", "fit_temperature", "render_crops", "train"]

Complex = NDArray[np.complex64]
Reconstruct = Callable[[Complex], Complex]

LABELS = ("alternaria", "birch", "cladosporium", "dust", "grass", "oak", "penicillium", "ragweed")
"""Classes, in the order of the network's outputs."""

NEVER_SEEN = ("bead", "cluster")
"""Morphologies kept out of training, to score the reject option."""

GEOMETRY = Geometry(0.85, 1.12, 500.0)
FIELD_PX = 512


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
        electrons = float(np.exp(rng.uniform(np.log(800), np.log(6000))))
        noisy = (rng.poisson(clean * electrons) / np.maximum(rng.poisson(electrons, clean.shape), 1)).astype(np.float32)
        field = reconstruct(backpropagate(noisy, GEOMETRY, GEOMETRY.distance_um + float(rng.normal(0, 8))))
        truth = object_field(clean.shape, particles, light)
        for particle in particles:
            x_px, y_px = particle.x_um / GEOMETRY.pitch_um, particle.y_um / GEOMETRY.pitch_um
            if not (12 < x_px < FIELD_PX - 12 and 12 < y_px < FIELD_PX - 12):
                continue
            x_px, y_px = x_px + rng.normal(0, 0.7), y_px + rng.normal(0, 0.7)
            images.append(classifier_crop(field, x_px, y_px, GEOMETRY.pitch_um))
            truths.append(classifier_crop(truth, x_px, y_px, GEOMETRY.pitch_um))
            labels.append(names.index(particle.label))
            sizes.append(particle.esd_um)
    return Crops(np.stack(images), np.stack(truths), np.array(labels), np.array(sizes, np.float32))


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
