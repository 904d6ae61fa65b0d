"""Name -> recipe, without importing torch."""

from __future__ import annotations

import difflib

from paper_recipes import classification, deep_metric, ms, osm_caa, rll, rll_tpami
from paper_recipes.recipe import Recipe

_MODULES = (rll, rll_tpami, osm_caa, ms, classification, deep_metric)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for module in _MODULES for recipe in module.RECIPES}


class UnknownRecipeError(KeyError):
    """No recipe of that name; the message lists what there is."""

    def __str__(self) -> str:
        return str(self.args[0])


def get(name: str) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]
    close = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownRecipeError(f"no recipe {name!r}.{hint} There are: {', '.join(RECIPES)}")
