"""Recipes and evidence as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from paper_recipes.recipe import Recipe


def show(recipe: Recipe) -> None:
    console = Console()
    facts = Table(title=recipe.title, title_justify="left", show_header=False, box=None, pad_edge=False)
    sampler, solver = recipe.sampler, recipe.caffe.solver
    rows = {
        "name": recipe.name,
        "fingerprint": recipe.fingerprint(),
        "paper": recipe.source.paper,
        "source": f"{recipe.source.repository}@{recipe.source.commit[:10]} {recipe.source.folder}",
        "dialect": recipe.caffe.dialect,
        "data set": recipe.dataset,
        "starts from": recipe.weights,
        "batch": f"{sampler.batch_size} = {sampler.classes_per_batch} classes x {sampler.images_per_class} images, "
        f"{sampler.rule} {sampler.options or ''}",
        "images": ", ".join(f"{key} {value}" for key, value in recipe.images.items()),
        "solver": ", ".join(f"{key} {value}" for key, value in solver.items() if key != "net"),
        "loss layers": ", ".join(_loss_layers(recipe)),
        "iterations": f"{recipe.iterations:,}, snapshot every {recipe.snapshot_every:,}, seed {recipe.seed}",
        "evaluation": f"{recipe.evaluation.protocol}, K = {recipe.evaluation.ks}, ties {recipe.evaluation.ties}, "
        f"at {', '.join(map(str, recipe.evaluation.iterations))}",
        "test nets": ", ".join(recipe.caffe.test_nets),
        "cost": recipe.cost,
        "embedded form": str(recipe.embedded),
    }
    for key, value in rows.items():
        facts.add_row(f"[bold]{key}[/bold]", value)
    console.print(facts)
    held = Table(
        "embedding", "metric", "value", "tolerance", "status", "provenance", title="Held to", title_justify="left"
    )
    for e in recipe.expected:
        held.add_row(e.test_net, e.metric, f"{e.value}", f"±{e.tolerance}", e.status, e.provenance)
    console.print(held)
    for line in recipe.deviations:
        console.print(f"deviation: {line}")


def _loss_layers(recipe: Recipe) -> list[str]:
    plumbing = {"name", "type", "bottom", "top", "propagate_down"}
    layers = [layer for layer in recipe.caffe.train_net["layer"] if "loss_weight" in layer]
    return [f"{layer['type']} { ({k: v for k, v in layer.items() if k not in plumbing}) }" for layer in layers[:1]] + [
        f"and {len(layers) - 1} more on the other heads" for _ in layers[1:2]
    ]


def evidence(rows: list[dict[str, str]]) -> None:
    table = Table(*rows[0], title="Chain of evidence", title_justify="left")
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
