"""The runs: which there are, and each as a process that is finished, resumed or left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner.data import scale as scales


@dataclass(frozen=True)
class Run:
    recipe: str
    setting: str  # what is special about it
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.recipe} {self.setting}"

    @property
    def fingerprint(self) -> str:
        """Of the recipe as it is now, with this run's --set."""
        settings = tuple(value for option, value in zip(self.options, self.options[1:]) if option == "--set")
        return registry.derived(registry.get(self.recipe), settings).fingerprint()

    def folder(self, out: Path) -> Path:
        return out / f"{self.recipe}-{self.setting.replace(' ', '-')}"

    def record(self, out: Path) -> dict[str, Any] | None:
        """run.json where the run is finished (or diverged, which is an end, too). SystemExit where the recipe has changed since."""
        path = self.folder(out) / "run.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if found and found["fingerprint"] != self.fingerprint:
            raise SystemExit(
                f"{path.parent} is of {self.recipe} with other settings than it has now: remove it, or give another --out"
            )
        return found if found and (found["status"] == "finished" or "diverged" in found) else None

    def rows(self, out: Path, name: str) -> list[dict[str, Any]]:
        path = self.folder(out) / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def finish(self, out: Path) -> None:
        """Run it to its end; one that goes on begins at its latest checkpoint."""
        if self.record(out) is not None:
            return
        folder = self.folder(out)
        command = [sys.executable, "-m", "paper_recipes", "run", self.recipe, "--out", str(folder), "--no-report"]
        command += self.options
        command += ["--resume"] if folder.exists() else []
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(out / f"{folder.name}.log", "a", encoding="utf-8") as log:
            ended = subprocess.run(command, env={**os.environ, **self.environment}, stdout=log, stderr=log)
        if self.record(out) is None:  # by its record: exit code 1 is a run outside its band, and a broken one, too
            raise SystemExit(f"{self.name}: not finished (exit code {ended.returncode}), see {log.name}")


def ends_alone(iterations: int) -> tuple[str, ...]:
    """Evaluations before the first step and after the last one: those in between take a third of a run and change nothing."""
    return ("--set", f"embedded.evaluate_every={iterations}")


def seeds(recipe: Recipe, count: int, threads: int | None, device: str | None = None) -> list[Run]:
    """The recipe's own seed and the next ones. device: None takes the run's own, which is a GPU if there is one."""
    more = (*ends_alone(recipe.embedded.iterations), *(() if threads is None else ("--threads", str(threads))))
    more += () if device is None else ("--device", device)
    return [Run(recipe.name, f"seed {n}", ("--seed", str(n), *more)) for n in range(recipe.seed, recipe.seed + count)]


def machines(recipe: Recipe, device: str | None = None) -> list[Run]:
    """The kinds of machine that a number has to be the same on, as far as one machine can play them.

    device: None for all of them, cpu or cuda for those that one of the two can play.
    """
    kinds: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
        "1 thread": ("cpu", ("--threads", "1"), {}),
        "2 threads": ("cpu", ("--threads", "2"), {}),
        "AVX2": ("cpu", ("--threads", "1"), {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}),
        "SSE4.1": ("cpu", ("--threads", "1"), {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}),
        "float64": ("cpu", ("--threads", "1", "--double"), {}),
        "GPU": ("cuda", (), {}),
    }
    return [
        Run(recipe.name, kind, (*ends_alone(recipe.embedded.iterations), "--device", where, *given), environment)
        for kind, (where, given, environment) in kinds.items()
        if device in (None, where)
    ]


def same_runs(recipes: list[Recipe]) -> list[list[Recipe]]:
    """Recipes that do the same on the letters, together: they differ in what only the full form has, or in which K they print."""
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        plan = scales.embedded(recipe)
        # `made` has the plan's rate. A memory of embeddings that a run cannot fill is as good as any larger one.
        seen = plan.iterations * plan.sampler.batch_size
        made = scales.caffe_at(recipe, plan) if recipe.torch is None else scales.torch_at(recipe, plan, seen)
        rules = replace(recipe.evaluation, ks=(), iterations=())
        parts = (replace(plan, rate=1.0), made, recipe.images, rules, recipe.boxes, recipe.seed)
        groups.setdefault(repr(parts), []).append(recipe)
    return list(groups.values())
