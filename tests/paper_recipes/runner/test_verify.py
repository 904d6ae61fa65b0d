"""`verify`: an honest run holds; of a forged one the first false statement is named, by hand or by a forger who seals again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import tiny_run
from PIL import Image

from paper_recipes import registry
from paper_recipes.runner import manifest, run_files, verify
from paper_recipes.runner.cli import cli
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.verification.statement import FALSE, HOLDS, OPEN, first_false


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DML_PORTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        tiny_run.know(patch)
        yield


@pytest.fixture(scope="module")
def honest(tmp_path_factory, known):
    """Pictures and a whole run on them; and a run of another seed."""
    root = tmp_path_factory.mktemp("honest")
    data = tiny_run.make_pictures(root / "data")
    assert tiny_run.run(root / "run", data) == 0
    assert tiny_run.run(root / "other_seed", data, seed=7) == 0
    return root


@pytest.fixture
def run(honest, tmp_path):
    """A copy to forge; its record points at the honest run's pictures."""
    return Path(shutil.copytree(honest / "run", tmp_path / "run"))


def check(run, **options):
    return verify.verify(verify.Options(run, workers=0, **options))


def named(run, **options):
    """The first false statement, or None."""
    wrong = first_false(check(run, **options))
    return None if wrong is None else f"{wrong.name}: {wrong.words}"


def edit(path: Path, line: int, change) -> None:
    """Replace a line (from 1) of a .jsonl by what `change` makes of its content; None removes it."""
    lines = path.read_text().splitlines(keepends=True)
    row = change(json.loads(lines[line - 1]))
    lines[line - 1] = "" if row is None else json.dumps(row) + "\n"
    path.write_text("".join(lines))


def seal_again(run: Path) -> None:
    """What a forger does who knows the manifest: every file as it is now."""
    names = list(manifest.read(run))
    manifest.begin(run)
    manifest.seal(run, *names)


def test_an_honest_run_holds_in_every_statement(run):
    statements = check(run, segments=100)
    assert {statement.verdict for statement in statements} == {HOLDS}, [s for s in statements if s.verdict != HOLDS]
    names = [statement.name for statement in statements]
    assert names[:8] == [
        *("recipe", "steps", "learning rate", "evaluations", "result and verdict", "checkpoints", "manifest"),
        "stored embeddings",
    ]
    assert names[8:13] == ["data", "weights", "checkpoint contents", "evaluation 6", "raw pixels"]
    assert names[13:] == [f"stretch {i} to {i + 1}" for i in range(6)]


def test_the_run_is_not_touched(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    check(run, segments=2)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


# -- forgeries by hand


def test_an_edited_recall(run):
    """R@1 of 99.9 beside its true hits: named by line, metric and count."""

    def better(row):
        row["metrics"]["fc"]["R@1"] = 99.9
        return row

    edit(run / "evaluations.jsonl", 7, better)
    said = named(run, quick=True)
    assert (
        said.startswith("evaluations: evaluations.jsonl: line 7: fc R@1 is 99.9, its ") and "hits of 12 queries" in said
    )


def test_an_edited_loss(run):
    def lower(row):
        row["losses"]["loss"] *= 0.5
        return row

    edit(run / "steps.jsonl", 4, lower)
    assert named(run, quick=True) == "manifest: steps.jsonl: line 4 is not as it was written"


def test_a_flipped_weight_bit(run):
    path = run / "checkpoints" / "iteration_000004.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert named(run, quick=True).startswith(
        "manifest: checkpoints/iteration_000004.safetensors is not as it was written"
    )


def test_another_learning_rate(run):
    def faster(row):
        row["lr"] *= 2
        return row

    for line in range(1, 7):
        edit(run / "steps.jsonl", line, faster)
    assert named(run, quick=True) == (
        "learning rate: steps.jsonl: iteration 1 has the learning rate 0.02, the recipe's is 0.01"
    )


def test_a_deleted_line(run):
    edit(run / "steps.jsonl", 3, lambda row: None)
    assert named(run, quick=True) == (
        "steps: steps.jsonl: line 3 is of iteration 4: a line is missing, or one too many"
    )


def test_deleted_last_lines(run):
    edit(run / "evaluations.jsonl", 7, lambda row: None)
    assert "evaluations at [0, 1, 2, 3, 4, 5], the plan has them at [0, 1, 2, 3, 4, 5, 6]" in named(run, quick=True)


