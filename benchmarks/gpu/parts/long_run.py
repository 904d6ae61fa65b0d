"""rll-sop at its own batch on the letters for as long as there is time: does it learn, and what does a whole run's step take?

It stops itself as Ctrl-C would, with a checkpoint, before its time limit; steps.jsonl and evaluations.jsonl are kept.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.jobs import open_run
from benchmarks.gpu.setting import Setting, row
from paper_recipes.runner import run_files
from paper_recipes.runner.training import loop
from paper_recipes.runner.training.state import Interrupted

STEPS, EVERY = 2_000, 100
KEPT = ("steps.jsonl", "evaluations.jsonl", "timings.jsonl", "raw_pixels.json", "clustering.json")


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    steps, every = (3, 3) if setting.toy else (STEPS, EVERY)
    with tempfile.TemporaryDirectory() as work:
        out = Path(work)
        run = open_run(
            "rll-sop", setting, out, steps=steps, stops={steps}, evaluations={0, *range(every, steps + 1, every)}
        )
        timer = threading.Timer(max(setting.left - 20, 1), os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        done = steps
        try:
            loop.train(run, resume=False, say=lambda line: print(line, flush=True))
        except Interrupted as stop:
            done = stop.iteration
        finally:
            timer.cancel()
        kept = Path(setting.out) / "long_run"
        kept.mkdir(exist_ok=True)
        for name in KEPT:
            if (out / name).exists():
                shutil.copy(out / name, kept / name)
        yield from found(out, run.plan.sampler.batch_size, run.data.test.num_classes, done, steps)


def found(out: Path, batch: int, letters: int, done: int, steps: int) -> Iterator[dict[str, Any]]:
    losses = [sum(step["losses"].values()) for step in run_files.read(out, "steps")]
    few = max(1, len(losses) // 20)
    yield row(
        f"rll-sop, batch {batch}: mean loss of the first and the last {few} steps",
        statistics.mean(losses[-few:]), peer=statistics.mean(losses[:few]), note=f"{done} of {steps} steps; peer: the first",
    )  # fmt: skip
    for scored in run_files.read(out, "evaluations"):
        headline, metrics = next(iter(scored["metrics"].items()))
        yield row(
            f"rll-sop: recall@1 ({headline}) after {scored['iteration']} steps",
            metrics["R@1"],
            unit="%",
            note=f"{letters} letters",
        )
    seconds = [line["seconds"] for line in run_files.read(out, "timings") if "seconds" in line][few:]
    if seconds:
        median = statistics.median(seconds)
        yield row(
            "rll-sop: a step of the run, loaders and records included",
            batch / median,
            unit="images/s",
            note=f"{median * 1e3:.0f} ms",
        )
