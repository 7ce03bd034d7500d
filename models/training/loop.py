"""The training loop: one process renders into a pool, this one learns from it.

Resumable: weights, optimiser step and the curve are kept in the work folder after every round. Runs on whatever Keras
runs on; `bfloat16` pays where the processor has matrix units for it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.training.pool import Pool

__all__ = ["Schedule", "fill_pool", "train"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int = 20_000
    """Optimiser steps in all."""
    batch: int = 8
    """Samples per step."""
    peak_rate: float = 1.2e-3
    """Learning rate after warm-up; falls to a fiftieth along half a cosine."""
    warmup: int = 300
    """Steps of linear warm-up."""
    round_steps: int = 250
    """Steps between two checkpoints."""
    average: float = 0.998
    """Decay of the running average of the weights, which is what is exported."""
    precision: str = "mixed_bfloat16"
    """Keras precision policy."""

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        if step < self.warmup:
            return self.peak_rate * (step + 1) / self.warmup
        along = min((step - self.warmup) / max(self.steps - self.warmup, 1), 1.0)
        return self.peak_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * along)))


def fill_pool(
    recipe_module: str, folder: Path, capacity: int, shape: tuple[int, int, int], seed: int
) -> subprocess.Popen[bytes]:
    """Start a process that renders samples of `recipe_module.samples(seed)` into the pool until it is ended."""
    command = [sys.executable, "-m", "models.training.render", recipe_module, str(folder), str(capacity), str(seed)]
    command += [str(n) for n in shape]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.Popen(command, env=environment)


def weighted_field_loss(truth: Any, predicted: Any) -> Any:
    """Weighted mean of the squared complex error plus a little of its modulus, which keeps the background clean.

    `truth` [n, h, w, 3]: real and imaginary part of the field minus 1, weight; `predicted` [n, h, w, 2].
    """
    from keras import ops

    error = ops.sum(ops.square(truth[..., :2] - predicted), axis=-1)
    modulus = ops.sqrt(error + 1e-6)
    weight = truth[..., 2]
    return ops.sum(weight * (error + 0.15 * modulus)) / ops.sum(weight)


def train(build: Any, pool: Pool, work: Path, schedule: Schedule, seed: int = 0, deadline_s: float = math.inf) -> None:
    """Train until `schedule.steps` or the deadline; resumes from `work`.

    `build()` returns the Keras model, after the precision policy is set. Writes `weights.weights.h5` (running average),
    `last.weights.h5`, `state.json` (step, megapixels, loss curve).
    """
    import keras

    keras.mixed_precision.set_global_policy(schedule.precision)
    keras.utils.set_random_seed(seed)
    work.mkdir(parents=True, exist_ok=True)
    model = build()
    state_path = work / "state.json"
    state: dict[str, Any] = {"step": 0, "megapixels": 0.0, "curve": []}
    if state_path.exists():
        state = json.loads(state_path.read_text())
        model.load_weights(work / "last.weights.h5")
    average = [np.array(w) for w in model.get_weights()]
    if state_path.exists():
        reference = build()
        reference.load_weights(work / "weights.weights.h5")
        average = [np.array(w) for w in reference.get_weights()]
    model.compile(keras.optimizers.AdamW(schedule.peak_rate, weight_decay=1e-5, clipnorm=1.0), weighted_field_loss)
    rng = np.random.default_rng((seed, state["step"]))
    while pool.written < 50 * schedule.batch:
        time.sleep(1)
    started = time.monotonic()
    while state["step"] < schedule.steps and time.monotonic() - started < deadline_s:
        losses = _round(model, pool, schedule, state, rng, average)
        state["curve"].append([state["step"], round(state["megapixels"], 1), float(np.mean(losses))])
        _save(model, average, work, state)
        print(
            f"step {state['step']:6d}  {state['megapixels']:8.0f} Mpx  loss {np.mean(losses):.5f}  "
            f"rate {schedule.rate(state['step']):.2e}  rendered {pool.written}",
            flush=True,
        )
    (work / "schedule.json").write_text(json.dumps(asdict(schedule)))


def _round(
    model: Any, pool: Pool, schedule: Schedule, state: dict[str, Any], rng: np.random.Generator, average: list[Any]
) -> list[float]:
    losses: list[float] = []
    for _ in range(schedule.round_steps):
        batch = pool.batch(rng, schedule.batch)
        model.optimizer.learning_rate = schedule.rate(state["step"])
        losses.append(float(model.train_on_batch(batch[..., :2], batch[..., 2:])))
        state["step"] += 1
        state["megapixels"] += batch.shape[0] * batch.shape[1] * batch.shape[2] / 1e6
        if state["step"] % 5 == 0:
            decay = min(schedule.average**5, (1 + state["step"]) / (50 + state["step"]))
            for k, weight in enumerate(model.get_weights()):
                average[k] += (1 - decay) * (weight - average[k])
    return losses


def _save(model: Any, average: list[Any], work: Path, state: dict[str, Any]) -> None:
    last = model.get_weights()
    model.set_weights(average)
    model.save_weights(work / "partial.weights.h5")
    (work / "partial.weights.h5").replace(work / "weights.weights.h5")
    model.set_weights(last)
    model.save_weights(work / "partial.weights.h5")
    (work / "partial.weights.h5").replace(work / "last.weights.h5")
    (work / "state.json").write_text(json.dumps(state))
