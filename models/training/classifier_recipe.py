"""What every classifier does when `holonode-models` walks it; cheap to import."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.arguments import whole
from device.errors import InputError
from models.training.options import add_learning, add_start_from, start_file, use_threads

if TYPE_CHECKING:
    from device.inference.manifest import Manifest
    from models.training.cards import CardText
    from models.training.classify import ClassifierRecipe

__all__ = ["ClassifierSteps"]


@dataclass(frozen=True)
class ClassifierSteps:
    """The steps of one classifier (models.recipes.protocol.Recipe)."""

    name: str
    summary: str
    declared: Callable[[], ClassifierRecipe]
    """What it names and learns from."""
    baselines: tuple[str, ...] = ("by a network trained on such: the ceiling",)

    @property
    def cannot(self) -> Mapping[str, str]:
        """Options of other recipes that somebody may try here."""
        instead = f"this recipe doesn't train that way: `holonode-models finetune {self.name} --labels FILE` goes on from a shipped classifier"
        return {"--seconds": instead}

    def options(self, action: str, parser: argparse.ArgumentParser) -> None:
        """Its own options of an action."""
        if action == "train":
            add_learning(parser)
            add_start_from(parser)
            parser.add_argument(
                "--epochs", type=whole(1, 100_000), default=45, help="passes over its crops (default %(default)s)"
            )
        if action == "finetune":
            add_learning(parser)
            add_start_from(parser)
            parser.add_argument("--labels", type=Path, metavar="FILE", help="labelled crops, of `holonode review export`")

    def simulate(self, args: argparse.Namespace) -> None:
        """Frames of every split."""
        recipe = self.declared()
        for split in recipe.frames:
            count = sum(1 for _ in recipe.rendered(args.work / self.name, split))
            print(f"{split}: {count} frames", flush=True)

    def train(self, args: argparse.Namespace) -> None:
        """Render, cut with the store's HIDEF file, fit."""
        from device.inference.store import ModelStore
        from models.training.classify import Fit, run_training

        use_threads(args.threads)
        recipe = self.declared()
        how, start = Fit(epochs=args.epochs, seed=args.seed), None
        if args.start_from:
            how, start = how.gentler(), start_file(args.artefacts, args.start_from)
            self._check_same(ModelStore(args.artefacts).find(str(start)).manifest, recipe.labels, start)
        run_training(recipe, args.work / self.name, ModelStore(args.artefacts), how, start)

    def _check_same(self, manifest: Manifest, labels: tuple[str, ...], start: Path) -> None:
        if manifest.labels != labels:
            raise InputError(
                "training can't go on from this model: it names other things", where=f"--start-from {start.name}",
                expected=f"a classifier of {', '.join(labels)}", got=", ".join(manifest.labels) or f"a model for {manifest.task}",
                remedy=f"Name a bundle of {self.name}, or train from the start.",
            )  # fmt: skip

    def export(self, args: argparse.Namespace) -> Path:
        """Its int8 bundle, calibrated."""
        from device.inference.store import ModelStore
        from models.training.classify import export

        return export(self.declared(), args.work / self.name, ModelStore(args.artefacts), args.artefacts, args.version)

    def evaluate(self, args: argparse.Namespace) -> list[str]:
        """On frames of another forward model than training's."""
        from device.inference.store import ModelStore
        from models.training.scoring import evaluate, table_lines

        recipe = self.declared()
        return table_lines(evaluate(recipe, args.work / self.name, ModelStore(args.artefacts)), recipe.labels)

    def card(self, args: argparse.Namespace) -> CardText:  # noqa: ARG002  the same for every bundle
        """What every classifier's card says, with its own limits."""
        from models.training.cards import CardText

        recipe = self.declared()
        held_out = ", ".join(m.name for m in recipe.never_seen)
        return CardText(
            task="Names a particle from its reconstructed field; size is an input, not scaled away. Calibrated probabilities, 90 % "
            "prediction sets class by class (Mondrian conformal), 'unknown' for what is none of the classes.",
            data="Simulated only: crops that the box's own pipeline cuts (shipped int8 HIDEF file, refinement, segmentation) from "
            "frames by `multislice` waves, each particle scattering on its own on the pixels' grid, contrast and wavelength varied; "
            "the output 'other' learns from procedural shapes (models/training/strangers.py) and from crops that were never whole "
            "(models/training/spoiled.py).",
            scored="The int8 file behind the int8 HIDEF file and refinement, on frames of another forward model: the wave carried "
            "from particle to particle on a finer grid, three wavelengths, seeds of their own. All classes equally frequent. "
            "Temperature, sets and threshold were fitted on other frames of this model. Intervals are 95 %, frames drawn again. "
            f"Never shown in training: {held_out}. Simulated accuracy, not field accuracy: real lensless pollen with "
            "simulation-trained networks scores far lower in the literature. `python -m tests.benchmarks.foreign_crops` scores recorded "
            "things that are none of the classes.",
            limits=recipe.limits,
        )

    def finetune(self, args: argparse.Namespace) -> Path:
        """From crops that people labelled."""
        if args.labels is None:
            raise InputError(
                "nothing to adapt from", where=f"finetune {self.name}", expected="--labels FILE",
                remedy="`holonode review export --out FILE.npz` writes one.",
            )  # fmt: skip
        from device.inference.store import ModelStore, checked, verify_golden_in_child
        from models.training.classifier_finetune import LEARN_ON, finetune_classifier

        start_from = start_file(args.artefacts, args.start_from or self.name)
        use_threads(args.threads)
        found = finetune_classifier(
            self.declared(), args.work / self.name, checked(start_from), args.labels, args.out, args.version,
            store=ModelStore(args.artefacts), how=LEARN_ON.seeded(args.seed),
        )  # fmt: skip
        verify_golden_in_child(checked(found.path))
        print(
            f"{found.labelled} labelled crops: balanced accuracy {found.before:.3f} before, {found.after:.3f} after (held back)"
        )
        print(f"simulated crops: {found.simulated_before:.3f} before, {found.simulated_after:.3f} after")
        print(f"{found.path}: self-test passed")
        return found.path
