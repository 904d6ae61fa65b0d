"""What the commands of `python -m paper_recipes` share: the group, the recipe as an argument, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from paper_recipes import registry
from paper_recipes.derive import SettingError
from paper_recipes.recipe import Recipe
from paper_recipes.registry import UnknownRecipeError
from ports import command_line

PACKAGE = "paper_recipes"


def example(text: str) -> str:
    """The example that ends a command's help."""
    return command_line.example(f"python -m {PACKAGE} {text}")


class _RecipeName(click.ParamType):
    name = "recipe"

    def convert(self, value: Any, param: Any, ctx: Any) -> Recipe:
        try:
            return registry.get(value.removeprefix("reproduce-"))  # a tox environment's name will do
        except (UnknownRecipeError, SettingError) as error:
            raise click.BadParameter(str(error), ctx, param) from error

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        return [click.shell_completion.CompletionItem(n) for n in registry.RECIPES if n.startswith(incomplete)]


RECIPE = _RecipeName()
SET = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Derive a recipe of its own name; `show NAME --keys` lists keys.",
)
IMAGE_ROOT = click.option(
    "--image-root",
    type=click.Path(path_type=Path),
    help="Where the images of lists given as --data are. [default: the lists' folder]",
)
JUDGE = click.option(
    "--judge", is_flag=True, help="Hold a derived recipe to its parent's published values all the same."
)
RUN = click.argument("run_directory", type=click.Path(path_type=Path, exists=True, file_okay=False))


@command_line.with_version
@click.group(cls=command_line.Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Frozen recipes of deep metric learning papers: look them up, run them, see their evidence.

    \b
    python -m paper_recipes list                    what there is
    python -m paper_recipes show rll-sop            every setting of one recipe
    python -m paper_recipes run rll-sop             the recipe on the letters: minutes, no download
    python -m paper_recipes run rll-sop --data Stanford_Online_Products --weights googlenet_bn.caffemodel

    Errors are one line, with exit code 2; --debug anywhere shows the traceback.
    """
