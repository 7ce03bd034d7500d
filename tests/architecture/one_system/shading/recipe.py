"""How it is made: simulated, fitted by least squares."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from device.arguments import whole
from device.errors import InputError

if TYPE_CHECKING:
    from models.training.cards import CardText

__all__ = ["RECIPES"]

TRUTH = np.array([0.5, -1.25])


@dataclass(frozen=True)
class ShadingRecipe:
    """Small enough to be looked through."""

    name: str = "shading"
    summary: str = "edges and sizes from a row of shadows"
    baselines: tuple[str, ...] = ("the mean",)
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])

    def options(self, action: str, parser: argparse.ArgumentParser) -> None:
        if action == "simulate":
            parser.add_argument("--rows", type=whole(1, 1000), default=64)

    def simulate(self, args: argparse.Namespace) -> None:
        folder = args.work / self.name
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(1)
        levels = rng.uniform(0, 1, (args.rows, 1))
        np.savez(folder / "rows.npz", levels=levels, sizes=levels * TRUTH + rng.normal(0, 1e-3, (args.rows, 2)))

    def train(self, args: argparse.Namespace) -> None:
        with np.load(args.work / self.name / "rows.npz") as rows:
            found = np.linalg.lstsq(rows["levels"], rows["sizes"], rcond=None)[0]
        np.save(args.work / self.name / "weights.npy", found[0])

    def export(self, args: argparse.Namespace) -> Path:
        from models.recipes.shading.network import content

        from models.training.export import BundleSpec, write_bundle

        made = content(np.linspace(-1, 1, 8), np.load(args.work / self.name / "weights.npy"))
        pixels = tuple(f"pixel_{k}" for k in range(8))
        spec = BundleSpec(
            self.name, args.version, "shading", self.name, {"shadow": pixels, "level": ("lamp",)},
            {"edge": pixels, "size": ("width", "height")}, units={"size": "um"},
            optics={"wavelength_um": (0.4, 0.9), "pitch_um": (1.0, 2.0), "distance_um": (100.0, 900.0), "defocus_um": 50.0,
                    "defocus_number": (1.0, 1000.0)},
        )  # fmt: skip
        sample = {"shadow": np.linspace(-1, 1, 8, dtype=np.float32)[None], "level": np.full((1, 1), 0.5, np.float32)}
        return write_bundle(spec, made, sample, args.artefacts)

    def evaluate(self, args: argparse.Namespace) -> list[str]:
        from device.inference.store import ModelStore

        _, interpreter = ModelStore(args.artefacts).open(self.name)
        levels = np.random.default_rng(2).uniform(0, 1, (50, 1)).astype(np.float32)
        sizes = interpreter.run_named({"level": levels, "shadow": np.zeros((50, 8), np.float32)})["size"]
        off, spread = (float(np.sqrt(np.mean((levels * TRUTH - guess) ** 2))) for guess in (sizes, TRUTH / 2))
        return ["| method | off by, um |", "|---|---|", f"| learned | {off:.4f} |", f"| the mean | {spread:.4f} |"]

    def card(self, args: argparse.Namespace) -> CardText:
        from models.training.cards import CardText

        return CardText("Edges and sizes.", "Rows drawn at random.", "Other rows.", "It is a toy.")

    def finetune(self, args: argparse.Namespace) -> Path:
        raise InputError("this recipe can't be fine-tuned", where=self.name, remedy="Train it again: it takes no time.")


RECIPES = (ShadingRecipe(),)
