"""The commands that look something up: list, show, chain, curves, prepare, lock."""

from __future__ import annotations

import fnmatch
import json
import sys
from pathlib import Path
from typing import Any

import click

from paper_recipes import derive, registry
from paper_recipes import lock as lock_file
from paper_recipes.recipe import Recipe
from paper_recipes.runner.cli_common import RECIPE, SET, cli, example
from paper_recipes.runner.reports import terminal
from paper_recipes.runner.scoring import curves as logs
from ports import command_line
from ports.console import Table


@cli.command(
    "list",
    short_help="List the recipes; PATTERN, --dataset and --paper choose.",
    epilog=example("list 'rll*' --dataset sop"),
)
@click.argument("pattern", required=False, default="*")
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON.")
@click.option("--dataset", metavar="TEXT", help="Only recipes of this data set: cub, sop, market1501, ...")
@click.option("--paper", metavar="TEXT", help="Only recipes of a paper: text in its title or its number.")
def list_recipes(pattern: str, as_json: bool, dataset: str | None, paper: str | None) -> None:
    """List the recipes with data set, batch, iterations and the headline value they are held to.

    PATTERN: part of a name, or with * and ? the whole of it.
    """
    found = [recipe for recipe in registry.RECIPES.values() if _asked(recipe, pattern, dataset, paper)]
    if not found:
        asked = " ".join([*([pattern] if pattern != "*" else []), *_given(dataset=dataset, paper=paper)])
        close = command_line.nearest(pattern, list(registry.RECIPES)) if pattern != "*" else []
        hint = f" Nearest: {', '.join(close)};" if close else ""
        raise click.UsageError(f"no recipe matches {asked}.{hint} `list` alone shows all {len(registry.RECIPES)}")
    header = ("recipe", "data set", "what", "batch", "iterations", "published")
    table = Table(header, [_row(recipe) for recipe in found], names=(0, 1, 3, 4, 5), right=(4,))
    if as_json:
        rows = table.as_json()
        for row, recipe in zip(rows, found):
            row |= {"paper": recipe.source.paper, "fingerprint": recipe.fingerprint()}
        click.echo(json.dumps(rows, indent=1))
    else:
        table.print()


def _given(**options: str | None) -> list[str]:
    return [f"--{name} {value}" for name, value in options.items() if value is not None]


def _asked(recipe: Recipe, pattern: str, dataset: str | None, paper: str | None) -> bool:
    name = recipe.name
    named = fnmatch.fnmatchcase(name, pattern) if set(pattern) & set("*?[") else pattern in name
    of_data = dataset is None or dataset.lower() in recipe.dataset
    return named and of_data and (paper is None or paper.lower() in f"{recipe.source.paper} {recipe.title}".lower())


def _row(recipe: Recipe) -> list[str]:
    sampler = recipe.sampler
    batch = f"{sampler.batch_size} = {sampler.classes_per_batch} x {sampler.images_per_class}"
    first = recipe.expected[0] if recipe.expected else None
    published = f"{first.metric} {first.value}" if first else "-"
    return [recipe.name, recipe.dataset, recipe.title, batch, f"{recipe.iterations:,}", published]


@cli.command(short_help="Show every setting of a recipe and its source.", epilog=example("show rll-sop --diff rll-cub"))
@click.argument("recipe", type=RECIPE)
@click.option("--json", "as_json", is_flag=True, help="Everything that affects the result, as JSON.")
@click.option("--net", "net_name", metavar="NAME", help="Print one network as prototxt: train, solver, or a test net.")
@click.option("--diff", "other", type=RECIPE, metavar="OTHER", help="Only what differs between this recipe and OTHER.")
@click.option("--keys", is_flag=True, help="What --set can change, and its value here.")
@SET
def show(
    recipe: Recipe, as_json: bool, net_name: str | None, other: Recipe | None, keys: bool, settings: tuple[str, ...]
) -> None:
    """Show every setting of a recipe, where it comes from and what it is held to."""
    recipe = registry.derived(recipe, settings)
    if keys:
        for key, value in derive.keys(recipe).items():
            click.echo(f"{key}={derive.shown(value)}")
        return
    if net_name is not None:
        click.echo(_net_text(recipe, net_name), nl=False)
        return
    if as_json:
        click.echo(json.dumps(recipe.canonical(), indent=1))
        return
    if other is not None:
        terminal.diff(recipe, other)
    else:
        terminal.show(recipe)


