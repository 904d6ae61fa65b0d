"""One run from options to exit code: data, engine, loop, report."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import torch

from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner import run_files, run_lock, starting
from paper_recipes.runner.data import pictures, run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.data.batches import make_pipeline
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.engines import processes as process_group
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.evidence.chain import chain
from paper_recipes.runner.files import read_json
from paper_recipes.runner.reports import terminal
from paper_recipes.runner.reports.banner import banner, batch, letters
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring import letters_band, verdict
from paper_recipes.runner.training import failures, history, loop, mirror, progress, record
from paper_recipes.runner.training.divergence import Diverged
from paper_recipes.runner.training.parts import make_engine, make_sampler
from paper_recipes.runner.training.state import Interrupted, Run
from ports import determinism
from ports.allocator import give_back_freed_memory, keep_freed_memory


@dataclass
class Options:
    data: Path | None = None
    image_root: Path | None = None
    weights: Path | None = None
    out: Path | None = None
    resume: bool = False
    require_data: bool = False
    device: str | None = None
    seed: int | None = None
    iterations: int | None = None
    full_batch: bool = False
    smoke: bool = False
    double: bool = False
    workers: int | None = None
    threads: int | None = None
    strict: bool = True
    replicas: str | None = None
    sync_bn: bool = False
    cudnn: bool = True
    report: bool = True
    log: str | None = None


def run(recipe: Recipe, options: Options, *, announced: bool = False) -> int:
    """Run it; `announced`: its banner has been shown.

    Exit code: 0 done (full form: within the published bands; letters: within their band), 1 below or above them or not comparable
    with them, 3 diverged,
    4 begun and broken off by something outside of the program, 130 stopped by the user.
    """
    seed = recipe.seed if options.seed is None else options.seed
    cudnn = recipe.cudnn and options.cudnn
    keep_freed_memory()
    determinism.configure(seed, strict=options.strict, threads=options.threads, cudnn=cudnn)  # before CUDA starts
    _check(recipe, options)
    device = process_group.device_for(options.device)
    with process_group.joined(options.replicas, sync_bn=options.sync_bn, device=device) as processes:
        try:
            return _run(recipe, options, announced, seed=seed, device=device, processes=processes)
        except RunError as error:
            raise RunError(str(error) if processes.root else f"process {processes.rank}: {error}") from error


def _run(
    recipe: Recipe,
    options: Options,
    announced: bool,
    *,
    seed: int,
    device: torch.device,
    processes: process_group.Replicas,
) -> int:
    scale, data = processes.from_root(_open(recipe, options, announced, seed, processes) if processes.root else None)
    form = scale.label
    out = options.out or Path("runs") / f"{recipe.name}-{form.replace(', ', '-')}".replace("/", "_")
    out.mkdir(parents=True, exist_ok=True)
    with _only_writer(out, processes):
        return _written(recipe, options, scale, data, out, seed=seed, device=device, processes=processes)


@contextlib.contextmanager
def _only_writer(out: Path, processes: process_group.Replicas) -> Iterator[None]:
    """The root holds the run's lock; a refusal is everybody's."""
    with contextlib.ExitStack() as stack:
        refused = None
        try:
            if processes.root:
                stack.enter_context(run_lock.held(out))
        except run_lock.LockedError as error:
            refused = str(error)
        if (refused := processes.from_root(refused)) is not None:
            raise RunError(refused)
        yield


def _written(
    recipe: Recipe,
    options: Options,
    scale: scales.Plan,
    data: run_data.Data,
    out: Path,
    *,
    seed: int,
    device: torch.device,
    processes: process_group.Replicas,
) -> int:
    """The run in `out`, of which this is the only writer."""
    weights = starting.path(recipe, options.weights, scale, processes)
    engine = make_engine(recipe, scale, data, device=device, seed=seed, weights=weights, processes=processes)
    current = Run(
        recipe=recipe,
        plan=scale,
        data=data,
        engine=engine,
        pipeline=make_pipeline(recipe),
        sampler=make_sampler(scale, data, seed, processes),
        out=out,
        seed=seed,
        device=device,
        workers=options.workers,
        replicas=processes,
    )
    fields = _record(recipe, weights, scale, current, processes) if processes.root else {}
    refused = history.refusal(out, fields, resume=options.resume) if processes.root else None
    if (refused := processes.from_root(refused)) is not None:
        raise RunError(refused)
    if not processes.root:
        with contextlib.suppress(Interrupted):
            try:
                loop.train(current, resume=options.resume, say=_quiet)
            except Diverged:
                return 3
        return 0
    before = read_json(out / "run.json") if options.resume else None
    for line in history.begin(out, fields, _given(options), resume=options.resume):
        click.echo(line)
    run_files.write_record(out, fields)
    current.mirror = _mirror(options, out)
    for line in progress.announcement(current, reduced_from=_reduced(recipe, scale)):
        click.echo(line)
    try:
        loop.train(current, resume=options.resume, say=_say)
        fields["status"] = "finished"
        history.end(fields, "finished", scale.iterations)
    except Interrupted as stop:
        fields["status"] = f"stopped by the user at iteration {stop.iteration}"
        history.end(fields, "stopped", stop.iteration)
        run_files.write_record(out, fields)
        click.echo(f"stopped; go on with: {again(recipe, options, processes, out)}")
        return 130
    except Diverged as stop:
        fields["status"] = f"diverged at iteration {stop.iteration}"
        fields["diverged"] = stop.as_json()
        history.end(fields, "diverged", stop.iteration)
        run_files.write_record(out, fields)
        click.echo(f"report: {_report(out, chain(recipe, fields))}")
        click.echo(str(stop), err=True)
        return 3
    except (Exception, KeyboardInterrupt) as error:
        if not current.at:  # refused before anything was begun: the run that was there stays what it was
            run_files.write_record(out, before or {**fields, "status": f"failed before its first step: {error}"})
            raise
        return failures.end(error, current, fields, again(recipe, options, processes, out))
    headline = engine.headline
    del engine, current  # the chain of evidence takes steps of its own
    give_back_freed_memory()
    try:
        return _finish(recipe, fields, out, headline, banner(recipe, scale, processes), report=options.report)
    except OSError as error:
        click.echo(
            f"the training is done, its report is not ({error}); go on with: {again(recipe, options, processes, out)}",
            err=True,
        )
        return failures.EXIT_CODE


def _finish(recipe: Recipe, fields: dict[str, Any], out: Path, headline: str, what: str, *, report: bool) -> int:
    """Verdict, evidence and report of a run whose training is done; without `report` the verdict alone."""
    form = fields["form"]
    evaluations = run_files.read(out, "evaluations")
    objection = weights_link.objection(recipe, fields["weights"])
    result = verdict.verify(recipe, evaluations, objection=objection) if form == "full" else None
    fields["verdict"] = None if result is None else result.word
    fields["result"] = evaluations[-1] if evaluations else None
    held = letters_band.check(recipe, fields, evaluations)
    fields["letters_band"] = None if held is None else held.word
    run_files.write_record(out, fields)
    links = chain(recipe, fields) if report else []
    if report:
        terminal.evidence(links)
    if result is not None:
        terminal.verdict(result)
    later = f"not written; python -m paper_recipes report {shlex.quote(str(out))} does"
    click.echo(f"report: {_report(out, links) if report else later}")
    click.echo(_summary(evaluations, headline))
    if held is not None:
        click.echo(held.sentence, err=not held.passed)
    click.echo(what)
    return 0 if (result is None or result.passed) and (held is None or held.passed) else 1


def again(recipe: Recipe, options: Options, processes: process_group.Replicas, out: Path) -> str:
    """The command that resumes: what was given, once more."""
    launcher = f"torchrun --nproc-per-node {processes.world}" if processes.world > 1 else "python"
    words = [launcher, "-m paper_recipes run", recipe.name]
    given = _set(options)
    words += ["--fast"] if given.pop("strict", True) is False else []
    words += ["--no-cudnn"] if given.pop("cudnn", True) is False else []
    words += ["--no-report"] if given.pop("report", True) is False else []
    for name, value in given.items():
        if name not in ("out", "resume"):
            option = "--" + name.replace("_", "-")
            words.append(option if value is True else f"{option} {shlex.quote(str(value))}")
    return " ".join([*words, f"--resume --out {shlex.quote(str(out))}"])


def _set(options: Options) -> dict[str, Any]:
    """The options that were given, by name."""
    return {f.name: getattr(options, f.name) for f in fields(Options) if getattr(options, f.name) != f.default}


def _given(options: Options) -> dict[str, Any]:
    """The same as JSON types."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in _set(options).items()}


