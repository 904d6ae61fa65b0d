"""Recipes and evidence as tables on the terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from paper_recipes import differences, gpu_memory
from paper_recipes.recipe import Caffe, Recipe
from paper_recipes.runner.scoring.verdict import Verdict
from ports.console import Table, coloured, paragraph


def show(recipe: Recipe) -> None:
    """Print every setting of a recipe, its sources and what it is held to."""
    sampler = recipe.sampler
    rows = {
        "name": recipe.name,
        **({"derived": recipe.deviations[0]} if recipe.derived_from else {}),
        "fingerprint": recipe.fingerprint(),
        "paper": recipe.source.paper,
        "source": f"{recipe.source.repository}@{recipe.source.commit[:10]} {recipe.source.folder}",
        "data set": recipe.dataset,
        "starts from": recipe.weights + (f", sha256 {recipe.weights_sha256}..." if recipe.weights_sha256 else ""),
        "batch": f"{sampler.batch_size} = {sampler.classes_per_batch} classes x {sampler.images_per_class} images, "
        f"{sampler.rule} {sampler.options or ''}",
        "images": ", ".join(f"{key} {value}" for key, value in recipe.images.items()),
        **network_rows(recipe),
        "iterations": f"{recipe.iterations:,}, snapshot every {recipe.snapshot_every:,}, seed {recipe.seed}",
        "evaluation": f"{recipe.evaluation.protocol}, K = {recipe.evaluation.ks}, ties {recipe.evaluation.ties}, "
        f"at {', '.join(map(str, recipe.evaluation.iterations))}",
        **({"re-ranked by": _listed(recipe.evaluation.rerank)} if recipe.evaluation.rerank else {}),
        "embeddings": ", ".join(recipe.embeddings),
        **({} if recipe.cudnn else {"cuDNN": "off on a GPU, as the release was trained"}),
        "cost": recipe.cost,
        "GPU memory": str(gpu_memory.of(recipe.name) or "not counted: only frozen recipes are"),
        "letters form": _listed(asdict(recipe.embedded)),
    }
    print(coloured(recipe.title, "bold"))
    print("\n".join(Table(("", ""), [[key, value] for key, value in rows.items()]).lines()[1:]))
    if recipe.expected:
        held = [
            [e.embedding, e.metric, f"{e.value}", f"±{e.tolerance}", e.status, e.provenance] for e in recipe.expected
        ]
        header = ("embedding", "metric", "value", "tolerance", "status", "provenance")
        Table(header, held, names=range(5), right=(2, 3), title="\nHeld to").print()
    else:
        print("Held to no published value.")
    for setting, origin in recipe.provenance.items():
        print(paragraph(f"{setting}: {origin}"))
    for line in recipe.deviations:
        print(paragraph(f"deviation: {line}"))


def network_rows(recipe: Recipe) -> dict[str, str]:
    """What trains: nets, losses, solver."""
    if recipe.torch is None:
        caffe = recipe.the_caffe()
        return {
            "dialect": caffe.dialect,
            "solver": _listed(caffe.solver, "net"),
            "loss layers": ", ".join(_loss_layers(caffe)),
        }
    torch = recipe.torch
    bn = "statistics frozen, gamma and beta trained" if torch.frozen_bn else "trained"
    rows = {
        "network": f"{_called(torch.backbone)}, {_called(torch.head)}; BatchNorm {bn}",
        "loss": _called(torch.loss),
        "optimiser": _called(torch.optimizer),
    }
    if torch.memory is not None:
        rows["memory"] = _listed(torch.memory)
    for number, phase in enumerate(torch.phases, 1):
        drops = f", x {phase.gamma} after {', '.join(f'{d:,}' for d in phase.drops)} updates" if phase.drops else ""
        rows[f"phase {number}"] = f"{phase.iterations:,} updates of {phase.trains} at rate {phase.lr}{drops}"
    return rows


def _called(description: dict[str, Any]) -> str:
    return f"{description['class']}({_listed(description, 'class')})"


def _listed(facts: dict[str, Any], *without: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items() if key not in without)


def _loss_layers(caffe: Caffe) -> list[str]:
    plumbing = {"name", "type", "bottom", "top", "propagate_down"}
    layers = [layer for layer in caffe.train_net["layer"] if "loss_weight" in layer]
    return [f"{layer['type']} { ({k: v for k, v in layer.items() if k not in plumbing}) }" for layer in layers[:1]] + [
        f"and {len(layers) - 1} more on the other heads" for _ in layers[1:2]
    ]


def scores(metrics: dict[str, dict[str, float]]) -> None:
    """Metrics of each embedding, percent."""
    header = ["embedding", *next(iter(metrics.values()))]
    rows = [[name, *(f"{value:.2f}" for value in values.values())] for name, values in metrics.items()]
    Table(header, rows, names=range(len(header)), right=range(1, len(header))).print()


def verdict(result: Verdict) -> None:
    """The verdict row by row, then in a sentence."""
    rows = [[r.metric, f"{r.expected} ± {r.tolerance}", r.shown(), r.verdict, r.provenance] for r in result.rows]
    Table(("metric", "expected", "got", "verdict", "provenance"), rows, names=range(4), title="Verdict").print()
    for curve in result.curves:
        if curve.worst is not None:  # a model of unknown iteration stands beside no checkpoint
            words = f"{curve.embedding} {curve.metric} {curve.summary}, worst difference {curve.worst_words}"
            print(paragraph(f"beside the authors' log: {words}"))
    print(paragraph(result.sentence))


def evidence(rows: list[dict[str, str]]) -> None:
    """The chain of evidence."""
    paint = {"WRONG": "red", "verified": "green", "rule": "green"}
    Table(
        list(rows[0]), [list(r.values()) for r in rows], names=(0, 3, 4), title="Chain of evidence", paint=paint
    ).print()


def diff(ours: Recipe, theirs: Recipe) -> None:
    """What differs between two recipes, setting by setting; and what each is held to."""
    rows = differences.explain(ours, theirs)
    if not rows:
        print(f"{ours.name} and {theirs.name} compute the same thing.")
        return
    last = [
        ["fingerprint", ours.fingerprint()[:16], theirs.fingerprint()[:16]],
        ["held to", _held_to(ours), _held_to(theirs)],
    ]
    Table(
        ("setting", ours.name, theirs.name), [*map(list, rows), *last], title="What differs; everything else is equal"
    ).print()


def _held_to(recipe: Recipe) -> str:
    if not recipe.expected:
        return "nothing"
    first = recipe.expected[0]
    return f"{first.embedding} {first.metric} {first.value}" + (
        f" and {n} more" if (n := len(recipe.expected) - 1) else ""
    )
