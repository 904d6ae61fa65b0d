"""The record's list of starts, stops and resumes, and what a resume may not change.

A checkpoint holds weights and momentum, not what they were trained by. What is left of a run is only that run's if everything
that its result depends on is as it was; otherwise it would be a third run, that of neither command.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paper_recipes.runner.data.scale import in_words
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.files import read_json
from paper_recipes.runner.run_files import RunError

Record = dict[str, Any]


def _device(record: Record) -> str | None:
    kind = str(record["device"]).split(":")[0]
    gpu = record.get("environment", {}).get("gpu")
    return f"{kind} ({gpu})" if kind == "cuda" and gpu else kind


def _threads(record: Record) -> int | None:
    """Of the CPU alone: a GPU's sums do not depend on them."""
    return record.get("environment", {}).get("threads") if _device(record) == "cpu" else None


def _weights(record: Record) -> str | None:
    return (record.get("weights") or {}).get("sha256")


# what a result depends on -> its value in a record, and why another value would be another run
_DECIDES: dict[str, tuple[Callable[[Record], Any], str]] = {
    "recipe": (lambda record: record["recipe"], "another recipe is another run"),
    "form": (lambda record: in_words(record["form"]), "another form has other data and another scale"),
    "seed": (lambda record: record["seed"], "the steps left would draw other batches and crops"),
    "iterations": (
        lambda record: record.get("iterations"),
        "they stretch the schedule, so that it would be neither the old nor the new one",
    ),
    "batch": (lambda record: record.get("batch"), "the steps left would see other batches"),
    "device": (_device, "another kind of device rounds differently"),
    "cudnn": (
        lambda record: record.get("environment", {}).get("cudnn_enabled"),
        "other kernels round differently",
    ),
    "threads": (_threads, "sums are divided among threads, so that another number rounds differently"),
    "weights": (_weights, "the checkpoint has come from another start"),
}
_OPTION = {"iterations": "--iterations {}", "seed": "--seed {}", "threads": "--threads {}"}


def refusal(out: Path, record: Record, *, resume: bool) -> str | None:
    """Why the run of `record` may not be written into `out`; None where it may. Reads only.

    Raises RunError where the run.json that is there cannot be read.
    """
    newest = checkpoints.latest(out / "checkpoints")
    if not resume:
        held = newest is not None
        return f"{out} already holds a run; add --resume to go on with it, or choose another --out" if held else None
    before = _read(out)
    if before is None or newest is None:
        return None
    for name, (value, reason) in _DECIDES.items():
        theirs, ours = value(before), value(record)
        if theirs != ours and theirs is not None:
            back = f" (give {_OPTION[name].format(theirs)})" if name in _OPTION else ""
            return (
                f"--resume: {out} was begun with {name} {theirs}, this is {ours}: {reason}. Go on with {theirs}{back}, or "
                "begin a run in another --out"
            )
    return None


def begin(out: Path, record: Record, options: Record, *, resume: bool) -> list[str]:
    """Put the start (or resume) into `record`, which takes over what the run in `out` has recorded; returns lines to say."""
    before = (_read(out) or {}) if resume else {}
    history: list[Record] = list(before.get("history", ()))
    newest = checkpoints.latest(out / "checkpoints") if resume else None
    lines = []
    if newest is not None:
        record["started"] = before.get("started", record["started"])
        then, now = before.get("source_sha256"), record["source_sha256"]
        if then is not None and then != now:
            lines.append(f"resumed by other sources than the run was started by ({then[:12]} then, {now[:12]} now)")
    record["history"] = history
    iteration = 0 if newest is None else checkpoints.iteration_of(newest)
    event = "start" if newest is None else "resume"
    program = {key: record[key] for key in ("project_version", "source_sha256", "git_sha", "git_dirty")}
    threads = record["environment"]["threads"]
    started = {"event": event, "iteration": iteration, "at": _now(), "options": options, "device": record["device"]}
    history.append({**started, "threads": threads, **program})
    return lines


def end(record: Record, event: str, iteration: int | None) -> None:
    """Put the end into the record: "finished", "stopped", "diverged" or "failed"; iteration None: in the midst of one."""
    record["history"].append({"event": event, "iteration": iteration, "at": _now()})


def _read(out: Path) -> Record | None:
    try:
        return read_json(out / "run.json")
    except ValueError as error:
        raise RunError(f"{out / 'run.json'}: not a run record: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
