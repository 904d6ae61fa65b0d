"""The commands about runs that are there: report, verify, card, compare, leaderboard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from paper_recipes.runner.cli_common import IMAGE_ROOT, RUN, cli, example


@cli.command(epilog=example("report runs/rll-sop-embedded"))
@RUN
def report(run_directory: Path) -> None:
    """Write report.md, report.html and the pictures of a run again."""
    from paper_recipes.runner import run as runner  # torch

    click.echo(runner.report(run_directory))


@cli.command(
    short_help="Recompute everything that a finished run states.",
    epilog=example("verify runs/rll-sop-embedded --quick"),
)
@RUN
@click.option("--quick", is_flag=True, help="The files alone: no picture is read, no network runs.")
@click.option("--segments", type=click.IntRange(min=0), default=0, help="Train so many random stretches again.")
@click.option("--data", type=click.Path(path_type=Path), help="Data set or lists, where they have moved.")
@IMAGE_ROOT
@click.option("--weights", type=click.Path(path_type=Path), help="The file the run started from, where it has moved.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1, ... [default: the run's]")
@click.option("--workers", type=click.IntRange(min=0), help="Image loading processes; does not change the result.")
@click.option("--json", "as_json", is_flag=True, help="The statements as JSON.")
def verify(run_directory: Path, as_json: bool, **options: Any) -> None:
    """Recompute everything that a finished run states; exit code 1 where a statement is false.

    From the files (manifest, schedule, percentages from counts, counts from the stored embeddings) to the data (lists and
    pictures), the checkpoints, the evaluations (the test images embedded again) and, with --segments, the training itself: to the
    bit on the same kind of machine, elsewhere within tolerances.
    """
    from paper_recipes.runner import verify as verb  # torch

    sys.exit(verb.verb(verb.Options(run_directory, **options), as_json_text=as_json))


@cli.command(
    short_help="Put runs beside each other and beside published values.", epilog=example("compare runs/* --brief")
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--format", "style", type=click.Choice(["markdown", "csv", "latex", "json"]), default="markdown", show_default=True
)
@click.option("--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Recall over K as a picture.")
@click.option("--curves", type=click.Path(path_type=Path, dir_okay=False), help="Recall@1 over the iterations.")
@click.option(
    "--brief", "short", is_flag=True, help="One line for each run: recall@1 of raw pixels, at the start, at the end."
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Curves, settings and classes on one page."
)
def compare(
    runs: tuple[Path, ...], style: str, picture: Path | None, curves: Path | None, short: bool, page: Path | None
) -> None:
    """Put runs beside each other and beside the values that their recipes are held to."""
    from paper_recipes.runner.reports import brief  # NumPy
    from paper_recipes.runner.reports import compare as comparison  # NumPy

    rows = comparison.lines(list(runs))
    click.echo(comparison.as_text(*(brief.table(list(runs)) if short else comparison.table(rows)), style), nl=False)
    if picture is not None:
        comparison.plot(rows, picture)
    if curves is not None:
        comparison.plot_iterations(list(runs), curves)
    if page is not None:
        from paper_recipes.runner.reports import compare_page  # matplotlib

        compare_page.write(list(runs), page)
        click.echo(page, err=True)


@cli.command(short_help="Write what publishing a run's model asks for.", epilog=example("card runs/rll-sop-embedded"))
@RUN
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files. [default: RUN/card]")
def card(run_directory: Path, out: Path | None) -> None:
    """Write a model card with the Hub's metadata, evaluation results, citation and the answers to an artifact checklist.

    Every field is from the run's files, or says "not verifiable here". No card is written of a run that does not hold.
    """
    from paper_recipes.runner.reports import card as cards  # matplotlib

    for path in cards.write(run_directory, out):
        click.echo(path)


@cli.command(short_help="Show what has been reproduced here, verified anew.", epilog=example("leaderboard --runs runs"))
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds the runs.",
)
@click.option("--json", "as_json", is_flag=True, help="The entries as JSON.")
def leaderboard(runs: Path, as_json: bool) -> None:
    """What this installation has reproduced, verified anew from its run records; other runs are listed apart."""
    from paper_recipes.runner.reports import leaderboard as board  # NumPy

    click.echo(json.dumps(board.as_json(runs), indent=1)) if as_json else board.show(runs)
