"""The descriptors of HIDEF: one system in two sizes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from device.arguments import number
from device.errors import InputError
from models.recipes.hidef.network import SIZES, TILE_PX
from models.training.images import ImageRecipe
from models.training.options import add_learning, add_start_from, start_file, use_threads

if TYPE_CHECKING:
    from models.training.cards import CardText

__all__ = ["RECIPES", "FieldRecipe"]

_FIELD = ("re_minus_1", "im")


@dataclass(frozen=True)
class FieldRecipe(ImageRecipe):
    """One size: scored by defocus, stage and ring, and adapted to an instrument from its own frames."""

    def options(self, action: str, parser: argparse.ArgumentParser) -> None:
        """Its own options of an action."""
        super().options(action, parser)
        if action == "finetune":
            add_learning(parser)
            add_start_from(parser)
            parser.add_argument(
                "--frames", type=Path, metavar="FILE", help="an instrument's own, of `holonode-calibrate transfer`"
            )
            parser.add_argument(
                "--cpu-minutes", type=number(0, 1e6), default=10.0, metavar="M",
                help="processor time (default 10); 0: the network stays, what it gets wrong of depth is fitted in seconds",
            )  # fmt: skip

    def evaluate(self, args: argparse.Namespace) -> list[str]:
        """By defocus, and by stage and ring."""
        from device.inference.store import ModelStore
        from models.recipes.hidef.one_pass import report_lines

        return report_lines(ModelStore(args.artefacts), args.fields, self.name)

    def card(self, args: argparse.Namespace) -> CardText:
        """What it learned, and what its guard can't see."""
        from device.instrument import load_instrument
        from models.training.blind_spots import blind_spots

        blind = blind_spots(load_instrument("bioaerosol-imx219-850nm").geometry, "850 nm and 1.12 um")
        return replace(super().card(args), further=("## Blind spots of the guard", "", blind, ""))

    def finetune(self, args: argparse.Namespace) -> Path:
        """From an instrument's own frames."""
        if args.frames is None:
            raise InputError(
                "nothing to adapt from", where=f"finetune {self.name}", expected="--frames FILE",
                remedy="`holonode-calibrate transfer FRAMES` writes one.",
            )  # fmt: skip
        from models.recipes.hidef.transfer import TrainingBudget, finetune

        start_from = start_file(args.artefacts, args.start_from or self.name)
        use_threads(args.threads)
        budget = TrainingBudget(minutes=args.cpu_minutes)
        found = finetune(args.frames, start_from, args.out, args.version, args.work, budget=budget, seed=args.seed)
        for check in found.checks:
            verdict = "" if check.decides else " (doesn't decide)"
            print(f"{check.name}: {check.before:.4f} before, {check.after:.4f} after{verdict}")
        print(f"{found.path}: self-test passed, {found.cpu_minutes:.1f} CPU minutes")
        return found.path


_TEXT = {
    "task": "One pass turns a back-propagated in-line hologram into the field of all particles in focus, without the twin image.",
    "data": "Simulated only: random scenes in dimensionless units, every particle a few slabs of its own thickness that scatters "
    "on its own (models/recipes/hidef/scenes.py). No recorded hologram took part in training.",
    "scored": "Fields by the `multislice` model on a grid twice as fine, carried from particle to particle, with the bioaerosol "
    "instrument's light, noise and bits; metrics are particle-local, of particles 96 pixels and more from the border, medians "
    "over particles with 95 % bootstrap intervals. Simulated accuracy, not field accuracy. "
    "`complex_error` is |field - truth| / |truth| over the particle's box. Below, what each stage of the box knows, ring by "
    "ring: one pass, the second look at the depth found without iterations, and refinement from there.",
    "limits": "Particles under about 3 pixels are smoothed away. Where a particle delays light by more than about 2 pi between "
    "neighbouring pixels its phase is not recovered. The sign of a weak phase is a prior (denser than the medium), not a "
    "measurement. Outside +-100 um at the nominal instrument it was never trained; the table's outer rows show what happens.",
}


def _size(name: str, summary: str) -> FieldRecipe:
    """One of the family; what counts of its optics is the defocus number."""
    return FieldRecipe(
        name=name, summary=summary, package="hidef", task="reconstruction", inputs=_FIELD, outputs=_FIELD, network=SIZES[name], text=_TEXT,
        tile_px=TILE_PX,
        optics={
            "wavelength_um": (0.3, 1.1), "pitch_um": (0.3, 10.0), "distance_um": (50.0, 50000.0), "defocus_um": 100.0,
            "defocus_number": (20.0, 650.0),
        },
        baselines=(
            "backpropagation, true depth", "back-propagation, told depth", "ceiling: told depth and outline",
            "ceiling: as lamp and pixels pass it",
        ),
    )  # fmt: skip


RECIPES = (
    _size("hidef", "one pass: focus and phase for everything in the depth; for a Pi 5 or a Jetson"),
    _size("hidef-small", "the same in a third of the arithmetic, for a Pi 4 or a Zero 2"),
)
