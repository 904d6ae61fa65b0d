"""`verify RUN`: everything that a finished run states is computed again, from the files up to the training itself."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from paper_recipes.letters_start import packing
from paper_recipes.runner import run_files
from paper_recipes.runner.data import pictures, run_data
from paper_recipes.runner.data.batches import make_pipeline
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.engines import letters_start
from paper_recipes.runner.engines import processes as process_group
from paper_recipes.runner.files import read_json
from paper_recipes.runner.scoring import saved
from paper_recipes.runner.scoring import scores as scoring
from paper_recipes.runner.scoring.verdict import best_of
from paper_recipes.runner.training import evaluation, loop
from paper_recipes.runner.training.parts import make_engine, make_sampler
from paper_recipes.runner.training.state import Run
from paper_recipes.runner.verification import facts as run_facts
from paper_recipes.runner.verification import quick, recount
from paper_recipes.runner.verification.facts import Facts, rows
from paper_recipes.runner.verification.statement import OPEN, Statement, Unchecked, first_false, stated
from ports import determinism
from ports.allocator import keep_freed_memory
from ports.console import Table
from ports.files import sha256

# What decides how sums are rounded: where these agree, numbers are compared to the bit.
_MACHINE = ("processor", "cpu_capability", "torch", "numpy", "threads", "cuda", "cudnn", "gpu")
# Another machine: float32 nets agree within 1e-4 of a blob's RMS (measured against the authors' Caffe, every blob of whole
# nets); embeddings are held to ten times that, because the statistics of BatchNorm pass through the whole net.
_EMBEDDINGS = 1e-3
# ... and a count may differ by the queries whose nearest neighbours are that close to each other.
_COUNTS = 0.01
_LOSSES = 1e-3  # of one short stretch; longer ones part by themselves


@dataclass
class Options:
    out: Path
    quick: bool = False
    segments: int = 0
    data: Path | None = None
    image_root: Path | None = None
    weights: Path | None = None
    device: str | None = None
    workers: int | None = None


def verify(options: Options) -> list[Statement]:
    """The statements of the run in `options.out` and what came of each.

    Raises RunError where there is no run, and where one is going on: its files state something else with every step.
    """
    if (going_on := run_files.beside(options.out)) is not None:
        raise run_files.RunError(f"{going_on}: verify it when it has ended")
    facts = run_facts.read(options.out)
    found = quick.statements(facts)
    if not options.quick:
        threads = facts.record["environment"].get("threads")
        keep_freed_memory()
        determinism.configure(facts.record["seed"], strict=facts.record["comparable"], threads=threads)
        found += _Anew(facts, options).statements()
    return found


class _Anew:
    """The run once more: its data, network and sampler as its record describes them."""

    def __init__(self, facts: Facts, options: Options) -> None:
        self.facts, self.options = facts, options
        self.device = process_group.device_for(options.device or str(facts.record["device"]))
        here, there = determinism.environment(), facts.record["environment"]
        self.parted = next((key for key in _MACHINE if here.get(key) != there.get(key)), None)
        if torch.device(str(facts.record["device"])).type != self.device.type:
            self.parted = "device"
        self._data: run_data.Data | None = None

    @property
    def alike(self) -> bool:
        """Whether this machine rounds as the run's did."""
        return self.parted is None

    @property
    def how(self) -> str:
        return "to the bit" if self.alike else f"within tolerances (another {self.parted})"

    def statements(self) -> list[Statement]:
        facts = self.facts
        found = [
            stated("data", "lists and pictures as recorded", self._pictures()),
            stated("weights", self._weights_words(), self._weights()),
            stated(
                "checkpoint contents", "each is what was written; samplers are where they must be", self._contents()
            ),
        ]
        if self._data is None:
            return [*found, Statement("evaluations, embedded again", "not checked", "the data is not the run's")]
        for name, iteration in self._scored().items():
            words = f"embedded again with the {name} checkpoint ({iteration:,}), {self.how}"
            found.append(stated(f"evaluation {iteration}", words, self._evaluation(iteration)))
        if (facts.out / "raw_pixels.json").exists():
            found.append(stated("raw pixels", "scored again", self._raw_pixels()))
        for first, last in self._stretches():
            which = f"iterations {first + 1:,} to {last:,}" if last > first + 1 else f"iteration {last:,}"
            words = f"{which} trained again, {self.how}"
            found.append(stated(f"stretch {first} to {last}", words, self._stretch(first, last)))
        return found

    # -- what stands below the training

    def _pictures(self) -> Iterator[str]:
        record, given = self.facts.record["data"], run_facts.options(self.facts.record)
        folder = self.options.data or (Path(given["data"]) if "data" in given else None)
        if folder is not None and not folder.exists():
            raise Unchecked(f"{folder} is not here: give the data's folder with --data")
        images = self.options.image_root or (Path(given["image_root"]) if "image_root" in given else None)
        recipe, plan, seed = self.facts.recipe, self.facts.plan, self.facts.record["seed"]
        if folder is None:
            data = run_data.open_embedded(recipe, plan, seed)
        else:
            data = run_data.open_folder(recipe, folder, images)
        data = pictures.looked_at(data, remembered=False)
        written = pictures.read_list(self.facts.out / pictures.LIST)
        if (what := pictures.difference(written, pictures.listed(data))) is not None:
            yield f"{folder or record['root']}: {what}"
        for part in ("train", "test", "gallery", "multi_query"):
            if part in record and record[part]["fingerprint"] != data.description[part]["fingerprint"]:
                yield f"run.json: {part} data {record[part]['fingerprint'][:16]}, it is {data.description[part]['fingerprint'][:16]}"
        self._data = data

    def _weights_words(self) -> str:
        given = self.facts.record["weights"] is not None
        return "the file that the run started from" if given else "none: the run started from seeded values"

    def _weights(self) -> Iterator[str]:
        record = self.facts.record["weights"]
        if record is None or "sha256" not in record:
            return
        path = self._weights_file()
        if path is None:
            raise Unchecked("the file is not here: give it with --weights")
        if (found := sha256(path)) != record["sha256"]:
            yield f"{path}: its sha256 is {found[:16]}, the run started from {record['sha256'][:16]}"

    def _weights_file(self) -> Path | None:
        given = run_facts.options(self.facts.record).get("weights")
        if given is None and packing.is_start(self.facts.record["weights"]):
            given = letters_start.path(self.facts.recipe)  # the letters' own
        path = self.options.weights or (None if given is None else Path(given))
        return path if path is not None and path.is_file() else None

    def _contents(self) -> Iterator[str]:
        sampler, drawn = None, 0
        if self._data is not None and self.facts.record["replicas"] is None:
            sampler = make_sampler(self.facts.plan, self._data, self.facts.record["seed"])
        for path in reversed(checkpoints.newest_first(self.facts.out / "checkpoints")):
            saved_state = checkpoints.load(path)
            yield from quick.strange(self.facts, path, saved_state.state)
            for name, tensor in saved_state.tensors.items():
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    yield f"checkpoints/{path.name}: {name} is not finite"
            if sampler is not None:
                while drawn < saved_state.state["iteration"]:
                    sampler.next_batch()
                    drawn += 1
                if sampler.state_dict() != saved_state.state["sampler"]:
                    yield f"checkpoints/{path.name}: its sampler is not where that of seed {self.facts.record['seed']} is then"

    # -- the evaluations

    def _scored(self) -> dict[str, int]:
        """The evaluations whose checkpoint is there: the last and, of a run with a verdict, the best."""
        evaluations = rows(self.facts.out, "evaluations")
        there = [row for row in evaluations if self._checkpoint(row["iteration"]).is_file()]
        if not there:
            return {}
        found = {"last": int(there[-1]["iteration"])}
        if self.facts.record["form"] == "full" and self.facts.recipe.expected:
            best = int(best_of(self.facts.recipe, there)["iteration"])
            found |= {"best": best} if best != found["last"] else {}
        return found

    def _checkpoint(self, iteration: int) -> Path:
        return checkpoints.path_of(self.facts.out / "checkpoints", iteration)

    def _run(self) -> Run:
        facts = self.facts
        assert self._data is not None
        weights = self._weights_file()
        if weights is None and facts.record["weights"] is not None:
            raise Unchecked("the weights that the run started from are not here: give them with --weights")
        seed = facts.record["seed"]
        return Run(
            recipe=facts.recipe,
            plan=facts.plan,
            data=self._data,
            engine=make_engine(facts.recipe, facts.plan, self._data, device=self.device, seed=seed, weights=weights),
            pipeline=make_pipeline(facts.recipe),
            sampler=make_sampler(facts.plan, self._data, seed),
            out=facts.out,
            seed=seed,
            device=self.device,
            workers=self.options.workers,
        )

    def _evaluation(self, iteration: int) -> Iterator[str]:
        run = self._run()
        run.engine.load_weights(checkpoints.load(self._checkpoint(iteration)).tensors)
        run.engine.begin_embedding()
        queries, gallery = evaluation.embeddings(run, run.engine)
        stated_row = next(row for row in rows(self.facts.out, "evaluations") if row["iteration"] == iteration)
        kept = read_json(self.facts.out / saved.FOLDER / saved.EVALUATION) or {}
        if kept.get("iteration") == iteration:
            yield from self._embeddings(queries, gallery)
        counted = scoring.score(queries, gallery, run.data, run.recipe.evaluation).as_json()
        slack = 0 if self.alike else round(_COUNTS * stated_row["queries"])
        where = f"evaluations.jsonl: iteration {iteration}"
        source = f"checkpoint {iteration}'s embeddings"
        yield from recount.differences(stated_row, counted, where, source, slack=slack, near=self.alike)

    def _embeddings(self, queries: dict[str, NDArray[Any]], gallery: dict[str, NDArray[Any]] | None) -> Iterator[str]:
        """The stored embeddings beside those of the checkpoint."""
        stored, stored_gallery, _ = saved.load_whole(self.facts.out / saved.FOLDER, self.facts.recipe)
        for side, ours, theirs in (("query", queries, stored), ("gallery", gallery or {}, stored_gallery or {})):
            for name, values in ours.items():
                apart = float(np.abs(values - theirs[name]).max())
                limit = 0.0 if self.alike else _EMBEDDINGS * float(np.sqrt(np.mean(np.square(values))))
                if apart > limit:
                    row = int(np.argmax(np.abs(values - theirs[name]).max(axis=1)))
                    yield f"{saved.FOLDER}/{side}_{name}.npy: row {row} is {apart:.2g} from the checkpoint's own"

    def _raw_pixels(self) -> Iterator[str]:
        run = self._run()
        run.engine.begin_embedding()
        queries, gallery = evaluation.embeddings(run, scoring.WithRawPixels(run.engine))
        take = scoring.WithRawPixels.take
        counted = scoring.score(take(queries) or {}, take(gallery), run.data, run.recipe.evaluation).as_json()
        said = read_json(self.facts.out / "raw_pixels.json")
        yield from recount.differences(said, counted, "raw_pixels.json", "the pictures")

    # -- the training

    def _stretches(self) -> list[tuple[int, int]]:
        """Stretches between neighbouring checkpoints (the start counts as one), drawn at random."""
        facts = self.facts
        if not self.options.segments:
            return []
        ends = sorted(checkpoints.iteration_of(path) for path in checkpoints.newest_first(facts.out / "checkpoints"))
        every = list(zip([0, *ends], ends))
        count = min(self.options.segments, len(every))
        return sorted(random.SystemRandom().sample(every, count))

    def _stretch(self, first: int, last: int) -> Iterator[str]:
        if self.facts.record["replicas"] is not None:
            raise Unchecked("several processes trained this run; this one is alone")
        run = self._run()
        if first:
            saved_state = checkpoints.load(self._checkpoint(first))
            run.engine.load_tensors(saved_state.tensors, first)
            run.sampler.load_state_dict(saved_state.state["sampler"])
        elif 0 in run.plan.evaluations:
            evaluation.untrained(run)  # what an evaluation before the first step leaves in the network
        said = {row["iteration"]: row for row in rows(self.facts.out, "steps")}
        for step in loop.steps(replace(run, plan=replace(run.plan, iterations=last)), first):
            for name, loss in step.losses.items():
                stated_loss = said[step.iteration]["losses"][name]
                if loss != stated_loss and (self.alike or abs(loss - stated_loss) > _LOSSES * max(1.0, abs(loss))):
                    yield f"steps.jsonl: iteration {step.iteration} has {name} {stated_loss}, trained again it is {loss}"
        yield from self._arrived(run.engine.tensors(), last)

    def _arrived(self, tensors: dict[str, torch.Tensor], last: int) -> Iterator[str]:
        if not self.alike:
            return  # momentum and weights of another machine part step by step; the losses were compared
        stored = checkpoints.load(self._checkpoint(last)).tensors
        for name, tensor in tensors.items():
            if not torch.equal(tensor.cpu(), stored[name].cpu()):
                apart = float((tensor.detach().cpu().double() - stored[name].double()).abs().max())
                yield f"checkpoints/{self._checkpoint(last).name}: {name} is {apart:.2g} from what training gives"


