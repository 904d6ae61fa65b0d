"""Name -> recipe, without importing torch."""

from __future__ import annotations

import difflib

from paper_recipes import rll
from paper_recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in rll.RECIPES}


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
