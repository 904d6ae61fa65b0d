"""Name -> recipe, without importing torch. "rll-sop+margin=1.0" is the recipe derived from rll-sop with that setting."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from paper_recipes import classification, deep_metric, deep_metric_2018, derive, ms, osm_caa, rll, rll_tpami
from paper_recipes.recipe import Expected, Recipe
from ports import command_line

_MODULES = (rll, rll_tpami, osm_caa, ms, classification, deep_metric, deep_metric_2018)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for module in _MODULES for recipe in module.RECIPES}
# (recipe, settings) -> the published row that the recipe derived by them is held to
HELD: dict[tuple[str, str], tuple[Expected, ...]] = {
    key: row for module in _MODULES for key, row in getattr(module, "DERIVED", {}).items()
}


class UnknownRecipeError(KeyError, ValueError):
    """No recipe of that name; the message names the nearest."""

    def __str__(self) -> str:
        return str(self.args[0])


def get(name: str) -> Recipe:
    """The recipe of that name, frozen or derived. Raises UnknownRecipeError; SettingError for a derived one's settings."""
    if name in RECIPES:
        return RECIPES[name]
    base, *settings = re.split(r"\+(?=[^+=]*=)", name)  # not the plus of 1e+5
    if settings:
        result = derive.derive(get(base), settings)
        return dataclasses.replace(result, expected=_published(base, result))
    close = command_line.nearest(name, list(RECIPES))
    hint = f" Nearest: {', '.join(close)};" if close else ""
    raise UnknownRecipeError(f"no recipe {name!r}.{hint} `python -m paper_recipes list` shows all {len(RECIPES)}")


def held() -> list[Recipe]:
    """The derived recipes that a published row belongs to, in the order of the tables in their modules."""
    return [get(f"{base}+{setting}") for base, setting in HELD]


def _published(base: str, result: Recipe) -> tuple[Expected, ...]:
    """The row of the recipe derived from `base` that computes the same as `result`, however its settings were given."""
    rows = {setting: row for (name, setting), row in HELD.items() if name == base}
    mine = _nameless(result) if rows else {}  # once: a recipe has a dozen rows, and a net's text is long
    return next((row for setting, row in rows.items() if _settings(base, setting) == mine), ())


@functools.cache
def _settings(base: str, setting: str) -> dict[str, Any]:
    return _nameless(derive.derive(RECIPES[base], [setting]))


def _nameless(recipe: Recipe) -> dict[str, Any]:
    return {key: value for key, value in recipe.canonical().items() if key != "name"}


def derived(recipe: Recipe, settings: tuple[str, ...], *, judge: bool = False) -> Recipe:
    """`recipe` with more settings "key=value"; `judge` holds a derived recipe that no published row belongs
    to to its parent's values.
    """
    for setting in settings:
        if not re.match(r"[^+=]+=", setting):  # else it would be read as part of the name
            raise derive.SettingError(
                f"--set {setting}: expected KEY=VALUE, such as iterations=100; `show {recipe.name} --keys` lists the keys"
            )
    result = get("+".join([recipe.name, *settings])) if settings else recipe
    if judge and result.derived_from and not result.expected:
        return dataclasses.replace(result, expected=RECIPES[result.derived_from].expected)
    return result


def of_record(record: dict[str, Any]) -> Recipe:
    """The recipe that a run.json names, held to what that run was held to."""
    return derived(get(record["recipe"]), (), judge=bool(record.get("judged")))
