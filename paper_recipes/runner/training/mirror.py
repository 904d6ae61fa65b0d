"""`--log`: every step and evaluation told to another program as well. The run's JSON lines stay the truth.

A mirror is a function of kind ("steps" or "evaluations") and row, the row as its line has it:

    import wandb
    run = wandb.init(project="dml")
    def log(kind, row): run.log({kind: row}, step=row["iteration"])

in a file `mine.py` is `--log mine.py:log`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from golden.loading import LoadError, load_loss
from paper_recipes.runner.run_files import RunError

Mirror = Callable[[str, dict[str, Any]], Any]
FOLDER = "tensorboard"  # of the run directory


def nothing(kind: str, row: dict[str, Any]) -> None:
    """The mirror of a run without `--log`."""


def check(name: str | None) -> None:
    """What can be told before any work is done: RunError for a name that is none, a file or a package that is not there."""
    if name == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise RunError("--log tensorboard: tensorboard is not installed: pip install 'dml-ports[tensorboard]'")
    if name is not None and name != "tensorboard":
        file, colon, function = name.rpartition(":")
        if not colon or not file or not function:
            raise RunError(f"--log {name}: expected tensorboard, or FILE.py:FUNCTION (or MODULE:FUNCTION) of your own")
        if file.endswith(".py") and not Path(file).is_file():
            raise RunError(f"--log {name}: no file {file}")


def open_mirror(name: str | None, out: Path, *, after: int = 0) -> Mirror:
    """The mirror of that name: "tensorboard", or MODULE:NAME or FILE.py:NAME of a function. `after`: where a resume goes on.

    Raises RunError where it cannot be had.
    """
    check(name)
    if name is None:
        return nothing
    if name == "tensorboard":
        return _tensorboard(out / FOLDER, after)
    try:
        return load_loss(name)  # any callable
    except LoadError as error:
        raise RunError(f"--log {name}: {error}") from error


def _tensorboard(folder: Path, after: int) -> Mirror:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def tell(kind: str, row: dict[str, Any]) -> None:
        for tag, value in scalars(kind, row):
            writer.add_scalar(tag, value, row["iteration"])
        writer.flush()

    return tell


def scalars(kind: str, row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """(tag, value) of a row: loss/NAME and learning rate of a step, EMBEDDING/R@1 and so on, in percent, of an evaluation."""
    if kind == "steps":
        yield "learning rate", float(row["lr"])
        yield from ((f"loss/{name}", float(value)) for name, value in row["losses"].items())
    else:
        for embedding, metrics in row["metrics"].items():
            yield from ((f"{embedding}/{metric}", float(value)) for metric, value in metrics.items())
