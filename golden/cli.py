"""`python -m golden`. Exit code 0: pass, 1: fail, 2: usage (also a target that cannot be loaded)."""

from __future__ import annotations

import fnmatch
import json
import sys
from pathlib import Path
from typing import Any

import click

from .integrity import DamagedError, digests, problems
from .loading import LoadError, load_loss, parse_keywords


class _Usage(click.ClickException):
    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Check a loss against numbers that the authors' programs computed."""


def _load(target: str, keywords: tuple[str, ...], more: tuple[str, ...]) -> Any:
    try:
        return load_loss(target, parse_keywords([*keywords, *more]))
    except LoadError as error:
        raise _Usage(str(error)) from error


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.argument("pattern", required=False)
def list_sets(as_json: bool, pattern: str | None) -> None:
    """Golden sets, with their arguments and settings. PATTERN, such as 'rll*', selects."""
    from .sets import describe, set_names  # NumPy

    found = [describe(name) for name in set_names() if pattern is None or fnmatch.fnmatch(name, pattern)]
    if not found:
        raise _Usage(f"no golden set matches {pattern!r}")
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("set", "cases", "called with (* = gradient)", "settings", "what"):
        table.add_column(column, justify="right" if column == "cases" else "left", no_wrap=column == "set")
    for entry in found:
        settings = " ".join(f"{k}={v}" for k, v in entry["params"].items())
        table.add_row(entry["name"], str(len(entry["cases"])), entry["signature"], settings, entry["what"])
    Console(width=None if sys.stdout.isatty() else 160).print(table, highlight=False)


@main.command()
@click.argument("target")
@click.argument("more", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--against", default="rll-cvpr19", show_default=True, help="A golden set, or a folder that `record` wrote."
)
@click.option(
    "--kwargs", "keywords", multiple=True, metavar="NAME=VALUE", help="Arguments of the loss; more may follow."
)
@click.option(
    "--adapter",
    default=None,
    help="normalised, with-scores, without-scores, with-triplets, transposed-proxies, pair-matrix, distance-matrix, labels-first.",
)
@click.option("--dtype", type=click.Choice(["float64", "float32", "both"]), default="float64", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=None,
    help="Relative; standard: 1e-10 in float64, 1e-5 in float32.",
)
@click.option("--case", "cases", multiple=True, help="Only these cases (patterns).")
@click.option("--report", "reports", multiple=True, type=click.Path(dir_okay=False), help="Write .md, .json or .txt.")
@click.option("--plot", default=None, type=click.Path(dir_okay=False), help="Write a .png.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def check(
    target: str, more: tuple[str, ...], against: str, keywords: tuple[str, ...], adapter: str | None, dtype: str, device: str,
    tolerance: float | None, cases: tuple[str, ...], reports: tuple[str, ...], plot: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare TARGET (module:Name or file.py:Name) with a golden set."""
    from .adapters import ADAPTERS  # NumPy
    from .checker import check as run_check  # NumPy
    from .checker import resolve  # NumPy

    if adapter is not None and adapter not in ADAPTERS:
        raise _Usage(f"unknown adapter {adapter!r}; there are {', '.join(ADAPTERS)}")
    for path, endings in [(r, (".md", ".json", ".txt")) for r in reports] + ([(plot, (".png",))] if plot else []):
        if not path.endswith(endings):
            raise _Usage(f"{path}: the name must end in {' or '.join(endings)}")
    try:
        golden_set = resolve(against)  # before the loss: a mistyped name is told without waiting for torch
        loss = _load(target, keywords, more)
        _to_device(loss, device)
        report = run_check(
            loss, golden_set, dtype=dtype, device=device, tolerance=tolerance, cases=list(cases) or None,
            adapter=ADAPTERS[adapter] if adapter else None,
        )  # fmt: skip
    except (KeyError, FileNotFoundError, TypeError, ValueError) as error:
        raise _Usage(str(error.args[0] if isinstance(error, KeyError) else error)) from error
    if as_json:
        click.echo(report.json(), nl=False)
    else:
        from rich.console import Console

        report.print(Console(width=None if sys.stdout.isatty() else 140))
    try:
        for path in [*reports, *([plot] if plot else [])]:
            report.save(path)
    except OSError as error:
        raise _Usage(f"cannot write {path}: {error}") from error
    sys.exit(report.exit_code)


def _to_device(loss: Any, device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _Usage(f"device {device!r}: {str(error).splitlines()[0]}") from error
    if isinstance(loss, torch.nn.Module):
        loss.to(device)


@main.command()
@click.argument("target")
@click.argument("more", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--kwargs", "keywords", multiple=True, metavar="NAME=VALUE", help="Arguments of the loss; more may follow."
)
def identify(target: str, more: tuple[str, ...], keywords: tuple[str, ...]) -> None:
    """Which recorded program does TARGET equal? Tries every set of (embeddings, labels)."""
    from .checker import identify as run_identify  # NumPy

    try:
        reports = run_identify(_load(target, keywords, more))
    except TypeError as error:
        raise _Usage(str(error)) from error
    for report in reports:
        good = sum(row.verdict == "pass" for row in report.rows)
        click.echo(
            f"{'equals' if report.passed else '':6}  {report.against:24} {good:3} of {len(report.rows):2} cases  {report.what}"
        )
    if not any(report.passed for report in reports):
        click.echo(f"{target} equals none of them; for the reason: python -m golden check {target} --against SET")
        sys.exit(1)


@main.command()
@click.argument("target")
@click.argument("more", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--name", required=True, help="The record's name.")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder for NAME.json and NAME.npz.")
@click.option(
    "--kwargs", "keywords", multiple=True, metavar="NAME=VALUE", help="Arguments of the loss; more may follow."
)
@click.option("--seed", default=0, show_default=True, help="Of the battery of batches.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--force", is_flag=True, help="Replace a record of that name.")
def record(
    target: str,
    more: tuple[str, ...],
    name: str,
    out: str,
    keywords: tuple[str, ...],
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Freeze what TARGET computes today (kind own_run), for `check --against OUT` later."""
    from .records import RecordError  # NumPy
    from .records import record as freeze  # NumPy

    loss = _load(target, keywords, more)
    _to_device(loss, device)
    try:
        path = freeze(loss, name, out, seed=seed, device=device, force=force)
    except RecordError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"recorded {name} in {path}; compare with: python -m golden check {target} --against {Path(out)}")


