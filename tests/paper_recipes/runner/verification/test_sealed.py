"""Forgeries sealed again: the manifest agrees, so what the statements rest on must not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_run
from helpers.verifying import check, edit, named, seal_again

from paper_recipes import registry
from paper_recipes.runner import run_files
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.verification.statement import first_false


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


@pytest.mark.parametrize("said", [99.9, None, "99.9"])
def test_sealed_map_at_r(run, said):
    path = run / "distances.json"
    kept = json.loads(path.read_text())
    found = kept["rows"][-1]["map_at_r"]
    assert kept["rows"][-1]["iteration"] == 6 and found + 100 / 12 < 99.9  # the queries' near-ties are less
    kept["rows"][-1] |= {"map_at_r": said, "queries": 1}  # which would make the near-ties' share as large as one likes
    path.write_text(json.dumps(kept))
    seal_again(run)
    words = named(run, quick=True)
    assert words.startswith("stored embeddings: ") and ("MAP@R at iteration 6 is " in words or said == "99.9"), words


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


@pytest.mark.slow  # a run of its own
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
