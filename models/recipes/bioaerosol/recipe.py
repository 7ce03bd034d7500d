"""The descriptor of the `bioaerosol` classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.training.classifier_recipe import ClassifierSteps

if TYPE_CHECKING:
    from models.training.classify import ClassifierRecipe

__all__ = ["RECIPES"]


def _declared() -> ClassifierRecipe:
    from models.recipes.bioaerosol.classes import RECIPE

    return RECIPE


RECIPES = (ClassifierSteps("bioaerosol", "names pollen, spores and dust on the impactor's window", _declared),)
