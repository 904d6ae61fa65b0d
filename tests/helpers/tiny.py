"""A recipe small enough for tests: three convolutions with the RLL SOP loss, sampler, image pipeline and solver rule.

Run as a script it trains in the folder given, so that a test can kill it: `python tiny.py OUT [--resume] [--workers N]`;
with torchrun's variables set it is one of several processes, `--replicas caffe|global [--sync-bn]`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from paper_recipes import registry
from paper_recipes.nets.parts import bn_scale_relu, concat, conv, inner_product, net, pool
from paper_recipes.recipe import Caffe, Recipe
from paper_recipes.runner.data import pictures, run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.processes import Replicas, joined
from paper_recipes.runner.training import loop
from paper_recipes.runner.training.state import Interrupted, Run
from ports import determinism, images, samplers
from ports.datasets.split import Split

ITERATIONS = 12


def _layers(loss: bool) -> list:
    layers = [
        conv("conv1", "data", 4, 7, stride=4),
        *bn_scale_relu("conv1"),
        pool("pool1", "conv1/bn/sc", "AVE", 55, 55),
        {
            "name": "drop",
            "type": "Dropout",
            "bottom": ["pool1"],
            "top": ["pool1"],
            "dropout_param": {"dropout_ratio": 0.2},
        },
        inner_product("fc", "pool1", 8, lr_mult=10),
    ]
    if not loss:
        return [*layers, concat("out", ["fc"], top="embedding")]
    return [
        *layers,
        {"name": "norm", "type": "Normalization", "bottom": ["fc"], "top": ["norm"], "normalization_param": {"norm": "L2"}},
        {
            "name": "loss",
            "type": "DistanceWeightedValidPairLossV12",
            "bottom": ["norm", "label"],
            "top": ["loss"],
            "loss_weight": [1],
            "propagate_down": [True, False],
            "contrastive_loss_param_v2": {"margin": 1.2, "pn_margin": 0.4},
            "softmax_t_n_param": {"scale": 10},
        },
    ]  # fmt: skip


def recipe() -> Recipe:
    sop = registry.get("rll-sop")
    caffe = Caffe(
        dialect="rll_cvpr19",
        train_net=net({"data": (6, 3, 227, 227), "label": (6, 1, 1, 1)}, _layers(loss=True)),
        test_nets={"fc": net({"data": (1, 3, 227, 227)}, _layers(loss=False))},
        solver={**sop.caffe.solver, "stepvalue": [4, 8]},
        embedding_blob="embedding",
    )
    evaluation = dataclasses.replace(sop.evaluation, ks=(1, 2), batch_size=3)
    return dataclasses.replace(sop, name="tiny", caffe=caffe, evaluation=evaluation)


def make_data(root: Path) -> run_data.Data:
    """Five classes of four noisy stripe pictures, written once."""
    splits = {}
    for part, first in (("train", 0), ("test", 5)):
        paths, labels = [], []
        for label in range(first, first + 5):
            for i in range(4):
                path = root / f"{label}_{i}.png"
                if not path.exists():
                    rng = np.random.default_rng([label, i])
                    stripes = 120 + 100 * np.sin(np.arange(90) * (label + 2) / 7)[None, :, None]
                    pixels = np.clip(stripes + rng.normal(0, 30, (70, 90, 3)), 0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(path)
                paths.append(path.name)
                labels.append(label)
        splits[part] = Split(paths, np.array(labels), part, root)
    return run_data.Data(splits["train"], splits["test"], {"name": "stripes", "root": str(root)})


def start(
    out: Path,
    data: Path,
    *,
    resume: bool = False,
    workers: int = 0,
    iterations: int = ITERATIONS,
    processes: Replicas | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    tiny, processes = recipe(), processes or Replicas()
    determinism.configure(tiny.seed, threads=1)  # in this process as in another, whatever tests before it have set
    device = torch.device("cpu")
    scale = scales.Plan(
        form="embedded",
        sampler=dataclasses.replace(tiny.sampler, classes_per_batch=2, images_per_class=3),
        iterations=iterations,
        snapshots=frozenset({3, 6, 9, iterations}),
        evaluations=frozenset({0, 6, iterations}),
    )
    folder = pictures.looked_at(make_data(data), progress=False)
    run = Run(
        recipe=tiny,
        plan=scale,
        data=folder,
        engine=CaffeEngine(tiny.caffe, device=device, seed=tiny.seed, replicas=processes),
        pipeline=images.RllSop(),
        sampler=samplers.ClassEpochSampler(
            folder.train.labels,
            ids=2 * (processes.world if processes.semantics == "caffe" else 1),
            images=3,
            seed=determinism.stream(tiny.seed, "sampler"),
        ).shard(processes.rank, processes.world),
        out=out,
        seed=tiny.seed,
        device=device,
        workers=workers,
        replicas=processes,
    )
    out.mkdir(parents=True, exist_ok=True)
    loop.train(run, resume=resume, say=say)
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--replicas")
    parser.add_argument("--sync-bn", action="store_true")
    parser.add_argument("--end", metavar="RANK:ITERATION:SIGNAL", help="what befalls one of the processes")
    args = parser.parse_args()
    with joined(args.replicas, sync_bn=args.sync_bn, device=torch.device("cpu")) as joined_processes:
        rank, iteration, number = map(int, (args.end or "-1:0:0").split(":"))
        if rank == joined_processes.rank:
            step = CaffeEngine.step

            def last(self, images, labels):
                if self.solver.iter + 1 == iteration:
                    os.kill(os.getpid(), signal.Signals(number))
                return step(self, images, labels)

            CaffeEngine.step = last  # type: ignore[method-assign]
        try:
            start(args.out, args.data, resume=args.resume, workers=args.workers, processes=joined_processes)
        except Interrupted as stop:
            print(f"stopped at {stop.iteration}")
    # One that is left may abort the process when the interpreter ends (rarely: once in hundreds of runs).
    threads = [
        file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")
    ]  # none where there is no /proc
    if left := [name for name in threads if "gloo" in name]:
        sys.exit(f"threads of the process group are left: {left}")
