"""`evaluate NAME --model FILE`: a trained model scored by its paper's protocol, without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from paper_recipes import registry
from paper_recipes.recipe import Evaluation, Recipe
from paper_recipes.runner import run_files
from paper_recipes.runner.data import pictures, run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.data.batches import make_pipeline
from paper_recipes.runner.engines import processes as process_group
from paper_recipes.runner.engines import trained_models
from paper_recipes.runner.engines.engine import Model
from paper_recipes.runner.files import write_json
from paper_recipes.runner.reports import terminal
from paper_recipes.runner.scoring import clustering, saved, sharded, verdict
from paper_recipes.runner.scoring import scores as scoring
from paper_recipes.runner.training import provenance
from paper_recipes.runner.training.parts import make_engine
from ports import determinism
from ports.allocator import keep_freed_memory
from ports.files import sha256

# queries and gallery (N, D) by embedding, and which model made them (JSON types)
Found = tuple[dict[str, NDArray[Any]], "dict[str, NDArray[Any]] | None", dict[str, Any]]
PROTOCOLS = ("self", "query-gallery", "reid")


@dataclass
class Options:
    model: Path
    data: Path | None = None
    image_root: Path | None = None
    protocol: str | None = None
    out: Path | None = None
    device: str | None = None
    workers: int | None = None
    threads: int | None = None
    smoke: bool = False
    clustering: bool = False


def score_model(recipe: Recipe, options: Options) -> int:
    """Exit code: 0 done, 1 below or above the published values (official data and the paper's own protocol only).

    Several processes under torchrun share images and queries; the root says and writes what comes of it.
    """
    trained_models.check(recipe, options.model)
    keep_freed_memory()
    determinism.configure(recipe.seed, threads=options.threads, cudnn=recipe.cudnn)
    device = process_group.device_for(options.device)
    with process_group.joined("global" if process_group.launched() > 1 else None, device=device) as processes:
        return _score(recipe, options, device, processes)


def _score(recipe: Recipe, options: Options, device: torch.device, processes: process_group.Replicas) -> int:
    say = click.echo if processes.root else _quiet
    judged = options.protocol is None
    trained, recipe = recipe, replace(recipe, evaluation=_evaluation(recipe, options.protocol))
    if options.clustering:
        clustering.check(recipe)
    scale, data = processes.from_root(_open(recipe, options) if processes.root else None)
    judged = judged and options.data is not None and not data.own
    if (going_on := run_files.beside(options.model.absolute().parent.parent)) is not None:
        say(f"{going_on}: {options.model.name} is one of its checkpoints, not its end")
    say(f"{recipe.name}: {options.model.name} on {data.description['name']}, protocol {recipe.evaluation.protocol}")
    if options.model.is_dir():
        queries, gallery, origin = _saved(options.model, trained, data, say)
    else:
        queries, gallery, origin = _computed(options, scale, data, recipe, trained, device, processes)
    scored = queries, gallery
    if recipe.evaluation.rule == "ret_metric_recall" != trained.evaluation.rule:
        # The rule takes the query for its own nearest item, which holds for rows of one length alone: its networks end in
        # a normalisation, this recipe's may not.
        say("rows are normalised first, as the networks of these rules do")
        scored = _unit(queries), None if gallery is None else _unit(gallery)
    scores = scoring.score(*scored, data, recipe.evaluation, recall=sharded.recall(processes))
    if not processes.root:
        return 0
    clusters = clustering.score(recipe, queries, gallery, data) if options.clustering else None
    out = options.out or Path("runs") / f"{recipe.name}-evaluate-{options.model.stem}".replace("/", "_")
    if not options.model.is_dir():
        saved.save(out, queries, gallery, data)
    facts = {
        "recipe": recipe.name,
        "fingerprint": trained.fingerprint(),
        "form": "own" if data.own else scale.form,
        "protocol": options.protocol,  # None: the paper's own
        **origin,
        **provenance.program(),
        "versions": provenance.distributions(),
        "data": data.description,
        **scores.as_json(),
        **({} if clusters is None else {"clustering": clusters}),
    }
    write_json(out / "scores.json", facts)
    terminal.scores(scores.metrics)
    for near in filter(None, map(scores.near_words, scores.metrics)):
        click.echo(near)
    if clusters is not None:
        clustering.show(recipe, clusters, official=judged)
    click.echo(
        f"{scores.queries:,} queries; {'' if options.model.is_dir() else 'embeddings and '}exact counts in {out}"
    )
    scored_row = {"iteration": 0, **scores.as_json(), **({} if clusters is None else {"clustering": clusters})}
    result = verdict.verify(recipe, [scored_row]) if judged else None
    if result is None:
        none = judged and not recipe.expected
        click.echo(
            f"no verdict: {recipe.name} is held to no published value"
            if none
            else "no verdict: published values belong to the official data and the paper's own protocol"
        )
        return 0
    terminal.verdict(result)
    return 0 if result.passed else 1


def _open(recipe: Recipe, options: Options) -> tuple[scales.Plan, run_data.Data]:
    if options.data is not None:
        data = run_data.open_folder(recipe, options.data, options.image_root, training=False)
        return scales.full(recipe), pictures.looked_at(data)
    if options.image_root is not None:
        raise run_data.DataError("--image-root says where the images of lists are: give the lists with --data")
    scale = scales.embedded(recipe, smoke=options.smoke)
    return scale, pictures.looked_at(run_data.open_embedded(recipe, scale, recipe.seed))


def _quiet(line: str) -> None:
    """Of several processes, only the root speaks."""


def _saved(folder: Path, trained: Recipe, data: run_data.Data, say: Callable[[str], None]) -> Found:
    """Embeddings that an earlier call saved, and the model that it says they are of."""
    queries, gallery, facts = saved.load(folder, trained, data)
    origin = {key: facts[key] for key in ("model", "sha256", "loaded")}
    say(f"embeddings saved in {folder}, of {Path(origin['model']).name} (sha256 {origin['sha256'][:16]})")
    return queries, gallery, origin


def _computed(
    options: Options,
    scale: scales.Plan,
    data: run_data.Data,
    recipe: Recipe,
    trained: Recipe,
    device: torch.device,
    processes: process_group.Replicas,
) -> Found:
    """Embeddings of the test images by the model file."""
    engine: Model
    if options.model.suffix == ".onnx":
        engine, line = trained_models.onnx_engine(recipe, options.model, device)
    else:
        trainable = make_engine(recipe, scale, data, device=device, seed=recipe.seed)
        engine, line = trainable, trained_models.load(trainable, trained, options.model)
    if processes.root:
        click.echo(line)
    engine.begin_embedding()
    queries, gallery = scoring.embed_data(
        engine, data, make_pipeline(recipe), recipe.evaluation,
        device=device, workers=options.workers, embed=sharded.embed(processes),
    )  # fmt: skip
    return queries, gallery, {"model": str(options.model), "sha256": sha256(options.model), "loaded": line}


def _unit(embeddings: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    norms = {name: np.linalg.norm(values, axis=1, keepdims=True) for name, values in embeddings.items()}
    return {name: values / np.maximum(norms[name], 1e-12) for name, values in embeddings.items()}


def _evaluation(recipe: Recipe, protocol: str | None) -> Evaluation:
    """The recipe's own rules, another recipe's, or its own under another protocol."""
    if protocol is None:
        return recipe.evaluation
    if protocol in PROTOCOLS:
        return replace(recipe.evaluation, protocol=protocol)
    return registry.get(protocol).evaluation