def _mirror(options: Options, out: Path) -> mirror.Mirror:
    """What `--log` names; a resume goes on after the latest checkpoint."""
    newest = checkpoints.latest(out / "checkpoints") if options.resume else None
    return mirror.open_mirror(options.log, out, after=0 if newest is None else checkpoints.iteration_of(newest))


def _reduced(recipe: Recipe, scale: scales.Plan) -> str | None:
    """The recipe's batch, where own pictures have too few classes for it."""
    facts = recipe.sampler
    if scale.form != "own" or scale.sampler == facts:
        return None
    return f"{facts.batch_size} = {facts.classes_per_batch} x {facts.images_per_class}"


def _record(
    recipe: Recipe, weights: Path | None, scale: scales.Plan, run: Run, processes: process_group.Replicas
) -> dict[str, Any]:
    """What run.json says when the run starts; the line about its weights is said."""
    return record.run_record(
        recipe,
        form=scale.label,
        seed=run.seed,
        device=str(run.device),
        data=run.data.description,
        weights=starting.record(recipe, weights, run.engine),
    ) | {
        "status": "running",
        "comparable": not scale.fast,
        "replicas": processes.describe(),
        "iterations": scale.iterations,
        "plan": scales.as_json(scale),
        "batch": batch(scale, processes),
    }


