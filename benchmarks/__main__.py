"""`python -m benchmarks [NAME ...] [--quick]`: run the benchmarks, write benchmarks/RESULTS.md and results.json.

A benchmark is a module of this package with `run(quick=False) -> list[dict]`; a row has `name`, `ours`, `peer`, `ratio`
(ours / peer), `unit`, `note`, and optionally `target`. Rows of benchmarks that are not run again are kept.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from datetime import date
from pathlib import Path
from typing import Any

import click

import benchmarks
from ports import determinism

HERE = Path(__file__).parent
COLUMNS = ("name", "ours", "peer", "ratio", "target", "unit", "note")


def names() -> list[str]:
    """The modules with `run`; `benchmarks.gpu` is a program of its own."""
    found = pkgutil.iter_modules(benchmarks.__path__)
    return sorted(m.name for m in found if not m.ispkg and not m.name.startswith("_"))


@click.command()
@click.argument("chosen", nargs=-1, type=click.Choice(names()))
@click.option("--quick", is_flag=True, help="Small sizes: checks that the benchmarks run; nothing is written.")
def main(chosen: tuple[str, ...], quick: bool) -> None:
    """Run the benchmarks (all, or those named) and write benchmarks/RESULTS.md."""
    path = HERE / "results.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in chosen or names():
        click.echo(f"== {name}")
        rows = importlib.import_module(f"benchmarks.{name}").run(quick=quick)
        for row in rows:
            click.echo("   " + "  ".join(f"{key} {shown(row[key])}" for key in COLUMNS if row.get(key) is not None))
        results[name] = {"date": date.today().isoformat(), "machine": determinism.environment(), "rows": rows}
    if not quick:
        write_results(results)


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
