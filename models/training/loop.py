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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.training.curves import write_curve
from models.training.losses import weighted_field_loss
from models.training.pool import Pool
from models.training.restore import restore_weights

__all__ = ["TrainingSchedule", "fill_pool", "train"]


@dataclass(frozen=True)
class TrainingSchedule:
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
    seconds: float = math.inf
    """Time of training in all, over however many sittings; whichever of steps and time ends first ends it."""

    def along(self, step: int, elapsed_s: float = 0.0) -> float:
        """How far a training is, 0 to 1."""
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return min(max(done, elapsed_s / self.seconds, 0.0), 1.0)

    def rate(self, step: int, elapsed_s: float = 0.0) -> float:
        """Learning rate at a step."""
        falling = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.along(step, elapsed_s)))
        return self.peak_rate * min((step + 1) / self.warmup, 1.0) * falling


def fill_pool(
    recipe_module: str, folder: Path, capacity: int, shape: tuple[int, int, int], seed: int
) -> subprocess.Popen[bytes]:
    """Start a process that renders samples of `recipe_module.samples(seed)` into the pool until it is ended."""
    command = [sys.executable, "-m", "models.training.render", recipe_module, str(folder), str(capacity), str(seed)]
    command += [str(n) for n in shape]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.Popen(command, env=environment)


def train(
    build: Callable[[], Any],
    pool: Pool,
    work: Path,
    schedule: TrainingSchedule,
    seed: int = 0,
    start_from: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    loss: Callable[[Any, Any], Any] = weighted_field_loss,
    inputs: int = 2,
    least: int = 0,
) -> None:
    """Train until the schedule ends; resumes from `work`.

    `build()` returns the Keras model, after the precision policy is set; `start_from` a .tflite file whose weights are the
    first ones; `clock` in seconds, what the schedule's time is counted by. The first `inputs` channels of a sample go in; by the
    rest, the truth and what weighs it, `loss(truth, predicted)` judges. Begins once there
    are `least` samples (0: fifty batches). Writes `weights.weights.h5` (running average),
    `last.weights.h5`, `state.json` (step, seconds, megapixels, loss curve), and the curve as `curve.csv` and `curve.png`.
    """
    import keras

    keras.mixed_precision.set_global_policy(schedule.precision)
    keras.utils.set_random_seed(seed)
    work.mkdir(parents=True, exist_ok=True)
    model, average, state = _resumed(build, work, start_from)
    model.compile(keras.optimizers.AdamW(schedule.peak_rate, weight_decay=1e-5, clipnorm=1.0), loss)
    rng = np.random.default_rng((seed, state["step"]))
    while pool.written < min(least or 50 * schedule.batch, pool.capacity):
        time.sleep(1)
    while schedule.along(state["step"], state["seconds"]) < 1:
        started = time.monotonic()
        losses = _round(model, pool, schedule, state, rng, average, clock, inputs)
        took_s = time.monotonic() - started
        state["curve"].append([state["step"], round(state["megapixels"], 1), float(np.mean(losses))])
        _save(model, average, work, state)
        write_curve(state["curve"], work)
        along = schedule.along(state["step"], state["seconds"])
        left = f"{state['seconds'] / along * (1 - along) / 60:.0f} min left" if along > 0 else ""
        print(
            f"{100 * along:5.1f} %  step {state['step']:6d}  {state['megapixels']:8.0f} Mpx  loss {np.mean(losses):.5f}  "
            f"rate {schedule.rate(state['step'], state['seconds']):.2e}  {len(losses) / took_s:.2f} steps/s  "
            f"rendered {pool.written}  {left}",
            flush=True,
        )
    (work / "schedule.json").write_text(json.dumps(asdict(schedule)))


def _resumed(build: Callable[[], Any], work: Path, start_from: Path | None) -> tuple[Any, list[Any], dict[str, Any]]:
    """(model, running average of its weights, state): as the work folder has them, else from the file, else fresh."""
    model = build()
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "megapixels": 0.0, "curve": [], "start_from": None}
    state_path = work / "state.json"
    if state_path.exists():
        state |= json.loads(state_path.read_text())
        model.load_weights(work / "weights.weights.h5")
        average = [np.array(w) for w in model.get_weights()]
        model.load_weights(work / "last.weights.h5")
        return model, average, state
    if start_from is not None:
        restore_weights(model, start_from)
        state["start_from"] = start_from.stem
    return model, [np.array(w) for w in model.get_weights()], state


def _round(
    model: Any, pool: Pool, schedule: TrainingSchedule, state: dict[str, Any], rng: np.random.Generator, average: list[Any],
    clock: Callable[[], float], inputs: int,
) -> list[float]:  # fmt: skip
    losses: list[float] = []
    for _ in range(schedule.round_steps):
        started = clock()
        batch = pool.batch(rng, schedule.batch)
        model.optimizer.learning_rate = schedule.rate(state["step"], state["seconds"])
        losses.append(float(model.train_on_batch(batch[..., :inputs], batch[..., inputs:])))
        state["step"] += 1
        state["megapixels"] += batch.shape[0] * batch.shape[1] * batch.shape[2] / 1e6
        if state["step"] % 5 == 0:
            decay = min(schedule.average**5, (1 + state["step"]) / (50 + state["step"]))
            for k, weight in enumerate(model.get_weights()):
                average[k] += (1 - decay) * (weight - average[k])
        state["seconds"] += clock() - started
        if schedule.along(state["step"], state["seconds"]) >= 1:
            break
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
