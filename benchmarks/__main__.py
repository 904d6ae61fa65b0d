"""`python -m benchmarks [NAME ...] [--threads 1,2] [--quick]`: run the benchmarks, write benchmarks/RESULTS.md and results.json.

A benchmark is a module of this package with `run(quick=False) -> list[dict]`; a row has `name`, `ours`, `peer`, `ratio`
(ours / peer; of programs that took turns the median of the turns' ratios, with its `spread`), `unit`, `note`, and optionally
`target`. Rows of benchmarks that are not run again are kept, and those that a machine with another processor measured. What ran
beside other work is printed and not recorded.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
from datetime import date
from pathlib import Path
from typing import Any

import click
import torch

import benchmarks
from benchmarks._load import MOST, OtherWork
from ports import determinism

HERE = Path(__file__).parent
COLUMNS = ("name", "ours", "peer", "ratio", "spread", "target", "unit", "note")


def names() -> list[str]:
    """The modules with `run`; `benchmarks.gpu` is a program of its own."""
    found = pkgutil.iter_modules(benchmarks.__path__)
    return sorted(m.name for m in found if not m.ispkg and not m.name.startswith("_"))


@click.command()
@click.argument("chosen", nargs=-1, type=click.Choice(names()))
@click.option(
    "--threads", default="", metavar="N[,N...]", help="Run each with so many threads, in turn; default: torch's number."
)
@click.option("--quick", is_flag=True, help="Small sizes: checks that the benchmarks run; nothing is written.")
def main(chosen: tuple[str, ...], threads: str, quick: bool) -> None:
    """Run the benchmarks (all, or those named) and write benchmarks/RESULTS.md. The exit code is 1 if one was not recorded."""
    path = HERE / "results.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    disturbed = []
    for count in counts(threads):
        for name in chosen or names():
            torch.set_num_threads(count or torch.get_num_threads())
            title = f"{name}, {count} thread{'s' * (count != 1)}" if count else name
            click.echo(f"== {title}")
            beside = OtherWork()
            rows = importlib.import_module(f"benchmarks.{name}").run(quick=quick)
            share = beside.share()
            for row in rows:
                click.echo("   " + "  ".join(f"{key} {shown(row[key])}" for key in COLUMNS if row.get(key) is not None))
            if share is not None and share > MOST:
                disturbed.append(title)
                click.echo(f"   beside other work: it took {share:.0%} of the processors' time; not recorded")
            else:
                machine = {**determinism.environment(), "cpus": os.cpu_count(), "other_work": share}
                if results.get(title, {"machine": machine})["machine"].get("processor") != machine["processor"]:
                    title += f", {machine['processor']}"  # beside what another kind of machine measured
                results[title] = {"date": date.today().isoformat(), "machine": machine, "rows": rows}
            if not quick:
                write_results(results)  # after each, as a later one may not come to its end
    if disturbed and not quick:
        raise SystemExit(1)


def counts(threads: str) -> list[int]:
    """Of "1,2": [1, 2]; of "": [0], torch's own number."""
    if not threads:
        return [0]
    try:
        found = [int(word) for word in threads.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise click.BadParameter(
            f"{threads!r}: numbers of threads, from 1, with commas between", param_hint="--threads"
        )
    return found


def write_results(results: dict[str, Any]) -> None:
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (HERE / "RESULTS.md").write_text(markdown(results), encoding="utf-8")


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(results: dict[str, Any]) -> str:
    lines = ["# Measured", "", "Made by `python -m benchmarks`; ratios are ours / peer, both measured in one run.", ""]
    for name, result in sorted(results.items()):
        machine = result["machine"]
        device = machine["gpu"] or f"{machine['processor']}, {machine['threads']} threads"
        if machine.get("cpus"):
            device += f" of {machine['cpus']} processors"
        if machine.get("other_work") is not None:
            device += f", other work {machine['other_work']:.0%}"
        lines += [f"## {name}", "", f"{result['date']}, {device}, torch {machine['torch']}", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
        for row in result["rows"]:
            cells = ["" if row.get(key) is None else shown(row[key]) for key in COLUMNS]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        unfinished = [f"- {part}: {why}" for part, why in result.get("unfinished", {}).items()]
        lines += ["", *unfinished] if unfinished else []
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