def test_a_swapped_picture(honest, run, tmp_path):
    """A test picture replaced by another one of its class after the run."""
    data = Path(shutil.copytree(honest / "data", tmp_path / "data"))
    assert named(run, data=data) is None
    shutil.copy(data / "class_5" / "1.png", data / "class_5" / "2.png")
    said = named(run, data=data)
    assert said.startswith(f"data: {data}: class_5/2.png has changed: its sha256 is ")


def test_a_grey_pixel(honest, run, tmp_path):
    data = Path(shutil.copytree(honest / "data", tmp_path / "data"))
    pixels = np.array(Image.open(data / "class_1" / "0.png"))
    pixels[3, 3] = 128
    Image.fromarray(pixels).save(data / "class_1" / "0.png")
    assert "class_1/0.png has changed" in named(run, data=data)


def test_a_checkpoint_of_another_seed(honest, run):
    name = "checkpoints/iteration_000005.safetensors"
    shutil.copy(honest / "other_seed" / name, run / name)
    assert named(run, quick=True) == f"checkpoints: {name}: its seed is 7, the run's is 123"


def test_a_missing_file_and_a_missing_manifest(run):
    (run / "neighbours.json").unlink()
    assert named(run, quick=True) == "manifest: neighbours.json is missing"
    (run / "manifest.json").unlink()
    assert named(run, quick=True) == "manifest: manifest.json is missing"


# -- forgeries sealed again: the manifest agrees, so what the statements rest on must not


def forge_result(run, change):
    """The last evaluation changed, with the record's result, and all sealed."""
    edit(run / "evaluations.jsonl", 7, change)
    record = json.loads((run / "run.json").read_text())
    record["result"] = run_files.read(run, "evaluations")[-1]
    (run / "run.json").write_text(json.dumps(record))
    seal_again(run)


def test_sealed_recall_with_hits(run):
    """Recall, hits and the record's result all agree with each other; the stored embeddings do not."""

    def better(row):
        row["metrics"]["fc"]["R@1"], row["hits"]["fc"]["R@1"] = 100.0, 12
        return row

    forge_result(run, better)
    said = named(run, quick=True)
    assert said.startswith("stored embeddings: evaluations.jsonl: iteration 6: fc R@1 says 12 hits of 12 queries")
    shutil.rmtree(run / "embeddings")
    seal_again(run)
    assert named(run, quick=True) is None  # nothing is left to hold it against without the network
    assert named(run).startswith(
        "evaluation 6: evaluations.jsonl: iteration 6: fc R@1 says 12 hits of 12 queries, checkpoint 6's"
    )


def test_sealed_near_ties(run):
    def surer(row):
        row["near"] = {"fc": {"R@1": 5}}
        return row

    forge_result(run, surer)
    assert named(run).startswith("evaluation 6: evaluations.jsonl: iteration 6: says near-ties {'fc': {'R@1': 5}}, ")


def test_sealed_embeddings(run):
    """Embeddings that give the hits stated, and are not the checkpoint's."""
    path = run / "embeddings" / "query_fc.npy"
    np.save(path, np.load(path) * np.float32(1.5))
    seal_again(run)
    assert named(run, quick=True) is None
    assert named(run).startswith("evaluation 6: embeddings/query_fc.npy: row ")


def test_sealed_loss(run):
    def lower(row):
        row["losses"]["loss"] *= 1 - 1e-6
        return row

    edit(run / "steps.jsonl", 4, lower)
    seal_again(run)
    assert named(run) is None
    assert named(run, segments=6).startswith("stretch 3 to 4: steps.jsonl: iteration 4 has loss ")


def test_sealed_training_by_another_learning_rate(honest, tmp_path):
    """Trained at twice the rate, and every file says that it was the recipe's: only training again tells."""
    out = tmp_path / "run"
    faster = registry.get("tiny+sampler.classes_per_batch=2+base_lr=0.02")
    assert tiny_run.run(out, honest / "data", recipe=faster) == 0
    told = json.loads((honest / "run" / "run.json").read_text())
    record = json.loads((out / "run.json").read_text()) | {key: told[key] for key in ("recipe", "fingerprint")}
    (out / "run.json").write_text(json.dumps(record))
    lines = run_files.read(honest / "run", "steps")
    for number, line in enumerate(lines, 1):
        edit(out / "steps.jsonl", number, lambda row, line=line: {**row, "lr": line["lr"]})
    for path in checkpoints.newest_first(out / "checkpoints"):
        saved = checkpoints.load(path)
        saved.state["fingerprint"] = told["fingerprint"]
        checkpoints.save(path, saved)
    seal_again(out)
    assert named(out) is None
    assert named(out, segments=6).startswith("stretch 0 to 1: checkpoints/iteration_000001.safetensors: ")


