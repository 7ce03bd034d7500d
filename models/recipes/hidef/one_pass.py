"""HIDEF: holographic imaging with deep learning for extended focus.

One pass turns the back-propagated hologram into the field of all particles in focus, phase recovered, twin image gone
(Wu et al., Optica 5, 704 (2018), doi:10.1364/OPTICA.5.000704).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.analysis.reconstruct import FieldNetwork, run_tiles
from device.inference.interpreter import Interpreter
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from models.recipes.hidef.evaluation import METRICS, Score, evaluate, scoring_fields
from models.recipes.hidef.stages import stage_lines
from models.training.export import BundleSpec, to_tflite, trained_weights, write_bundle
from models.training.loop import TrainingSchedule, fill_pool, train
from models.training.pool import Pool
from models.training.quality import bootstrap_median
from models.training.unet import build_unet, macs_per_pixel, rearranged

__all__ = [
    "OPTICS", "SIZES", "KerasNetwork", "bins", "build", "evaluate_bundle", "export", "field_method", "report_lines", "training_summary", "write",
]  # fmt: skip

Complex = NDArray[np.complex64]

SIZES = {"hidef": (32, 56, 96, 160), "hidef-small": (16, 32, 56, 96)}
"""Channels by level: `hidef` for a Pi 5 or a Jetson, `hidef-small` for a Pi 4 or a Zero 2."""

TILE_PX = 256
POOL_CAPACITY = 8192
SAMPLE_SHAPE = (TILE_PX, TILE_PX, 5)

OpticsTable = dict[str, tuple[float, float] | float]

OPTICS: OpticsTable = {
    "wavelength_um": (0.3, 1.1),
    "pitch_um": (0.3, 10.0),
    "distance_um": (50.0, 50000.0),
    "defocus_um": 100.0,
    "defocus_number": (20.0, 650.0),
}
"""What the scenes of training cover, in physical terms; the defocus number is what counts."""


def build(name: str = "hidef") -> Any:
    """A network of the family."""
    return build_unet(SIZES[name])


def run_training(
    work: Path, schedule: TrainingSchedule, seed: int = 1, start_from: Path | None = None, name: str = "hidef"
) -> None:
    """Train in `work`, rendering beside it; resumes what is there, else starts from a file's weights or from none."""
    renderer = fill_pool("models.recipes.hidef.scenes", work / "pool", POOL_CAPACITY, SAMPLE_SHAPE, seed)
    try:
        train(partial(build, name), Pool(work / "pool", POOL_CAPACITY, SAMPLE_SHAPE), work, schedule, seed, start_from)
    finally:
        renderer.terminate()
        renderer.wait()


def export(work: Path, out: Path, version: str, name: str = "hidef", *, with_16_bit: bool = False) -> Path:
    """int8 bundle of the weights in `work`; prints what quantisation costs on samples of the pool.

    `with_16_bit`: also what 16-bit activations would cost; such a file isn't kept.
    """
    trained = build_unet(SIZES[name])
    trained.load_weights(trained_weights(work))
    pool = Pool(work / "pool", POOL_CAPACITY, SAMPLE_SHAPE)
    return write(trained, pool, out, version, name, with_16_bit=with_16_bit)


def write(
    trained: Any, pool: Pool, out: Path, version: str, name: str = "hidef", optics: OpticsTable | None = None, *,
    with_16_bit: bool = False,
) -> Path:  # fmt: skip
    """int8 bundle of a trained model, quantised by samples of the pool; prints what that costs."""
    model = rearranged(trained, SIZES[name], tile_px=TILE_PX)
    rng = np.random.default_rng(5)
    # Ranges are set by what is rare, so many tiles.
    representative = pool.batch(rng, 160)[..., :2]
    content = to_tflite(model, [sample[None] for sample in representative])
    channels = ("re_minus_1", "im")
    spec = BundleSpec(
        name,
        version,
        "reconstruction",
        "hidef",
        {"input": channels},
        {"output": channels},
        optics or OPTICS,
        tile_multiple_px=16,
    )
    # The self-test must have something to see: the busiest tile.
    golden = int(np.argmax(representative.std(axis=(1, 2, 3))))
    path = write_bundle(spec, content, {"input": representative[golden : golden + 1]}, out)
    with tempfile.TemporaryDirectory() as folder:
        others: dict[str, bytes] = {"float32": to_tflite(model, None)}
        if with_16_bit:
            # The converter knows no 16-bit depth-to-space: the same network with transposed convolutions.
            fixed = build_unet(SIZES[name], tile_px=TILE_PX)
            fixed.set_weights(trained.get_weights())
            others["int16x8"] = to_tflite(fixed, [sample[None] for sample in representative], wide_activations=True)
        files = {"int8": path} | {kind: Path(folder) / f"{kind}.tflite" for kind in others}
        for kind, made in others.items():
            files[kind].write_bytes(made)
        batch = pool.batch(rng, 24)
        for kind, file in files.items():
            error = ((Interpreter(file).run(batch[..., :2]) - batch[..., 2:4]) ** 2).sum(axis=-1)
            near = batch[..., 4] > 1
            print(
                f"{kind:8} squared complex error: {error[near].mean():.5f} near particles, {error[~near].mean():.5f} elsewhere"
            )
    print(f"{len(content) / 1024:.0f} kB, {macs_per_pixel(trained) / 1000:.1f} kMAC per pixel")
    return path