@main.command()
@click.option("--paper", default=None, help="Text in the paper's or method's name.")
@click.option("--dataset", default=None, help="Text in the dataset's name.")
@click.option("--metric", default=None, help="Such as R@1.")
@click.option("--kind", default=None, help="published, repo log, ...")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with sources and quotes.")
@click.option("--unheld", is_flag=True, help="Rows of the authors' own methods that no recipe is held to, and why.")
def published(
    paper: str | None, dataset: str | None, metric: str | None, kind: str | None, as_json: bool, unheld: bool
) -> None:
    """Published numbers with their sources."""
    from . import published as numbers_of  # NumPy
    from .published import kinds, rows  # NumPy

    if kind is not None and kind not in kinds():
        raise _Usage(f"no published number is of kind {kind!r}; there are: {', '.join(kinds())}")
    found = rows(paper=paper, dataset=dataset, metric=metric, kind=kind)
    reasons: dict[int, str] = {}
    if unheld:
        reasons = {id(row): reason for row, reason in numbers_of.unheld()}
        found = [row for row in found if id(row) in reasons]
    if not found:
        raise _Usage("no published number matches")
    if as_json:
        shown = [{**row, "unheld": reasons[id(row)]} if unheld else row for row in found]
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "paper",
        "method",
        "dataset",
        "numbers",
        "kind",
        "why no recipe is held to it" if unheld else "source",
    ):
        table.add_column(column)
    for row in found:
        numbers = " ".join(f"{k} {v}" for k, v in row["metric"].items() if metric is None or k == metric)
        last = reasons[id(row)] if unheld else row.get("source", "")
        cells = (row["paper"], row["method"], row["dataset"], numbers, row["kind"], last)
        table.add_row(*(escape(str(cell)) for cell in cells))
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table, highlight=False)
    if unheld:
        console.print(f"{len(found)} of {len(numbers_of.own())} rows of the authors' own methods.", highlight=False)


@main.command()
def verify() -> None:
    """Is every data file the one that was recorded? Compares sha256 with data/digests.json."""
    try:
        found = problems()
    except DamagedError as error:
        raise _Usage(str(error)) from error
    for line in found:
        click.echo(line)
    if found:
        sys.exit(1)
    click.echo(f"{len(digests())} data files are as recorded")


@main.command()
@click.option(
    "--write", "path", default=None, type=click.Path(dir_okay=False), help="Replace the table in this Markdown file."
)
def mutants(path: str | None) -> None:
    """Which case catches which known wrong port, and which settings moved by 2 % are noticed (Markdown tables)."""
    from .mutants import replace_table, settings_table, table  # NumPy

    if path is None:
        click.echo(table())
        click.echo(settings_table())
        return
    replace_table(Path(path))
    click.echo(f"wrote the tables into {path}")