def test_sealed_weight_with_a_digest_of_its_own(run):
    path = run / "checkpoints" / "iteration_000004.safetensors"
    saved = checkpoints.load(path)
    saved.tensors["blob/fc/0"].view(-1)[0] *= 1 + 2**-20
    checkpoints.save(path, saved)
    seal_again(run)
    assert named(run) is None
    assert named(run, segments=6).startswith("stretch 3 to 4: checkpoints/iteration_000004.safetensors: blob/fc/0 is ")


def test_sealed_checkpoint_of_another_seed(honest, run):
    """The forger gives it this run's seed; the sampler inside still stands where the other seed's does."""
    name = "checkpoints/iteration_000005.safetensors"
    saved = checkpoints.load(honest / "other_seed" / name)
    saved.state["seed"] = 123
    checkpoints.save(run / name, saved)
    seal_again(run)
    assert named(run, quick=True) is None
    assert named(run) == f"checkpoint contents: {name}: its sampler is not where that of seed 123 is then"


def test_sealed_flipped_bit(run):
    """The manifest is made anew, the checkpoint's own digest is not."""
    path = run / "checkpoints" / "iteration_000002.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    seal_again(run)
    assert "iteration_000002.safetensors: damaged" in named(run)


def test_sealed_picture_list(honest, run, tmp_path):
    """The list is rewritten for the swapped picture; the fingerprint in the record is not."""
    data = Path(shutil.copytree(honest / "data", tmp_path / "data"))
    shutil.copy(data / "class_5" / "1.png", data / "class_5" / "2.png")
    lines = (run / "pictures.sha256").read_text().splitlines()
    twin = next(line.split()[0] for line in lines if line.endswith("class_5/1.png"))
    lines = [f"{twin}  class_5/2.png" if line.endswith("class_5/2.png") else line for line in lines]
    (run / "pictures.sha256").write_text("\n".join(lines) + "\n")
    seal_again(run)
    assert named(run, data=data).startswith("data: run.json: test data ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": "0" * 64}, "recipe: run.json: fingerprint 0000000000000000"),
        ({"iterations": 5}, "recipe: run.json: form own of 5 iterations, its plan says own of 6"),
        (
            {"verdict": "reproduced"},
            "result and verdict: run.json: its verdict is 'reproduced', its evaluations say None",
        ),
        ({"seed": 7}, "checkpoints: checkpoints/iteration_000001.safetensors: its seed is 123, the run's is 7"),
        ({"result": None}, "result and verdict: run.json: its result is not the last line of evaluations.jsonl"),
    ],
)
def test_a_sealed_record(run, change, said):
    record = json.loads((run / "run.json").read_text()) | change
    (run / "run.json").write_text(json.dumps(record))
    seal_again(run)
    assert named(run, quick=True).startswith(said)


@pytest.mark.parametrize(
    "content", ["", "{}\n", "[1]\n", '{"iteration": 1}\n', '{"iteration": 1, "lr": "x", "losses": 3}\n']
)
def test_files_that_make_no_sense_are_false_and_no_crash(run, content):
    for name in ("steps.jsonl", "evaluations.jsonl"):
        (run / name).write_text(content)
    assert first_false(check(run, quick=True)) is not None


# -- other machines, other places


def test_another_machine_is_held_to_tolerances(run):
    record = json.loads((run / "run.json").read_text())
    record["environment"]["processor"] = "another"
    (run / "run.json").write_text(json.dumps(record))
    seal_again(run)
    path = run / "embeddings" / "query_fc.npy"
    np.save(path, np.load(path) * np.float32(1 + 1e-5))  # what rounding would do
    seal_again(run)
    statements = check(run, segments=2)
    assert first_false(statements) is None
    words = next(statement.words for statement in statements if statement.name == "evaluation 6")
    assert words.endswith("within tolerances (another processor)")
    np.save(path, np.load(path) * np.float32(1.01))
    seal_again(run)
    assert named(run).startswith("evaluation 6: embeddings/query_fc.npy")


def test_data_that_is_not_here_is_not_checked(honest, run, tmp_path):
    record = json.loads((run / "run.json").read_text())
    record["history"][0]["options"]["data"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(record))
    seal_again(run)
    statements = {statement.name: statement for statement in check(run)}
    assert statements["data"].verdict == OPEN and "give the data's folder with --data" in statements["data"].words
    assert named(run, data=honest / "data", segments=1) is None


