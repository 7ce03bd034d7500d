"""The descriptors of HIDEF: one system in two sizes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from device.arguments import number, whole
from device.errors import InputError
from models.training.options import add_learning, add_start_from, start_file, use_threads

if TYPE_CHECKING:
    from models.training.cards import CardText

__all__ = ["RECIPES", "FieldSteps"]


@dataclass(frozen=True)
class FieldSteps:
    """The steps of one size (models.recipes.protocol.Recipe)."""

    name: str
    summary: str
    baselines: tuple[str, ...] = (
        "backpropagation, true depth", "back-propagation, told depth", "ceiling: told depth and outline",
        "ceiling: as lamp and pixels pass it",
    )  # fmt: skip
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])

    def options(self, action: str, parser: argparse.ArgumentParser) -> None:
        """Its own options of an action."""
        if action == "simulate":
            parser.add_argument("--seed", type=whole(0, 2**31), default=1)
            parser.add_argument("--samples", type=whole(1, 1_000_000), default=1024, help="tiles in all (default %(default)s)")
        if action == "train":
            add_learning(parser)
            add_start_from(parser)
            parser.add_argument(
                "--steps", type=whole(1, 100_000_000), default=14000, help="optimiser steps (default %(default)s)"
            )
            parser.add_argument(
                "--seconds", type=number(0, 1e9, above=True), metavar="S", help="time of training, over all sittings; ends it before --steps",
            )  # fmt: skip
        if action == "export":
            parser.add_argument("--with-16-bit", action="store_true", help="also print what 16-bit activations would lose")
        if action in ("evaluate", "card"):
            parser.add_argument(
                "--fields", type=whole(1, 10_000), default=4, help="test fields a bin of defocus (default %(default)s)"
            )
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

    def simulate(self, args: argparse.Namespace) -> None:
        """Tiles of random scenes, in the pool that training draws from."""
        from models.recipes.hidef.one_pass import POOL_CAPACITY, SAMPLE_SHAPE
        from models.recipes.hidef.scenes import samples
        from models.training.pool import Pool

        pool = Pool(args.work / self.name / "pool", POOL_CAPACITY, SAMPLE_SHAPE)
        source = samples(args.seed + pool.written)
        while pool.written < args.samples:
            pool.write(next(source))
        print(f"{pool.written} tiles")

    def train(self, args: argparse.Namespace) -> None:
        """Render beside it and learn."""
        from models.recipes.hidef.one_pass import run_training
        from models.training.loop import TrainingSchedule

        start_from = start_file(args.artefacts, args.start_from) if args.start_from else None
        use_threads(args.threads)
        schedule = TrainingSchedule(steps=args.steps, seconds=args.seconds or math.inf)
        run_training(args.work / self.name, schedule, args.seed, start_from, self.name)

    def export(self, args: argparse.Namespace) -> Path:
        """Its int8 bundle."""
        from models.recipes.hidef.one_pass import export

        return export(args.work / self.name, args.artefacts, args.version, self.name, with_16_bit=args.with_16_bit)

    def evaluate(self, args: argparse.Namespace) -> list[str]:
        """By defocus, and by stage and ring."""
        from device.inference.store import ModelStore
        from models.recipes.hidef.one_pass import report_lines

        return report_lines(ModelStore(args.artefacts), args.fields, self.name)

    def card(self, args: argparse.Namespace) -> CardText:
        """What it learned, and what its guard can't see."""
        from device.instrument import load_instrument
        from models.recipes.hidef.one_pass import training_lines
        from models.training.blind_spots import blind_spots
        from models.training.cards import CardText

        blind = blind_spots(load_instrument("bioaerosol-imx219-850nm").geometry, "850 nm and 1.12 um")
        return CardText(
            task="One pass turns a back-propagated in-line hologram into the field of all particles in focus, without the twin image.",
            data="Simulated only: random scenes in dimensionless units, every particle a few slabs of its own thickness that scatters "
            "on its own (models/recipes/hidef/scenes.py). No recorded hologram took part in training.",
            scored="Fields by the `multislice` model on a grid twice as fine, carried from particle to particle, with the bioaerosol "
            "instrument's light, noise and bits; metrics are particle-local, of particles 96 pixels and more from the border, medians "
            "over particles with 95 % bootstrap intervals. Simulated accuracy, not field accuracy. "
            "`complex_error` is |field - truth| / |truth| over the particle's box. Below, what each stage of the box knows, ring by "
            "ring: one pass, the second look at the depth found without iterations, and refinement from there.",
            limits="Particles under about 3 pixels are smoothed away. Where a particle delays light by more than about 2 pi between "
            "neighbouring pixels its phase is not recovered. The sign of a weak phase is a prior (denser than the medium), not a "
            "measurement. Outside +-100 um at the nominal instrument it was never trained; the table's outer rows show what happens.",
            training=tuple(training_lines(args.work / self.name)),
            further=("## Blind spots of the guard", "", blind, ""),
        )

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


RECIPES = (
    FieldSteps("hidef", "one pass: focus and phase for everything in the depth; for a Pi 5 or a Jetson"),
    FieldSteps("hidef-small", "the same in a third of the arithmetic, for a Pi 4 or a Zero 2"),
)
