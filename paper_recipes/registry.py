"""Name -> recipe, without importing torch. "rll-sop+margin=1.0" is the recipe derived from rll-sop with that setting."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any

from paper_recipes import classification, deep_metric, deep_metric_2018, derive, ms, osm_caa, rll, rll_tpami
from paper_recipes.recipe import Recipe

_MODULES = (rll, rll_tpami, osm_caa, ms, classification, deep_metric, deep_metric_2018)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for module in _MODULES for recipe in module.RECIPES}


class UnknownRecipeError(KeyError):
    """No recipe of that name; the message lists what there is."""

    def __str__(self) -> str:
        return str(self.args[0])


def get(name: str) -> Recipe:
    """The recipe of that name, frozen or derived. Raises UnknownRecipeError; SettingError for a derived one's settings."""
    if name in RECIPES:
        return RECIPES[name]
    base, *settings = re.split(r"\+(?=[^+=]*=)", name)  # not the plus of 1e+5
    if settings:
        return derive.derive(get(base), settings)
    close = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownRecipeError(f"no recipe {name!r}.{hint} There are: {', '.join(RECIPES)}")


def derived(recipe: Recipe, settings: tuple[str, ...], *, judge: bool = False) -> Recipe:
    """`recipe` with more settings "key=value"; `judge` holds a derived recipe to its parent's published values."""
    result = get("+".join([recipe.name, *settings])) if settings else recipe
    if judge and result.derived_from:
        return dataclasses.replace(result, expected=RECIPES[result.derived_from].expected)
    return result


def of_record(record: dict[str, Any]) -> Recipe:
    """The recipe that a run.json names, held to what that run was held to."""
    return derived(get(record["recipe"]), (), judge=bool(record.get("judged")))