def test_command_line(run, honest):
    good = CliRunner().invoke(cli, ["verify", str(run), "--quick"])
    assert good.exit_code == 0 and "8 statements hold" in good.output
    edit(run / "steps.jsonl", 3, lambda row: None)
    bad = CliRunner().invoke(cli, ["verify", str(run), "--quick"])
    assert bad.exit_code == 1 and "first false statement: steps: steps.jsonl: line 3 is of iteration 4" in bad.output
    as_json = CliRunner().invoke(cli, ["verify", str(run), "--quick", "--json"])
    found = json.loads(as_json.output)
    assert as_json.exit_code == 1 and found["first_false"]["statement"] == "steps" and not found["holds"]
    assert [row["verdict"] for row in found["statements"]].count(FALSE) >= 2


# -- runs that did not go through in one piece


def at(iteration: int, change, monkeypatch) -> None:
    """Let `change(engine)` happen before the step of `iteration`, once."""
    step, done = CaffeEngine.step, []

    def changed(self, images, labels):
        if self.solver.iter + 1 == iteration and not done:
            done.append(change(self))
        return step(self, images, labels)

    monkeypatch.setattr(CaffeEngine, "step", changed)


def test_a_run_that_was_stopped_and_resumed_holds(honest, tmp_path, monkeypatch):
    at(4, lambda engine: os.kill(os.getpid(), signal.SIGINT), monkeypatch)
    out = tmp_path / "run"
    assert tiny_run.run(out, honest / "data") == 130
    assert named(out) is None, "as far as it came"
    assert {s.name: s.verdict for s in check(out, quick=True)}["result and verdict"] == OPEN
    assert tiny_run.run(out, honest / "data", resume=True) == 0
    statements = check(out, segments=100)
    assert {statement.verdict for statement in statements} == {HOLDS}, [s for s in statements if s.verdict != HOLDS]
    record = json.loads((out / "run.json").read_text())
    assert [event["event"] for event in record["history"]] == ["start", "stopped", "resume", "finished"]


def test_a_run_of_several_epochs_of_a_sampler_that_counts_them(honest, tmp_path, monkeypatch):
    recipe = registry.get("tiny")
    sampler = dataclasses.replace(recipe.sampler, rule="FastRandomIdentity", classes_per_batch=2, options={})
    recipe = dataclasses.replace(recipe, sampler=sampler)
    monkeypatch.setitem(registry.RECIPES, "tiny", recipe)
    out = tmp_path / "run"
    assert tiny_run.run(out, honest / "data", recipe=recipe) == 0, "six steps, three an epoch"
    assert named(out, segments=3) is None


def test_a_run_that_diverged_holds_as_far_as_it_came(honest, tmp_path, monkeypatch):
    def spoil(engine):
        with torch.no_grad():
            engine.solver.net.params["fc"][0][0] = torch.nan

    at(4, spoil, monkeypatch)
    out = tmp_path / "run"
    assert tiny_run.run(out, honest / "data") == 3
    assert json.loads((out / "run.json").read_text())["status"] == "diverged at iteration 4"
    assert named(out, segments=3) is None
    edit(out / "steps.jsonl", 2, lambda row: None)
    assert named(out, quick=True).startswith("steps: steps.jsonl: line 2 is of iteration 3")


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"not a run directory: there is no run\.json"):
        check(tmp_path)


def test_a_killed_run_holds_as_far_as_it_came(run):
    """Nothing is sealed after the last checkpoint, and the record still says that it is running."""
    record = json.loads((run / "run.json").read_text())
    record["status"] = "running"
    (run / "run.json").write_text(json.dumps(record))
    for name, keep in (("steps.jsonl", 4), ("evaluations.jsonl", 4)):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:keep]))
    for iteration in (4, 5, 6):
        (run / "checkpoints" / f"iteration_{iteration:06d}.safetensors").unlink()
    shutil.rmtree(run / "embeddings")
    seal_again(run)
    with open(run / "steps.jsonl", "a") as file:
        file.write(json.dumps({"iteration": 5, "lr": 0.005, "losses": {"loss": 0.25}}) + "\n")
        file.write('{"iteration": 6, "lr"')  # killed while it wrote
    statements = {statement.name: statement for statement in check(run, quick=True)}
    assert statements["steps"].verdict == statements["manifest"].verdict == HOLDS
    assert statements["result and verdict"].verdict == OPEN
