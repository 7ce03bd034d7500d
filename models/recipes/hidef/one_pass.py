"""How one pass of HIDEF is scored, by defocus.

One pass turns the back-propagated hologram into the field of all particles in focus, phase recovered, twin image gone
(Wu et al., Optica 5, 704 (2018), doi:10.1364/OPTICA.5.000704).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.analysis.reconstruct import FieldNetwork, run_tiles
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from models.recipes.hidef.evaluation import METRICS, Score, evaluate, scoring_fields
from models.recipes.hidef.network import SIZES, TILE_PX
from models.recipes.hidef.stages import stage_lines
from models.training.quality import bootstrap_median

__all__ = ["KerasNetwork", "bins", "evaluate_bundle", "field_method", "report_lines", "table_lines"]

Complex = NDArray[np.complex64]


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
        model = SIZES[name].build()
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