def show(statements: list[Statement], out: Path) -> None:
    """Print the statements."""
    paint = {"FALSE": "red", "holds": "green", OPEN.split(" ")[0]: "yellow"}
    rows = [[statement.name, statement.verdict, statement.words] for statement in statements]
    Table(("statement", "verdict", "recomputed"), rows, names=(0, 1), title=f"What {out} states", paint=paint).print()


def as_json(statements: list[Statement], out: Path) -> dict[str, Any]:
    wrong = first_false(statements)
    return {
        "run": str(out),
        "holds": wrong is None,
        "first_false": None if wrong is None else {"statement": wrong.name, "words": wrong.words},
        "statements": [{"statement": s.name, "verdict": s.verdict, "words": s.words} for s in statements],
    }


def verb(options: Options, *, as_json_text: bool) -> int:
    """Print the table (or JSON); exit code 1 where a statement is false."""
    statements = verify(options)
    wrong = first_false(statements)
    if as_json_text:
        click.echo(json.dumps(as_json(statements, options.out), indent=1))
        return 0 if wrong is None else 1
    show(statements, options.out)
    if wrong is not None:
        click.echo(f"first false statement: {wrong.name}: {wrong.words}")
        return 1
    left = [statement.name for statement in statements if statement.verdict == OPEN]
    click.echo(f"{len(statements) - len(left)} statements hold" + (f"; not checked: {', '.join(left)}" if left else ""))
    return 0
