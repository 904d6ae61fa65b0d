"""The commands that compute: run, evaluate."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner.cli_common import IMAGE_ROOT, JUDGE, RECIPE, SET, cli, example
from paper_recipes.runner.reports.banner import banner, letters


@cli.command(short_help="Run a recipe: train, evaluate, write a report.", epilog=example("run rll-sop --smoke"))
@click.argument("recipe", type=RECIPE)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The recipe's data set in its official layout, a folder of class folders, or lists: .mat, train.txt and test.txt, .csv.",
)
@IMAGE_ROOT
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="ImageNet weights the recipe starts from; letters: none for seeded values. [letters default: their own start]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. [default: runs/NAME-FORM]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its latest checkpoint.")
@click.option("--require-data", is_flag=True, help="Fail without --data instead of running the letters form.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1, ... [default: cuda if there is one]")
@click.option("--seed", type=int, default=None, help="[default: the recipe's]")
@click.option("--iterations", type=click.IntRange(min=1), help="Shorten or lengthen the letters form.")
@click.option("--full-batch", is_flag=True, help="Letters at the recipe's own batch, all of them (for a GPU).")
@click.option("--smoke", is_flag=True, help="Letters form at its smallest: does every step of the path run?")
@click.option("--double", is_flag=True, help="Letters in float64, for comparing with the authors' programs; slow.")
@click.option("--workers", type=click.IntRange(min=0), help="Image loading processes; does not change the result.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch. [default: torch's own]")
@click.option(
    "--strict/--fast",
    "strict",
    default=True,
    show_default=True,
    help="--fast: TF32, channels-last, compiled; the run is marked as not comparable.",
)
@click.option(
    "--replicas",
    type=click.Choice(["caffe", "global"]),
    help="What several processes under torchrun compute: a batch each, gradients averaged; or one batch in parts, one loss.",
)
@click.option("--sync-bn", is_flag=True, help="With --replicas global: BatchNorm over the whole batch, too.")
@click.option(
    "--cudnn/--no-cudnn", default=True, help="Leave cuDNN out on a GPU; recipes trained without it do so by themselves."
)
@click.option(
    "--report/--no-report",
    default=True,
    help="--no-report: leave chain of evidence and pictures to a later `report DIR`.",
)
@click.option(
    "--log", metavar="NAME", help="Mirror steps and evaluations: tensorboard, or FILE.py:FUNCTION of your own."
)
@SET
@JUDGE
def run(recipe: Recipe, settings: tuple[str, ...], judge: bool, **options: Any) -> None:
    """Run a recipe: train, evaluate, write checkpoints and a report.

    Without --data it runs its letters form: the same code at small scale on letters drawn from fonts, no download.
    With --data and --weights it runs the frozen recipe; the exit code is 1 if a value is below or above its published
    band. A loss, gradient or embedding that is not finite ends the run at that step with exit code 3.
    Ctrl-C stops after the current step with a usable checkpoint; --resume goes on from it.
    """
    recipe = registry.derived(recipe, settings, judge=judge)
    announced = _announced(recipe, options)
    from paper_recipes.runner import run as runner  # torch

    sys.exit(runner.run(recipe, runner.Options(**options), announced=announced))


def _announced(recipe: Recipe, options: dict[str, Any]) -> bool:
    """Show the banner of the letters form before seconds go into importing torch; not where the request may yet be refused, or
    the banner depends on what is found.
    """
    at_ease = (
        "out",
        "resume",
        "seed",
        "iterations",
        "full_batch",
        "smoke",
        "workers",
        "threads",
        "strict",
        "cudnn",
        "double",
        "report",
    )
    if any(value for name, value in options.items() if name not in at_ease) or "WORLD_SIZE" in os.environ:
        return False
    scale = {name: options[name] for name in ("iterations", "full_batch", "smoke", "strict", "double")}
    click.echo(banner(recipe, letters(recipe, **scale)))
    return True


@cli.command(
    short_help="Score a trained model by its paper's protocol.",
    epilog=example("evaluate rll-sop --model model.caffemodel --data Stanford_Online_Products"),
)
@click.argument("recipe", type=RECIPE)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    required=True,
    help="Trained model: .caffemodel, checkpoint, .pth, .safetensors, .onnx; or a folder that `evaluate` wrote.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Data set or lists, as of run. [default: the letters]")
@IMAGE_ROOT
@click.option("--protocol", metavar="RULES", help="Another recipe's rules by its name, or self, query-gallery, reid.")
@click.option(
    "--clustering", is_flag=True, help="Also NMI and F1 by k-means (scikit-learn; hours on SOP's 11,316 classes)."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for embeddings and scores.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1, ... [default: cuda if there is one]")
@click.option("--smoke", is_flag=True, help="A handful of letters: does every step of the path run?")
@click.option("--workers", type=click.IntRange(min=0), help="Image loading processes; does not change the result.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch. [default: torch's own]")
@SET
@JUDGE
def evaluate(recipe: Recipe, settings: tuple[str, ...], judge: bool, **options: Any) -> None:
    """Score a trained model by its paper's protocol, without training.

    Takes the authors' .caffemodel, checkpoints of `run`, .pth or .safetensors files of PyTorch recipes, and .onnx files. On
    the official data the exit code is 1 if a value is below or above its published band. Embeddings are saved as .npy; that folder given
    as --model is scored again, by other rules or with --clustering, without images or network.
    """
    from paper_recipes.runner import evaluate as verb  # torch

    if (rules := options["protocol"]) is not None and rules not in verb.PROTOCOLS:
        options["protocol"] = RECIPE.convert(rules, None, None).name
    recipe = registry.derived(recipe, settings, judge=judge)
    sys.exit(verb.score_model(recipe, verb.Options(**options)))
