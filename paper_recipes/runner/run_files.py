"""The files of a run directory.

run.json            what was run, on what; status and verdict when it ends
steps.jsonl         one line per step: iteration, learning rate, losses   } equal to the bit
evaluations.jsonl   one line per evaluation: recall and exact hit counts  } for equal runs
checkpoints/        iteration_NNNNNN.safetensors                          }
embeddings/         of the test set, as the last evaluation scored them
pictures.sha256     the pictures of the run, as sha256sum lists them
timings.jsonl       seconds per step and per evaluation
manifest.json       each of these files with its sha256
run.lock            which process writes here, as long as one does (`run_lock.py`)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paper_recipes.runner import manifest, run_lock
from paper_recipes.runner.files import read_object, write_json
from ports.files import atomic_path


class RunError(ValueError):
    """A run that cannot start or go on: what is wrong and what to do."""


def record(out: Path) -> dict[str, Any]:
    """run.json of a run, its status as it is now: "running" only where a process is.

    Raises RunError for a folder without one, and for a file that is no run record.
    """
    path = out / "run.json"
    if not path.exists():
        raise RunError(f"{out} is not a run directory: there is no run.json")
    try:
        found = read_object(path, "a run record")
    except ValueError as error:
        raise RunError(str(error)) from None
    for key, kind in (("recipe", str), ("form", str), ("data", dict)):
        if not isinstance(found.get(key), kind):
            raise RunError(f"{path}: not a run record: its {key!r} is {str(found.get(key))[:60]!r}")
    return {**found, "status": run_lock.status(out, found)}


def beside(out: Path) -> str | None:
    """What another process is doing in the run directory `out`, in words; None: nobody writes there."""
    who = run_lock.holder(out)
    if who is None:
        return None
    steps = read(out, "steps")
    return f"{out}: a run is going on there ({who}), at iteration {steps[-1]['iteration'] if steps else 0}"


@contextmanager
def fitting(out: Path) -> Iterator[None]:
    """What goes wrong inside is said of the files of this run: one of them lacks or twists what another speaks of."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise RunError(f"{out}: its files do not fit together ({type(error).__name__}: {str(error)[:200]})") from error


def read(out: Path, name: str) -> list[dict[str, Any]]:
    """The lines of `name`.jsonl of a run; a torn last line (killed while writing) is left out.

    Raises RunError with file and line for any other line that is no JSON, or no row of such a file.
    """
    rows = []
    path = out / f"{name}.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            if number == len(lines):
                break
            raise RunError(f"{path}:{number}: not a line of JSON: {line[:60]!r}") from None
        if not isinstance(row, dict) or not _is_row(name, row):
            raise RunError(f"{path}:{number}: not a line of {name}: {line[:60]!r}")
        rows.append(row)
    return rows


def _is_row(name: str, row: dict[str, Any]) -> bool:
    if name in ("steps", "evaluations") and type(row.get("iteration")) is not int:
        return False
    if name == "steps":
        return _is_numbers(row.get("losses"))
    if name == "evaluations":
        metrics = row.get("metrics")
        return isinstance(metrics, dict) and bool(metrics) and all(map(_is_numbers, metrics.values()))
    return True


def _is_numbers(table: Any) -> bool:
    return isinstance(table, dict) and all(type(value) in (int, float) for value in table.values())


def write_record(out: Path, fields: dict[str, Any]) -> None:
    """run.json, and the seal on it and on the lines so far."""
    write_json(out / "run.json", fields)
    manifest.seal(out, "run.json", "steps.jsonl", "evaluations.jsonl", "timings.jsonl")


def append(path: Path, row: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(_line(path, row))


def _line(path: Path, row: dict[str, Any]) -> str:
    """Strict JSON, which has no NaN and no infinity."""
    try:
        return json.dumps(row, allow_nan=False) + "\n"
    except ValueError as error:
        raise RunError(f"{path}: iteration {row.get('iteration')} holds a number that is not finite: {row}") from error


def truncate(path: Path, iteration: int) -> None:
    kept = [row for row in read(path.parent, path.stem) if row["iteration"] <= iteration]
    text = "".join(_line(path, row) for row in kept)

    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
