"""The method that nobody trains (`holonode reconstruct --method untrained`, `holonode referee`): only its table is made here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from device.arguments import whole
from device.errors import InputError

if TYPE_CHECKING:
    from models.training.cards import CardText

__all__ = ["RECIPES"]


@dataclass(frozen=True)
class _UntrainedRecipe:
    """What `holonode-models` walks; every step but the table says that there is nothing to do."""

    name: str = "untrained"
    summary: str = "a deep prior fitted to one hologram: there is nothing to train"
    baselines: tuple[str, ...] = ("sparse iterative", "back-propagation")
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])

    def options(self, action: str, parser: argparse.ArgumentParser) -> None:
        """Its own options of an action."""
        if action == "evaluate":
            parser.add_argument("--fields", type=whole(1, 10_000), default=4, help="simulated fields (default %(default)s)")

    def evaluate(self, args: argparse.Namespace) -> list[str]:
        """The table."""
        from models.recipes.untrained.scoring import report

        return report(args.fields)

    def simulate(self, args: argparse.Namespace) -> None:
        """InputError."""
        self._nothing("simulate", args)

    def train(self, args: argparse.Namespace) -> None:
        """InputError."""
        self._nothing("train", args)

    def export(self, args: argparse.Namespace) -> Path:
        """InputError."""
        self._nothing("export", args)

    def card(self, args: argparse.Namespace) -> CardText:
        """InputError: a card is of a bundle."""
        self._nothing("card", args)

    def finetune(self, args: argparse.Namespace) -> Path:
        """InputError."""
        self._nothing("finetune", args)

    def _nothing(self, action: str, _: argparse.Namespace) -> NoReturn:
        raise InputError(
            "there is nothing to train", where=f"{action} {self.name}", expected="evaluate", got=action,
            remedy="It fits every hologram anew: `holonode reconstruct --method untrained`, `holonode referee`; its card lies in models/cards.",
        )  # fmt: skip


RECIPES = (_UntrainedRecipe(),)
