"""The command line: `python -m paper_recipes list | show | run | evaluate | prepare | chain | report | compare | curves |
leaderboard | lock`.

torch is imported by the verbs that compute, not by those that only look something up.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click

from paper_recipes import derive, registry
from paper_recipes import lock as lock_file
from paper_recipes.derive import SettingError
from paper_recipes.recipe import Recipe
from paper_recipes.registry import UnknownRecipeError
from paper_recipes.runner.scoring import curves as logs


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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Frozen recipes of deep metric learning papers: look them up, run them, see their evidence.

    \b
    python -m paper_recipes list                    what there is
    python -m paper_recipes show rll-sop            every setting of one recipe
    python -m paper_recipes run rll-sop             the recipe on the letters: minutes, no download
    python -m paper_recipes run rll-sop --data Stanford_Online_Products --weights googlenet_bn.caffemodel

    Errors are one line, with exit code 2; --debug anywhere shows the traceback.
    """


@cli.command("list")
def list_recipes() -> None:
    """List the recipes with data set, batch, iterations and the headline value they are held to."""
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "what", "batch", "iterations", "published", box=None, pad_edge=False)
    for recipe in registry.RECIPES.values():
        first = recipe.expected[0] if recipe.expected else None
        sampler = recipe.sampler
        table.add_row(
            recipe.name,
            recipe.title,
            f"{sampler.batch_size} = {sampler.classes_per_batch} x {sampler.images_per_class}",
            f"{recipe.iterations:,}",
            f"{first.metric} {first.value}" if first else "-",
        )
    Console().print(table)


@cli.command()
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
    from paper_recipes.runner.reports import terminal  # rich

    if other is not None:
        terminal.diff(recipe, other)
    else:
        terminal.show(recipe)


@cli.command()
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


@cli.command()
@click.argument("recipe", type=RECIPE)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The recipe's data set in its official layout, a folder of class folders, or lists: .mat, train.txt and test.txt, .csv.",
)
@IMAGE_ROOT
@click.option("--weights", type=click.Path(path_type=Path), help="ImageNet weights the recipe starts from.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. [default: runs/NAME-FORM]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its latest checkpoint.")
@click.option("--require-data", is_flag=True, help="Fail without --data instead of running the letters form.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1, ... [default: cuda if there is one]")
@click.option("--seed", type=int, default=None, help="[default: the recipe's]")
@click.option("--iterations", type=click.IntRange(min=1), help="Shorten or lengthen the letters form.")
@click.option("--full-batch", is_flag=True, help="Letters at the recipe's own batch, all of them (for a GPU).")
@click.option("--smoke", is_flag=True, help="Letters form at its smallest: does every step of the path run?")
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
@SET
@JUDGE
def run(recipe: Recipe, settings: tuple[str, ...], judge: bool, **options: Any) -> None:
    """Run a recipe: train, evaluate, write checkpoints and a report.

    Without --data it runs its letters form: the same code at small scale on letters drawn from fonts, no download.
    With --data and --weights it runs the frozen recipe; the exit code is 1 if a value is below or above its published
    band. A loss, gradient or embedding that is not finite ends the run at that step with exit code 3.
    Ctrl-C stops after the current step with a usable checkpoint; --resume goes on from it.
    """
    from paper_recipes.runner import run as runner  # torch

    sys.exit(runner.run(registry.derived(recipe, settings, judge=judge), runner.Options(**options)))


@cli.command()
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


@cli.command()
@click.argument("recipe", type=RECIPE)
def chain(recipe: Recipe) -> None:
    """Compute the chain of evidence: each link of the recipe against its reference."""
    from paper_recipes.runner.evidence import chain as links  # torch
    from paper_recipes.runner.reports import terminal  # rich

    rows = links.chain(recipe)
    terminal.evidence(rows)
    sys.exit(0 if links.holds(rows) else 1)


@cli.command()
@click.argument("run_directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(run_directory: Path) -> None:
    """Write report.md, report.html and the pictures of a run again."""
    from paper_recipes.runner import run as runner  # torch

    click.echo(runner.report(run_directory))


@cli.command()
@click.argument("run_directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
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


@cli.command()
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


@cli.command()
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


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--format", "style", type=click.Choice(["markdown", "csv", "latex"]), default="markdown", show_default=True
)
@click.option("--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Recall over K as a picture.")
@click.option("--curves", type=click.Path(path_type=Path, dir_okay=False), help="Recall@1 over the iterations.")
@click.option(
    "--brief", "short", is_flag=True, help="One line for each run: recall@1 of raw pixels, untrained, at the end."
)
def compare(runs: tuple[Path, ...], style: str, picture: Path | None, curves: Path | None, short: bool) -> None:
    """Put runs beside each other and beside the values that their recipes are held to."""
    from paper_recipes.runner.reports import brief  # NumPy
    from paper_recipes.runner.reports import compare as comparison  # NumPy

    rows = comparison.lines(list(runs))
    click.echo(comparison.as_text(*(brief.table(list(runs)) if short else comparison.table(rows)), style), nl=False)
    if picture is not None:
        comparison.plot(rows, picture)
    if curves is not None:
        comparison.plot_iterations(list(runs), curves)


@cli.command()
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds the runs.",
)
def leaderboard(runs: Path) -> None:
    """What this installation has reproduced, verified anew from its run records; other runs are listed apart."""
    from paper_recipes.runner.reports import leaderboard as board  # NumPy

    board.show(runs)


def main() -> None:
    """Entry point: an error of the user's or of the data's is one line and exit code 2."""
    signal.signal(signal.SIGTERM, _stop)  # whatever is being done; the loop of a run has a way of its own
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        sys.exit(cli(prog_name="python -m paper_recipes", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        numberless = str(error).removeprefix(f"[Errno {error.errno}] ") if isinstance(error, OSError) else error
        click.echo(f"error: {numberless}", err=True)
    except (RuntimeError, MemoryError) as error:
        from paper_recipes.runner.training import failures  # torch

        if debug or (cause := failures.words(error)) is None:
            raise
        click.echo(f"error: {cause}", err=True)
        sys.exit(failures.EXIT_CODE)
    sys.exit(2)


def _stop(number: int, frame: Any) -> None:
    """SIGTERM ends as Ctrl-C does: with a word, and what was half-written put away."""
    raise KeyboardInterrupt
