"""A whole run on the letters in a process of its own: `python -m benchmarks.gpu.one_run RECIPE SETTING OUT [...]`.

--kill-at N: the process kills itself where step N begins. --resume: goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

from benchmarks.gpu.jobs import open_run
from benchmarks.gpu.setting import Setting
from paper_recipes.runner.training import loop


def dies_at(engine: Any, iteration: int) -> None:
    """Without a word, as from a power cut: SIGKILL cannot be caught."""
    step, done = engine.step, 0

    def last(images: Any, labels: Any) -> Any:
        nonlocal done
        done += 1
        if done == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(images, labels)

    engine.step = last


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe")
    parser.add_argument("setting")
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    setting = Setting(**json.loads(args.setting))
    args.out.mkdir(parents=True, exist_ok=True)
    steps = setting.steps
    stops = {max(1, steps // 3), max(1, 2 * steps // 3), steps}
    # The one before the first step gives nets from seeded values their statistics where the recipe freezes those.
    evaluations = {steps} if setting.toy else {0, steps}
    run = open_run(args.recipe, setting, args.out, steps=steps, stops=stops, evaluations=evaluations, processes=3)
    if args.kill_at:
        dies_at(run.engine, args.kill_at)
    loop.train(run, resume=args.resume, say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
