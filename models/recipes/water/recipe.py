"""The descriptor of the `water` classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.training.classifier_recipe import ClassifierSteps

if TYPE_CHECKING:
    from models.training.classify import ClassifierRecipe

__all__ = ["RECIPES"]


def _declared() -> ClassifierRecipe:
    from models.recipes.water.classes import RECIPE

    return RECIPE


RECIPES = (ClassifierSteps("water", "names algae, protists, cysts, rotifers, bubbles and detritus in the channel", _declared),)
