"""What a learned system says of itself and does, and how it is found: a folder of this package with a `recipe.py` that has
`RECIPES`; nothing else lists them.

A descriptor is cheap to import, so that help answers at once: what it works with, it imports when it works.
"""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import models.recipes as package

if TYPE_CHECKING:
    from models.training.cards import CardText

__all__ = ["TrainingRecipe", "recipes"]


class TrainingRecipe(Protocol):
    """A learned system, as `holonode-models` walks it.

    Every method takes the command's options: `work`, the folder of all trainings, of which the recipe's own is one by its name;
    `artefacts`, the folder of bundles; `version` and `out` where something is written; and what `options` added. InputError where
    it can't do what it is asked for, HardwareError where an extra is missing, CheckError where what came out isn't to be kept.
    """

    @property
    def name(self) -> str:
        """As the command and its bundles are called."""
        ...

    @property
    def summary(self) -> str:
        """What it is, in a line of help."""
        ...

    @property
    def baselines(self) -> tuple[str, ...]:
        """What its figures stand beside, classical methods and ceilings, as rows of `evaluate` name them."""
        ...

    @property
    def cannot(self) -> Mapping[str, str]:
        """Options of other recipes that somebody may try here, each with why it has none and what does instead."""
        ...

    def options(self, action: str, parser: argparse.ArgumentParser) -> None:
        """Add its own options of an action."""
        ...

    def simulate(self, args: argparse.Namespace) -> None:
        """Render what it learns from into the work folder; nothing that is there already is rendered again."""
        ...

    def train(self, args: argparse.Namespace) -> None:
        """Learn, resuming what is in the work folder."""
        ...

    def export(self, args: argparse.Namespace) -> Path:
        """Write the bundle of what was learned; the model's path."""
        ...

    def evaluate(self, args: argparse.Namespace) -> list[str]:
        """Score the shipped file beside the baselines: a Markdown table, line by line."""
        ...

    def card(self, args: argparse.Namespace) -> CardText:
        """What its card says besides the table."""
        ...

    def finetune(self, args: argparse.Namespace) -> Path:
        """Adapt a shipped model to what somebody recorded; the path of the new bundle's model."""
        ...


@cache
def recipes() -> Mapping[str, TrainingRecipe]:
    """Every recipe, by name."""
    found: dict[str, TrainingRecipe] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            here: tuple[TrainingRecipe, ...] = import_module(f"{package.__name__}.{module.name}.recipe").RECIPES
            found |= {recipe.name: recipe for recipe in here}
    return MappingProxyType(dict(sorted(found.items())))
