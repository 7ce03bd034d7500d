"""HIDEF: holographic imaging with deep learning for extended focus.

One pass turns the back-propagated hologram into the field of all particles in focus, phase recovered, twin image gone
(Wu et al., Optica 5, 704 (2018), doi:10.1364/OPTICA.5.000704).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.analysis.reconstruct import tile_starts
from device.inference.interpreter import Interpreter
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from models.recipes.hidef_evaluation import METRICS, Score, evaluate, scoring_fields
from models.training.export import BundleSpec, to_tflite, write_bundle
from models.training.loop import Schedule, fill_pool, train
from models.training.pool import Pool
from models.training.quality import bootstrap_median
from models.training.unet import build_unet, macs_per_pixel

__all__ = ["bins", "build", "evaluate_bundle", "export", "field_method", "run_training"]

Complex = NDArray[np.complex64]

WIDTHS = (32, 56, 96, 160)
TILE_PX = 256
POOL_CAPACITY = 8192
SAMPLE_SHAPE = (TILE_PX, TILE_PX, 5)

OPTICS: dict[str, tuple[float, float] | float] = {
    "wavelength_um": (0.3, 1.1),
    "pitch_um": (0.3, 10.0),
    "distance_um": (50.0, 50000.0),
    "defocus_um": 100.0,
    "defocus_number": (20.0, 650.0),
}
"""What the scenes of training cover, in physical terms; the defocus number is what counts."""


def build() -> Any:
    """The `small` network of the family."""
    return build_unet(WIDTHS)


def run_training(work: Path, schedule: Schedule, seed: int = 1, start_from: Path | None = None) -> None:
    """Train in `work`, rendering beside it; resumes what is there, else starts from a file's weights or from none."""
    renderer = fill_pool("models.recipes.hidef_scenes", work / "pool", POOL_CAPACITY, SAMPLE_SHAPE, seed)
    try:
        train(build, Pool(work / "pool", POOL_CAPACITY, SAMPLE_SHAPE), work, schedule, seed, start_from)
    finally:
        renderer.terminate()
        renderer.wait()


def export(work: Path, out: Path, version: str) -> Path:
    """int8 bundle of the weights in `work`; prints what quantisation costs on samples of the pool."""
    model = build_unet(WIDTHS, tile_px=TILE_PX)
    model.load_weights(work / "weights.weights.h5")
    pool = Pool(work / "pool", POOL_CAPACITY, SAMPLE_SHAPE)
    rng = np.random.default_rng(5)
    # Ranges are set by what is rare, so many tiles.
    representative = pool.batch(rng, 160)[..., :2]
    content = to_tflite(model, [sample[None] for sample in representative])
    channels = ("re_minus_1", "im")
    spec = BundleSpec("hidef", version, "reconstruction", "hidef", channels, channels, OPTICS)
    path = write_bundle(spec, content, representative[:1], out)
    plain = out / "float32.partial"
    plain.write_bytes(to_tflite(model, None))
    batch = pool.batch(rng, 24)
    for name, file in (("float32", plain), ("int8", path)):
        error = ((Interpreter(file).run(batch[..., :2]) - batch[..., 2:4]) ** 2).sum(axis=-1)
        near = batch[..., 4] > 1
        print(f"{name:8} squared complex error: {error[near].mean():.5f} near particles, {error[~near].mean():.5f} elsewhere")
    plain.unlink()
    print(f"{len(content) / 1024:.0f} kB, {macs_per_pixel(model) / 1000:.1f} kMAC per pixel")
    return path


def field_method(run: Callable[[Complex], Complex], tile_px: int, margin_px: int) -> Callable[[Complex], Complex]:
    """A whole field from a function over tiles, cut hard in the middle of the overlaps."""

    def whole(start: Complex) -> Complex:
        height, width = start.shape
        field = np.ones(start.shape, np.complex64)
        for top in tile_starts(height, tile_px, margin_px):
            for left in tile_starts(width, tile_px, margin_px):
                tile = np.ones((tile_px, tile_px), np.complex64)
                part = start[top : top + tile_px, left : left + tile_px]
                tile[: part.shape[0], : part.shape[1]] = part
                y = margin_px if top else 0
                x = margin_px if left else 0
                field[top + y : top + tile_px, left + x : left + tile_px] = run(tile)[y : part.shape[0], x : part.shape[1]]
        return field

    return whole


def evaluate_bundle(
    store: ModelStore, fields_per_bin: int = 4, seed: int = 2024, float_weights: Path | None = None
) -> dict[float, dict[str, list[Score]]]:
    """Scores by defocus bin of the shipped int8 file, of back-propagation at the true depth, and, given weights, of float32."""
    bundle, interpreter = store.open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    methods: dict[str, Callable[[Complex], Complex]] = {
        "hidef int8": field_method(network.run, network.tile_px, network.margin_px)
    }
    if float_weights is not None:
        methods["hidef float32"] = field_method(_float_run(float_weights), network.tile_px, network.margin_px)
    return bins(methods, fields_per_bin, seed)


def bins(
    methods: Mapping[str, Callable[[Complex], Complex]], fields_per_bin: int, seed: int
) -> dict[float, dict[str, list[Score]]]:
    """Scores by defocus, from -150 to 150 um; the network never saw the outermost."""
    table: dict[float, dict[str, list[Score]]] = {}
    for k, defocus_um in enumerate((-150.0, -100.0, -50.0, 0.0, 50.0, 100.0, 150.0)):
        table[defocus_um] = evaluate(list(scoring_fields(fields_per_bin, seed + k, defocus_um)), methods)
    return table


def _float_run(weights: Path) -> Callable[[Complex], Complex]:
    model = build()
    model.load_weights(weights)

    def run(tile: Complex) -> Complex:
        out = np.asarray(model(np.stack([tile.real - 1, tile.imag], axis=-1)[None].astype(np.float32)))[0]
        return (1 + out[..., 0] + 1j * out[..., 1]).astype(np.complex64)

    return run


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


def training_summary(work: Path) -> dict[str, Any]:
    """Steps, megapixels and last loss of a training."""
    state = json.loads((work / "state.json").read_text())
    return {
        "steps": state["step"],
        "megapixels": round(state["megapixels"]),
        "loss": state["curve"][-1][2] if state["curve"] else None,
    }