def _open(
    recipe: Recipe, options: Options, announced: bool, seed: int, processes: process_group.Replicas
) -> tuple[scales.Plan, run_data.Data]:
    """Scale and data; the banner is said as soon as the scale is known, which is before letters are drawn."""
    if options.data is None:
        scale = letters(
            recipe,
            options.iterations,
            full_batch=options.full_batch,
            smoke=options.smoke,
            strict=options.strict,
            double=options.double,
            seeded=options.weights == starting.NONE,
        )
        if not announced:
            click.echo(banner(recipe, scale, processes))
        return scale, pictures.looked_at(run_data.open_embedded(recipe, scale, seed))
    data = run_data.open_folder(recipe, options.data, options.image_root)
    _check_full(recipe, options, data)
    scale = scales.own(recipe, data.train, options.iterations) if data.own else scales.full(recipe)
    scale = replace(scale, fast=not options.strict)
    click.echo(banner(recipe, scale, processes))
    return scale, pictures.looked_at(data)


def _report(out: Path, links: list[dict[str, str]]) -> Path:
    from paper_recipes.runner.reports import page  # matplotlib, which the training does not wait for

    return page.write(out, links)


def report(out: Path) -> Path:
    """Write the report of the run in `out` (chain of evidence included) and return the path of its HTML page."""
    fields = run_files.record(out)
    if (going_on := run_files.beside(out)) is not None:
        click.echo(f"{going_on}: the report shows the run as far as it has come")
    with run_files.fitting(out):
        evidence = chain(registry.of_record(fields), fields)
    return _report(out, evidence)


def _check(recipe: Recipe, options: Options) -> None:
    """Everything that can be refused before any work is done."""
    process_group.check(options.replicas, options.sync_bn)
    mirror.check(options.log)
    if options.data is None and options.require_data:
        raise RunError(f"--require-data: {recipe.name} needs --data (the official {recipe.dataset.upper()} folder)")
    if options.data is None and options.image_root is not None:
        raise RunError("--image-root says where the images of lists are: give the lists with --data")
    if options.data is not None and not options.data.exists():
        raise RunError(f"--data {options.data}: no such folder")
    lists = options.image_root is not None
    if options.data is not None and options.weights is None and not lists and not run_data.may_be_own(options.data):
        # No own folder: said before an hour of listing files.
        if (stray := run_data.stray_beside(recipe.dataset, options.data)) is not None:
            raise RunError(f"--data {options.data}: not the official {recipe.dataset.upper()}, {stray}")
        raise RunError(
            f"{starting.wanted(recipe)} (only your own pictures need none: lists, or class folders and nothing beside them)"
        )
    if options.weights == starting.NONE and options.data is None:
        pass
    elif options.weights is not None and not options.weights.is_file():
        raise RunError(f"--weights {options.weights}: no such file")
    if options.device is not None:
        try:
            torch.empty(0, device=options.device)
        except (RuntimeError, AssertionError) as error:
            raise RunError(f"--device {options.device}: {str(error).splitlines()[0]}") from error


def _check_full(recipe: Recipe, options: Options, data: run_data.Data) -> None:
    """What only holds for --data: the frozen recipe needs its weights and has one scale."""
    if options.full_batch or options.smoke or options.double or (options.iterations and not data.own):
        raise RunError(
            "--iterations, --full-batch, --smoke and --double change the letters form; with --data the recipe is frozen"
        )
    if options.weights is None and not data.own:
        raise RunError(starting.wanted(recipe))


def _summary(evaluations: list[dict[str, Any]], headline: str) -> str:
    first, last = evaluations[0], evaluations[-1]
    return (
        f"recall@1 ({headline}) at iteration {first['iteration']}: {first['metrics'][headline]['R@1']:.1f}%, "
        f"at iteration {last['iteration']}: {last['metrics'][headline]['R@1']:.1f}%"
    )


def _quiet(line: str) -> None:
    """What a process that is not the root has to say: the root says it."""


def _say(line: str) -> None:
    """Print above the progress bar, which is put away meanwhile."""
    from tqdm import tqdm

    tqdm.write(line)