@dataclass(frozen=True)
class KerasNetwork:
    """A Keras model where the box has a file."""

    model: Any
    tile_px: int = TILE_PX
    margin_px: int = 32
    multiple_px: int = 16

    def run(self, tile: Complex) -> Complex:
        """One pass over one tile, complex64 [height, width], 1 where nothing is."""
        out = np.asarray(self.model(np.stack([tile.real - 1, tile.imag], axis=-1)[None].astype(np.float32)), np.float32)[0]
        return (1 + out[..., 0] + 1j * out[..., 1]).astype(np.complex64)


def field_method(network: FieldNetwork) -> Callable[[Complex], Complex]:
    """Back-propagated field -> object field, tile by tile as the box does it."""
    return lambda start: run_tiles(start, network).field


def evaluate_bundle(
    store: ModelStore, fields_per_bin: int = 4, seed: int = 2024, float_weights: Path | None = None, name: str = "hidef"
) -> dict[float, dict[str, list[Score]]]:
    """Scores by defocus bin of the shipped int8 file, of back-propagation at the true depth, and, given weights, of float32."""
    bundle, interpreter = store.open(name)
    methods = {f"{name} int8": field_method(HidefNetwork(interpreter, bundle.manifest))}
    if float_weights is not None:
        model = build(name)
        model.load_weights(float_weights)
        methods[f"{name} float32"] = field_method(KerasNetwork(model))
    return bins(methods, fields_per_bin, seed)


def bins(
    methods: Mapping[str, Callable[[Complex], Complex]], fields_per_bin: int, seed: int
) -> dict[float, dict[str, list[Score]]]:
    """Scores by defocus, from -150 to 150 um; the network never saw the outermost."""
    table: dict[float, dict[str, list[Score]]] = {}
    for k, defocus_um in enumerate((-150.0, -100.0, -50.0, 0.0, 50.0, 100.0, 150.0)):
        table[defocus_um] = evaluate(list(scoring_fields(fields_per_bin, seed + k, defocus_um)), methods)
    return table


def table_lines(table: dict[float, dict[str, list[Score]]]) -> list[str]:
    """The evaluation as a Markdown table: medians over particles with 95 % bootstrap intervals."""
    lines = ["| defocus um | method | particles | " + " | ".join(METRICS) + " |", "|---|---|---|" + "---|" * len(METRICS)]
    for defocus_um, methods in table.items():
        for method, scores in methods.items():
            cells = []
            for metric in METRICS:
                middle, low, high = bootstrap_median([s.values[metric] for s in scores])
                cells.append(f"{middle:.3g} ({low:.3g} to {high:.3g})")
            lines.append(f"| {defocus_um:+.0f} | {method} | {len(scores)} | " + " | ".join(cells) + " |")
    return lines


def report_lines(store: ModelStore, fields_per_bin: int = 4, name: str = "hidef") -> list[str]:
    """What `evaluate` and the card print of the shipped int8 file: scores by defocus, and the rings by stage."""
    bundle, interpreter = store.open(name)
    network = HidefNetwork(interpreter, bundle.manifest)
    rings = stage_lines(network, network.ring_gain, fields_per_bin)
    return [*table_lines(evaluate_bundle(store, fields_per_bin, name=name)), "", *rings]


def training_summary(work: Path) -> dict[str, Any]:
    """Steps, megapixels and last loss of a training."""
    state = json.loads((work / "state.json").read_text())
    return {
        "steps": state["step"],
        "megapixels": round(state["megapixels"]),
        "loss": state["curve"][-1][2] if state["curve"] else None,
    }