@cli.command(hidden=True, epilog=example("lock --check"))
@click.option("--check", is_flag=True, help="Only say whether the recipes are as locked; exit code 1 if not.")
def lock(check: bool) -> None:
    """Write the fingerprints of all recipes to paper_recipes/fingerprints.json.

    A recipe is frozen: change it on purpose only, then lock it again and say why in the commit.
    """
    changes = lock_file.changes(registry.RECIPES)
    for line in changes:
        click.echo(line)
    if check:
        sys.exit(1 if changes else 0)
    lock_file.write(registry.RECIPES)
    click.echo(f"{len(registry.RECIPES)} recipes locked in {lock_file.FILE}")


def _net_text(recipe: Recipe, name: str) -> str:
    from caffe_compat.formats import prototxt  # protobuf
    from paper_recipes.nets.messages import to_message  # protobuf

    caffe = recipe.the_caffe()
    nets = {"train": caffe.train_net, **caffe.test_nets}
    if name == "solver":
        return prototxt.write(to_message(caffe.solver, "SolverParameter", caffe.dialect))
    if name not in nets:
        raise click.UsageError(f"{recipe.name} has no net {name!r}. There are: {', '.join([*nets, 'solver'])}")
    return prototxt.write(to_message(nets[name], "NetParameter", caffe.dialect))


@cli.command(short_help="Compute each link of a recipe against its reference.", epilog=example("chain rll-sop"))
@click.argument("recipe", type=RECIPE)
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON.")
def chain(recipe: Recipe, as_json: bool) -> None:
    """Compute the chain of evidence: each link of the recipe against its reference."""
    from paper_recipes.runner.evidence import chain as links  # torch

    rows = links.chain(recipe)
    click.echo(json.dumps(rows, indent=1)) if as_json else terminal.evidence(rows)
    sys.exit(0 if links.holds(rows) else 1)


@cli.command(
    short_help="Show the authors' logged recall, alone or beside a run's.",
    epilog=example("curves rll-tpami-sop --plot curves.png"),
)
@click.argument("recipe", type=RECIPE)
@click.argument("run_directory", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the curves (.png).")
def curves(recipe: Recipe, run_directory: Path | None, picture: Path | None) -> None:
    """Show the authors' logged recall over the iterations, alone or beside a full run's.

    With a run the exit code is 1 if a checkpoint differs by more than the recipe's tolerance, or is missing.
    """
    if not recipe.records.logs:
        known = ", ".join(known.name for known in registry.RECIPES.values() if known.records.logs)
        raise click.UsageError(f"no log of the authors is known for {recipe.name}; there is one for {known}")
    evaluations = None if run_directory is None else logs.of_run(recipe, run_directory)
    found = logs.compare(recipe, evaluations or [])
    click.echo(logs.log_as_markdown(recipe) if evaluations is None else logs.as_markdown(found))
    if picture is not None:
        from paper_recipes.runner.reports import figures  # matplotlib

        figures.authors_curves(recipe, evaluations, picture)
    sys.exit(0 if evaluations is None or all(curve.holds for curve in found) else 1)


@cli.command(
    short_help="Make a data set's folder from its official archives.",
    epilog=example("prepare cub --archive CUB_200_2011.tgz --root CUB"),
)
@click.argument("dataset")
@click.option(
    "--archive", "archive_files", type=click.Path(path_type=Path), multiple=True, help="An official archive; repeat."
)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the data set, to make or to read.")
@click.option("--download", is_flag=True, help="Fetch the archives first, where they are freely offered (resumable).")
@click.option("--check", is_flag=True, help="Only look: counts, images and, where prepared here, the lists' hashes.")
@click.option("--password", help="Of In-shop's archive; its authors send it on request.")
@click.option("--mat", is_flag=True, help="Also write each split as a .mat in the authors' form.")
@click.option("--embedded", is_flag=True, help="Write letters into --root as archives in this layout, to try the way.")
def prepare(dataset: str, **options: Any) -> None:
    """Make a data set's folder from its official archives, verified against the published counts.

    An interrupted call goes on where it stopped. `prepare DATASET` alone says what to get, where, and under which terms.
    """
    from paper_recipes.runner.data import archives  # NumPy

    archives.prepare(dataset, **options)
