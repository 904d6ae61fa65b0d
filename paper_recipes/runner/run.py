"""One run from options to exit code: data, engine, loop, report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from paper_recipes.recipe import Recipe
from paper_recipes.runner import evidence, plan, prepare, record, train, verdict
from paper_recipes.runner import report as reports
from paper_recipes.runner.engine import CaffeEngine
from paper_recipes.runner.files import sha256, write_json
from paper_recipes.runner.train import Interrupted, RunError
from ports import determinism, images, samplers


@dataclass
class Options:
    data: Path | None = None
    weights: Path | None = None
    out: Path | None = None
    resume: bool = False
    require_data: bool = False
    device: str | None = None
    seed: int | None = None
    iterations: int | None = None
    full_batch: bool = False
    smoke: bool = False
    workers: int | None = None
    threads: int | None = None


def run(recipe: Recipe, options: Options) -> int:
    """Exit code: 0 done (full form: as published), 1 the published values are not met, 130 stopped by the user."""
    _check(recipe, options)
    seed = recipe.seed if options.seed is None else options.seed
    determinism.configure(seed, threads=options.threads)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    form = "embedded" if options.data is None else "full"
    what = _banner(recipe, form)
    click.echo(what)
    if form == "embedded":
        scale = plan.embedded(recipe, options.iterations, full_batch=options.full_batch, smoke=options.smoke)
        data = prepare.open_embedded(scale, seed)
    else:
        scale = plan.full(recipe)
        assert options.data is not None
        data = prepare.open_folder(recipe, options.data)
    out = options.out or Path("runs") / f"{recipe.name}-{form}"
    out.mkdir(parents=True, exist_ok=True)
    engine = CaffeEngine(recipe.caffe, device=device, seed=seed, weights=options.weights)
    current = train.Run(
        recipe=recipe,
        plan=scale,
        data=data,
        engine=engine,
        pipeline=_pipeline(recipe),
        sampler=_sampler(scale, data, seed),
        out=out,
        seed=seed,
        device=device,
        workers=options.workers,
    )
    fields = record.run_record(
        recipe, form=form, seed=seed, device=str(device), data=data.description, weights=_weights(options, engine)
    )
    fields |= {
        "status": "running",
        "iterations": scale.iterations,
        "batch": f"{scale.sampler.batch_size} = {scale.sampler.classes_per_batch} classes x "
        f"{scale.sampler.images_per_class} images",
    }
    write_json(out / "run.json", fields)
    try:
        train.train(current, resume=options.resume, say=_say)
        fields["status"] = "finished"
    except Interrupted as stop:
        fields["status"] = f"stopped by the user at iteration {stop.iteration}"
        write_json(out / "run.json", fields)
        click.echo(f"stopped; go on with: python -m paper_recipes run {recipe.name} --resume --out {out}")
        return 130
    evaluations = train.read(out, "evaluations")
    result = verdict.verify(recipe, evaluations) if form == "full" else None
    fields["verdict"] = None if result is None else ("reproduced" if result.passed else "not reproduced")
    fields["result"] = evaluations[-1] if evaluations else None
    write_json(out / "run.json", fields)
    click.echo(f"report: {report(out)}")
    click.echo(_summary(evaluations, engine.headline))
    click.echo(what)
    return 0 if result is None or result.passed else 1


def report(out: Path) -> Path:
    """Write the report of the run in `out` (chain of evidence included) and return the path of its HTML page."""
    from paper_recipes import registry

    if not (out / "run.json").exists():
        raise RunError(f"{out} is not a run directory: there is no run.json")
    recipe = registry.get(json.loads((out / "run.json").read_text(encoding="utf-8"))["recipe"])
    return reports.write(out, evidence.chain(recipe))


def _check(recipe: Recipe, options: Options) -> None:
    """Everything that can be refused before any work is done."""
    if options.data is None and options.require_data:
        raise RunError(f"--require-data: {recipe.name} needs --data (the official {recipe.dataset.upper()} folder)")
    if options.data is not None and not options.data.is_dir():
        raise RunError(f"--data {options.data}: no such folder")
    if options.data is not None and options.weights is None:
        raise RunError(f"{recipe.name} starts from {recipe.weights}: give its path with --weights")
    if options.weights is not None and not options.weights.is_file():
        raise RunError(f"--weights {options.weights}: no such file")
    if options.data is not None and (options.iterations or options.full_batch or options.smoke):
        raise RunError(
            "--iterations, --full-batch and --smoke scale the embedded form; with --data the recipe is frozen"
        )
    if options.device is not None:
        try:
            torch.empty(0, device=options.device)
        except (RuntimeError, AssertionError) as error:
            raise RunError(f"--device {options.device}: {str(error).splitlines()[0]}") from error


def _banner(recipe: Recipe, form: str) -> str:
    if form == "full":
        return f"{recipe.name}: the frozen recipe, fingerprint {recipe.fingerprint()[:16]}"
    return (
        f"{recipe.name}: EMBEDDED form, small scale on letters from fonts; not a reproduction of the paper's number. "
        f"The full recipe needs --data (official {recipe.dataset.upper()} folder) and --weights ({recipe.weights})."
    )


def _pipeline(recipe: Recipe) -> Any:
    fields = {key: value for key, value in recipe.images.items() if key != "pipeline"}
    return getattr(images, recipe.images["pipeline"])(**fields)


def _sampler(scale: plan.Plan, data: prepare.Data, seed: int) -> Any:
    rule = getattr(samplers, scale.sampler.rule)
    return rule(
        data.train.labels,
        ids=scale.sampler.classes_per_batch,
        images=scale.sampler.images_per_class,
        seed=determinism.stream(seed, "sampler"),
        **scale.sampler.options,
    )


def _weights(options: Options, engine: CaffeEngine) -> dict[str, Any] | None:
    if options.weights is None:
        return None
    return {"file": str(options.weights), "sha256": sha256(options.weights), "import": str(engine.import_report)}


def _summary(evaluations: list[dict[str, Any]], headline: str) -> str:
    first, last = evaluations[0], evaluations[-1]
    return (
        f"recall@1 ({headline}) at iteration {first['iteration']}: {first['metrics'][headline]['R@1']:.1f}%, "
        f"at iteration {last['iteration']}: {last['metrics'][headline]['R@1']:.1f}%"
    )


def _say(line: str) -> None:
    """Print above the progress bar."""
    from tqdm import tqdm

    tqdm.write(line[: shutil.get_terminal_size((200, 24)).columns])
