"""`evaluate NAME --model FILE`: a trained model scored by its paper's protocol, without training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from caffe_compat.caffemodel import read_caffemodel
from paper_recipes import registry
from paper_recipes.recipe import Evaluation, Recipe
from paper_recipes.runner import checkpoint, describe, evaluate, networks, plan, prepare, verdict
from paper_recipes.runner.engine import CaffeEngine
from paper_recipes.runner.engine_torch import TorchEngine
from paper_recipes.runner.files import sha256, write_atomically, write_json
from paper_recipes.runner.run import make_engine, make_pipeline
from ports import determinism

PROTOCOLS = ("self", "query-gallery", "reid")


class ModelError(ValueError):
    """A model file that does not belong to the recipe: which file and why."""


@dataclass
class Options:
    model: Path
    data: Path | None = None
    protocol: str | None = None
    out: Path | None = None
    device: str | None = None
    workers: int | None = None
    threads: int | None = None
    smoke: bool = False


def score_model(recipe: Recipe, options: Options) -> int:
    """Exit code: 0 done, 1 the published values are not met (official data and the paper's own protocol only)."""
    if not options.model.is_file():
        raise ModelError(f"--model {options.model}: no such file")
    determinism.configure(recipe.seed, threads=options.threads)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    judged = options.protocol is None
    recipe = replace(recipe, evaluation=_evaluation(recipe, options.protocol))
    if options.data is None:
        scale = plan.embedded(recipe, smoke=options.smoke)
        data = prepare.open_embedded(recipe, scale, recipe.seed)
        judged = False
    else:
        scale, data = plan.full(recipe), prepare.open_folder(recipe, options.data)
        judged = judged and not data.own
    click.echo(
        f"{recipe.name}: {options.model.name} on {data.description['name']}, protocol {recipe.evaluation.protocol}"
    )
    engine = make_engine(recipe, scale, data, device=device, seed=recipe.seed)
    click.echo(load(engine, recipe, options.model))
    engine.begin_embedding()
    queries, gallery = evaluate.embed_data(
        engine, data, make_pipeline(recipe),
        batch_size=recipe.evaluation.batch_size, device=device, workers=options.workers,
    )  # fmt: skip
    scores = evaluate.score(queries, gallery, data, recipe.evaluation)
    out = options.out or Path("runs") / f"{recipe.name}-evaluate-{options.model.stem}"
    _save(out, queries, gallery, data)
    record = {"recipe": recipe.name, "model": str(options.model), "sha256": sha256(options.model)}
    write_json(out / "scores.json", {**record, "data": data.description, **scores.as_json()})
    describe.scores(scores.metrics)
    click.echo(f"{scores.queries:,} queries; embeddings and exact counts in {out}")
    result = verdict.verify(recipe, [{"iteration": 0, **scores.as_json()}]) if judged else None
    if result is None:
        click.echo("no verdict: published values belong to the official data and the paper's own protocol")
        return 0
    describe.verdict(result)
    return 0 if result.passed else 1


def _evaluation(recipe: Recipe, protocol: str | None) -> Evaluation:
    """The recipe's own rules, another recipe's, or its own under another protocol."""
    if protocol is None:
        return recipe.evaluation
    if protocol in PROTOCOLS:
        return replace(recipe.evaluation, protocol=protocol)
    return registry.get(protocol).evaluation


def load(engine: Any, recipe: Recipe, path: Path) -> str:
    """Put the model into the engine; says what was loaded. Raises ModelError, WeightsError or CheckpointError."""
    if _is_own_checkpoint(path):
        saved = checkpoint.load(path)
        trained = {other.fingerprint(): name for name, other in registry.RECIPES.items()}
        ours = registry.RECIPES[recipe.name].fingerprint() if recipe.name in registry.RECIPES else None
        if saved.state["fingerprint"] != ours:
            whose = trained.get(saved.state["fingerprint"], "a recipe that is not in this version")
            raise ModelError(f"{path}: a checkpoint of {whose}, not of {recipe.name} as it is now")
        engine.load_weights(saved.tensors)
        return f"checkpoint of iteration {saved.state['iteration']:,} ({saved.state['form']} form)"
    if isinstance(engine, TorchEngine):
        if path.suffix not in (".pth", ".pt", ".safetensors"):
            raise ModelError(f"{path}: {recipe.name} takes .pth, .pt or .safetensors")
        line = networks.load_model(engine.net, path)
        engine.load_weights({f"net/{name}": value for name, value in engine.net.state_dict().items()})
        return line
    return _load_caffemodel(engine, recipe, path)


def _load_caffemodel(engine: CaffeEngine, recipe: Recipe, path: Path) -> str:
    if path.suffix not in (".caffemodel", ".h5"):
        raise ModelError(f"{path}: {recipe.name} takes a .caffemodel, .caffemodel.h5 or a checkpoint of ours")
    found = read_caffemodel(path)
    missing = [name for name in engine.test_net.params if name not in found]
    if missing:
        raise ModelError(
            f"{path}: {len(missing)} layers of the test net are not in it, {missing[0]!r} first; "
            f"it is no trained model of {recipe.name}"
        )
    return str(engine.solver.net.load_caffemodel(path))


def _is_own_checkpoint(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            return checkpoint.FORMAT in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot read it: {error}") from error


def _save(out: Path, queries: dict[str, np.ndarray], gallery: dict[str, np.ndarray] | None, data: prepare.Data) -> None:
    """Raw embeddings (N, D) float32 and labels (N,) as .npy, one file per embedding and side."""
    sides = [("query", queries, data.test)] + ([("gallery", gallery, data.gallery)] if gallery is not None else [])
    for side, embeddings, split in sides:
        for name, values in (embeddings or {}).items():
            write_atomically(out / f"{side}_{name}.npy", lambda path, v=values: _dump(path, v))  # type: ignore[misc]
        assert split is not None
        write_atomically(out / f"{side}_labels.npy", lambda path, v=split.labels: _dump(path, v))  # type: ignore[misc]


def _dump(path: Path, values: np.ndarray) -> None:
    with open(path, "wb") as file:  # np.save on a name would add .npy
        np.save(file, values, allow_pickle=False)
