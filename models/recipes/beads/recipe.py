"""The descriptor of the `beads` classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.training.classifier_recipe import ClassifierSteps

if TYPE_CHECKING:
    from models.training.classify import ClassifierRecipe

__all__ = ["RECIPES"]


def _declared() -> ClassifierRecipe:
    from models.recipes.beads.classes import RECIPE

    return RECIPE


RECIPES = (
    ClassifierSteps("beads", "names single beads, clumps by their number of beads, and dust on the assay's slide", _declared),
)
