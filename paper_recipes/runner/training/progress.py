"""What a run says while it trains: what it will do, how long that may take, how far it has come."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.data.scale import Plan
from paper_recipes.runner.training.state import Run
from ports.progress import EVERY, bar, minutes

# Steps after which the time left is told: the first ones are slower, by caches and workers that start.
FIRST = 10


def announcement(run: Run, *, reduced_from: str | None = None) -> list[str]:
    """What the run will do: batch, data, steps, evaluations, where its files go. `reduced_from`: the recipe's own batch."""
    facts, plan, data = run.plan.sampler, run.plan, run.data
    batch = f"batch {facts.batch_size} = {facts.classes_per_batch} classes x {facts.images_per_class} images"
    if reduced_from is not None:
        batch += f", reduced from the recipe's {reduced_from}: there are {data.train.num_classes} training classes"
    return [batch, _data(data), _steps(plan), f"files go to {run.out}"]


def _data(data: Data) -> str:
    parts = {"training": data.train, "test": data.test, "gallery": data.gallery}
    words = [f"{name} {len(s):,} images of {s.num_classes:,} classes" for name, s in parts.items() if s is not None]
    return "; ".join(words)


def _steps(plan: Plan) -> str:
    at = sorted(plan.evaluations)
    shown = ", ".join(f"{i:,}" for i in (at if len(at) <= 8 else at[:3])) + (f", ... {at[-1]:,}" if len(at) > 8 else "")
    return f"{plan.iterations:,} steps; {len(at)} evaluations, at {shown}"


class Progress:
    """A bar on a terminal; elsewhere a line every hundredth of the run, at most one in ten seconds: step, loss, rate, time left."""

    def __init__(self, run: Run, done: int, say: Callable[[str], None]) -> None:
        self._total, self._done, self._say, self._name = run.plan.iterations, done, say, run.recipe.name
        self._lines = run.replicas.root and not sys.stderr.isatty()
        self._every = max(1, self._total // 100)
        self._last = time.monotonic()
        self._seconds: list[float] = []
        options: dict[str, Any] = {"initial": done, "wanted": run.replicas.root and not self._lines}
        self._bar = bar(self._total, self._name, "step", **options)
        self._root = run.replicas.root

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def step(self, iteration: int, losses: dict[str, float], rate: float, seconds: float) -> None:
        """One step is done, `seconds` after the one before."""
        self._seconds.append(seconds)
        left = statistics.median(self._seconds[-50:]) * (self._total - iteration)
        if self._root and iteration - self._done == FIRST < self._total - self._done:
            self._say(f"about {minutes(left)} for the {self._total - iteration:,} steps left, evaluations apart")
        loss = f"{sum(losses.values()):.4f}"
        if not self._lines:
            self._bar.set_postfix(loss=loss, refresh=False)
            self._bar.update()
        elif iteration % self._every == 0 and iteration < self._total and time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            line = (
                f"{self._name}: step {iteration:,} of {self._total:,}: loss {loss}, rate {rate:g}, {minutes(left)} left"
            )
            print(line, file=sys.stderr, flush=True)
