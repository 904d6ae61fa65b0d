"""`evaluate NAME --model FILE`: a trained model scored by its paper's protocol, without training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch

from paper_recipes import registry
from paper_recipes.recipe import Evaluation, Recipe
from paper_recipes.runner import clustering, describe, evaluate, models, plan, prepare, verdict
from paper_recipes.runner.files import sha256, write_atomically, write_json
from paper_recipes.runner.run import make_engine, make_pipeline
from ports import determinism

PROTOCOLS = ("self", "query-gallery", "reid")


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
    clustering: bool = False


def score_model(recipe: Recipe, options: Options) -> int:
    """Exit code: 0 done, 1 the published values are not met (official data and the paper's own protocol only)."""
    models.check(recipe, options.model)
    determinism.configure(recipe.seed, threads=options.threads)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    judged = options.protocol is None
    trained, recipe = recipe, replace(recipe, evaluation=_evaluation(recipe, options.protocol))
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
    if options.model.suffix == ".onnx":
        engine, line = models.onnx_engine(recipe, options.model, device)
    else:
        engine = make_engine(recipe, scale, data, device=device, seed=recipe.seed)
        line = models.load(engine, trained, options.model)
    click.echo(line)
    engine.begin_embedding()
    queries, gallery = evaluate.embed_data(
        engine, data, make_pipeline(recipe),
        batch_size=recipe.evaluation.batch_size, device=device, workers=options.workers,
    )  # fmt: skip
    scores = evaluate.score(queries, gallery, data, recipe.evaluation)
    clusters = clustering.score(recipe, queries, gallery, data) if options.clustering else None
    out = options.out or Path("runs") / f"{recipe.name}-evaluate-{options.model.stem}".replace("/", "_")
    _save(out, queries, gallery, data)
    facts = {
        "recipe": recipe.name,
        "fingerprint": trained.fingerprint(),
        "form": "own" if data.own else scale.form,
        "protocol": options.protocol,  # None: the paper's own
        "model": str(options.model),
        "sha256": sha256(options.model),
        "loaded": line,
        "data": data.description,
        **scores.as_json(),
        **({} if clusters is None else {"clustering": clusters}),
    }
    write_json(out / "scores.json", facts)
    describe.scores(scores.metrics)
    if clusters is not None:
        clustering.show(recipe, clusters, official=judged)
    click.echo(f"{scores.queries:,} queries; embeddings and exact counts in {out}")
    result = verdict.verify(recipe, [{"iteration": 0, **scores.as_json()}]) if judged else None
    if result is None:
        none = judged and not recipe.expected
        click.echo(
            f"no verdict: {recipe.name} is held to no published value"
            if none
            else "no verdict: published values belong to the official data and the paper's own protocol"
        )
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
