"""What runs, evaluations and golden records leave behind, and PyTorch's weights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from golden import records
from golden.records import RecordError, load_record
from paper_recipes import registry
from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.engines import checkpoint
from paper_recipes.runner.engines.networks import WeightsError, read_state
from paper_recipes.runner.reports import compare, leaderboard, page
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring import curves, saved
from ports.datasets.split import Split
from tests.fuzz.format import Format

_RECIPE = registry.get("rll-tpami-sop")
_METRICS = {net: {"R@1": 76.25, "R@10": 88.0, "R@100": 95.0} for net in _RECIPE.embeddings}
_HITS = {net: {"R@1": 61, "R@10": 70, "R@100": 76} for net in _RECIPE.embeddings}
_FACTS = {"images": 80, "classes": 8, "fingerprint": "ab" * 32}
_RECORD = {
    "recipe": _RECIPE.name,
    "form": "full",
    "fingerprint": _RECIPE.fingerprint(),
    "seed": 123,
    "device": "cpu",
    "started": "2026-11-25T21:36:54+00:00",
    "git_sha": "f2fd245ea426067435b2f3fdfed3f62c0dd1ff4e",
    "git_dirty": True,
    "versions": {"torch": "2.13.0", "numpy": "2.2.6"},
    "environment": {"python": "3.11.7", "threads": 1, "cuda": None},
    "data": {"name": "sop", "root": "/data", "train": _FACTS, "test": _FACTS, "class_names": {"7": "seven"}},
    "weights": None,
    "status": "finished",
    "comparable": True,
    "replicas": None,
    "iterations": 2,
    "batch": "6 = 3 classes x 2 images",
    "verdict": None,
    "result": {"iteration": 2, "metrics": _METRICS, "hits": _HITS, "queries": 80},
}
_EVALUATIONS = "".join(
    json.dumps({"iteration": i, "metrics": _METRICS, "hits": _HITS, "queries": 80}) + "\n" for i in (0, 2)
)
_STEPS = "".join(json.dumps({"iteration": i, "lr": 0.01, "losses": {"loss": 0.25 / i}}) + "\n" for i in (1, 2))
_EVIDENCE = [{"link": "weights", "reference": "-", "error": "-", "verdict": "-"}]


def _run(name: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        contents = {"run.json": json.dumps(_RECORD, indent=1), "evaluations.jsonl": _EVALUATIONS, "steps.jsonl": _STEPS}
        for file, text in contents.items():
            (folder / file).write_text(text)
        return [contents[name].encode()]

    return make


def _all_reports(path: Path) -> None:
    """Everything that reads a run directory, but for the drawing."""
    out = path.parent
    assert leaderboard.entries(out), "the leaderboard names what it cannot read"
    readers = (lambda: compare.lines([out]), lambda: curves.of_run(_RECIPE, out), lambda: _report_text(out))
    errors = []
    for read in readers:
        try:
            read()
        except ValueError as error:
            errors.append(error)
    for error in errors:
        raise error


def _report_text(out: Path) -> None:
    drawn, page._draw = page._draw, lambda *_: []
    try:
        page.write(out, _EVIDENCE)
    finally:
        page._draw = drawn
        for name in ("report.md", "report.html"):
            (out / name).unlink(missing_ok=True)


def _data() -> Data:
    split = Split([f"{i}.jpg" for i in range(8)], np.arange(8) // 2, "test")
    return Data(train=split, test=split, description={})


def _embeddings(folder: Path) -> list[bytes]:
    data, rng = _data(), np.random.RandomState(0)
    sides = {name: rng.randn(8, 4).astype(np.float32) for name in _RECIPE.outputs}
    saved.save(folder, sides, None, data)
    (folder / "scores.json").write_text(json.dumps({"fingerprint": _RECIPE.fingerprint(), "recipe": _RECIPE.name}))
    return [(folder / f"query_{_RECIPE.outputs[0]}.npy").read_bytes()]


def _scores(folder: Path) -> list[bytes]:
    _embeddings(folder)
    return [(folder / "scores.json").read_bytes()]


def _saved(path: Path) -> None:
    saved.load(path.parent, _RECIPE, _data())


def _loss(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (embeddings * labels[:, None]).square().mean()


def _golden(suffix: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        records.record(_loss, "mine", folder)
        return [(folder / f"mine{suffix}").read_bytes()]

    return make


def _checkpoint(folder: Path) -> list[bytes]:
    state = {"iteration": 3, "fingerprint": "ab", "form": "full"}
    path = folder / "seed.safetensors"
    checkpoint.save(path, checkpoint.Checkpoint({"net/a": torch.ones(4, 4), "net/b": torch.zeros(3)}, state))
    return [path.read_bytes()]


def _pth(folder: Path) -> list[bytes]:
    contents = []
    for state in ({"conv.weight": torch.ones(4, 4), "bn.bias": torch.zeros(3)}, {"state_dict": {"a": torch.ones(2)}}):
        for modern in (True, False):
            buffer = io.BytesIO()
            torch.save(state, buffer, _use_new_zipfile_serialization=modern)
            contents.append(buffer.getvalue())
    return contents


RUNS = [
    *(
        Format(f"run-{n.split('.')[0]}", n, _run(n), _all_reports, (RunError, ValueError))
        for n in ("run.json", "steps.jsonl", "evaluations.jsonl")
    ),
    Format("embeddings", f"query_{_RECIPE.outputs[0]}.npy", _embeddings, _saved, (saved.SavedError,)),
    Format("scores", "scores.json", _scores, _saved, (saved.SavedError,)),
    Format("golden-json", "mine.json", _golden(".json"), load_record, (RecordError,)),
    Format("golden-npz", "mine.npz", _golden(".npz"), lambda p: load_record(p.with_suffix("")), (RecordError,)),
    Format("checkpoint", "x.safetensors", _checkpoint, checkpoint.load, (checkpoint.CheckpointError,)),
    Format("pth", "x.pth", _pth, read_state, (WeightsError,)),
    Format(
        "safetensors",
        "x.safetensors",
        lambda f: [save({"a": torch.ones(3, 3), "b": torch.zeros(2)})],
        read_state,
        (WeightsError,),
    ),
]
