"""The files of a run directory.

run.json            what was run, on what; status and verdict when it ends
steps.jsonl         one line per step: iteration, learning rate, losses   } equal to the bit
evaluations.jsonl   one line per evaluation: recall and exact hit counts  } for equal runs
checkpoints/        iteration_NNNNNN.safetensors                          }
embeddings/         of the test set, as the last evaluation scored them
pictures.sha256     the pictures of the run, as sha256sum lists them
timings.jsonl       seconds per step and per evaluation
manifest.json       each of these files with its sha256
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paper_recipes.runner import manifest
from paper_recipes.runner.files import write_atomically, write_json


class RunError(ValueError):
    """A run that cannot start or go on: what is wrong and what to do."""


def read(out: Path, name: str) -> list[dict[str, Any]]:
    """The lines of `name`.jsonl of a run; a torn last line (killed while writing) is left out."""
    rows = []
    path = out / f"{name}.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


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

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)
