"""results.json of a GPU run, written anew after each part, and its way into benchmarks/RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.__main__ import COLUMNS, HERE, shown, write_results
from benchmarks.gpu.children import Outcome
from paper_recipes.runner.files import read_json, write_json
from paper_recipes.runner.training import provenance
from ports import determinism

FILE = "results.json"


class NothingToTake(ValueError):
    """A folder without figures of a GPU."""


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def begin(out: Path, *, toy: bool) -> dict[str, Any]:
    """The record of a run; parts of an earlier one of the same kind in this folder stay until they are run again."""
    now = {
        "date": datetime.now(UTC).date().isoformat(),
        "toy": toy,
        "machine": determinism.environment(),
        "program": provenance.program(),
        "parts": {},
    }
    before = read_json(out / FILE)
    if isinstance(before, dict) and before.get("toy") == toy and before.get("machine") == now["machine"]:
        now["parts"] = before["parts"]
    return now


def add(out: Path, record: dict[str, Any], name: str, outcome: Outcome) -> None:
    record["parts"][name] = {**outcome.as_json(), "rows": outcome.rows}
    write_json(out / FILE, record)


def lines(name: str, outcome: Outcome) -> Iterator[str]:
    for row in outcome.rows:
        cells = [f"{key} {shown(row[key])}" for key in COLUMNS[1:] if row.get(key) not in (None, "")]
        yield f"   {'WRONG ' if row.get('holds') is False else ''}{row['name']}: {'  '.join(cells)}"
    yield f"   {name}: {outcome.status}, {outcome.seconds:.0f} s{': ' + outcome.error if outcome.error else ''}"


def all_well(record: dict[str, Any], names: list[str]) -> bool:
    parts = [record["parts"][name] for name in names]
    return all(
        part["status"] == "done" and all(row.get("holds") is not False for row in part["rows"]) for part in parts
    )


def take(folder: Path) -> str:
    """Put the figures of `folder` under "gpu" in benchmarks/results.json and RESULTS.md; says what was put in.

    Parts that are there already, from another folder, stay until they are taken anew. Raises NothingToTake where there are no
    figures, or only toy ones.
    """
    record = read_json(folder / FILE)
    if not isinstance(record, dict) or not record.get("parts"):
        raise NothingToTake(f"{folder}: no {FILE} of a GPU run")
    if record["toy"]:
        raise NothingToTake(f"{folder}: toy sizes on a CPU measure nothing")
    parts = {name: part for name, part in record["parts"].items() if part["rows"]}
    if not parts:
        raise NothingToTake(f"{folder}: no part has found a figure")
    known = read_json(HERE / FILE) or {}
    before = known.get("gpu", {"rows": [], "unfinished": {}})
    rows = [{"date": before["date"], **row} for row in before["rows"] if row["part"] not in parts]
    rows += [
        {**row, "name": f"{name}: {row['name']}", "part": name, "date": record["date"]}
        for name, part in parts.items()
        for row in part["rows"]
    ]
    told = {
        name: f"{part['status']}: {part['error']}" for name, part in record["parts"].items() if part["status"] != "done"
    }
    left = {row["part"] for row in rows}
    unfinished = {name: why for name, why in before["unfinished"].items() if name not in record["parts"]}
    unfinished |= {name: why for name, why in told.items() if name in parts or name not in left}
    known["gpu"] = {"date": _dates(rows), "machine": record["machine"], "rows": rows, "unfinished": unfinished}
    write_results(known)
    return f"{sum(len(part['rows']) for part in parts.values())} rows of {len(parts)} parts, {record['machine']['gpu']}"


def _dates(rows: list[dict[str, Any]]) -> str:
    """The day; where parts are of several days, each with its parts."""
    days: dict[str, dict[str, None]] = {}
    for row in rows:
        days.setdefault(row["date"], {})[row["part"]] = None
    if len(days) == 1:
        return next(iter(days))
    return "; ".join(f"{day} ({', '.join(days[day])})" for day in sorted(days))
