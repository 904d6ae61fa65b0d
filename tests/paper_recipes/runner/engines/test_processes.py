"""Several processes compute what their semantics say: gloo on this machine, against the same work done by one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import replica_steps as steps
from helpers import tiny
from helpers.launching import finish, launch

from paper_recipes import registry
from paper_recipes.runner import run, run_files
from paper_recipes.runner.data import run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.engines import checkpoint
from paper_recipes.runner.engines import processes as process_group
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring import scores as scoring
from paper_recipes.runner.scoring import sharded
from paper_recipes.runner.training.parts import make_sampler
from ports.datasets.split import Split
from ports.metrics.retrieval import recall_at_k

# Double precision, three steps: sums over 12 images in another order differ by some 1e-16 each; the values that come out
# of a BatchNorm or a momentum lose two or three digits of that where they nearly cancel (3e-13 was seen). One image less, a
# factor of two, statistics of one part alone: all of them change the first digits.
TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """Case -> per process, per step: (losses, tensors)."""
    out = tmp_path_factory.mktemp("steps")
    ends = finish(launch(Path(steps.__file__), str(out)))
    assert [code for code, *_ in ends] == [0, 0], ends
    return {case: [torch.load(out / f"{case}-{rank}.pt") for rank in range(2)] for case in steps.CASES}


def worst(got: dict, want: dict) -> float:
    """Largest difference relative to each tensor's largest value, over all tensors."""
    assert got.keys() == want.keys()
    return max(
        float(
            (got[name].double() - want[name].detach().double()).abs().max()
            / want[name].detach().abs().max().clamp(min=1e-30)
        )
        for name in want
        if want[name].numel()
    )


@pytest.mark.parametrize("case", [case for case in steps.CASES if case.endswith(".global")])
def test_global_is_one_process_with_the_whole_batch(taken, case):
    """Losses, weights, statistics, momentum and memory, after each of three steps."""
    recipe = case.split(".")[0]
    alone = steps.engine(recipe, dropout=False)
    for step in range(steps.STEPS):
        losses = alone.step(*steps.data(recipe, step, slice(None)))
        for rank in range(2):
            their_losses, tensors = taken[case][rank][step]
            assert their_losses == pytest.approx(losses, rel=TOLERANCE)
            assert worst(tensors, alone.tensors()) < TOLERANCE


def test_statistics_of_the_parts_alone_are_another_computation(taken):
    """The mutation: without `sync_bn` each part normalises itself, and the gradient is far from the whole batch's."""
    alone = steps.engine("caffe-net", dropout=False)
    alone.step(*steps.data("caffe-net", 0, slice(None)))
    assert worst(taken["caffe-net.parts"][0][0][1], alone.tensors()) > 0.01


def serial(recipe: str) -> list:
    """What the releases' parallel.cpp does, written out for one process: both replicas' gradients, their mean, one update."""
    root, other = steps.engine(recipe), steps.engine(recipe)
    after = []
    for step in range(steps.STEPS):
        gradients, losses = [], []
        for rank, engine in enumerate((root, other)):
            images, labels = steps.data(recipe, step, steps.part_of(rank, 2))
            steps.seed(step, rank)
            loss, optimizer = forward(engine, images, labels)
            optimizer.zero_grad()
            loss.backward()
            losses.append(float(loss.detach()))
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            gradients.append([None if p.grad is None else p.grad.clone() for p in parameters])
            if engine is root:
                own = parameters
        for parameter, mine, theirs in zip(own, *gradients):
            parameter.grad = None if mine is None else (mine + theirs) / 2
        update(root)
        for name, tensor in other.tensors().items():  # the root's weights and statistics begin the next step
            if not name.startswith("optimizer/"):
                with torch.no_grad():
                    tensor.copy_(root.tensors()[name])
        after.append((sum(losses) / 2, steps.copied(root.tensors())))
    return after


def forward(engine, images, labels):
    if not hasattr(engine, "solver"):
        engine._train_mode()
        return engine.loss(engine.net(images), labels.long()), engine.optimizer
    net = engine.solver.net
    net(data=images, label=labels)
    return net.loss(), engine.solver.optimizer


def update(engine) -> None:
    if not hasattr(engine, "solver"):
        engine.optimizer.param_groups[0]["lr"] = 0.1
        engine.optimizer.step()
        return
    for group in engine.solver.optimizer.param_groups:
        group["lr"] = engine.solver.rate(engine.solver.iter)
    engine.solver.optimizer.step()
    engine.solver.iter += 1


@pytest.mark.parametrize("case", [case for case in steps.CASES if case.endswith(".caffe")])
def test_caffe_is_two_batches_with_their_mean_gradient(taken, case):
    for step, (loss, tensors) in enumerate(serial(case.split(".")[0])):
        losses, root = taken[case][0][step]
        assert sum(losses.values()) == pytest.approx(loss, rel=TOLERANCE)
        assert worst(root, tensors) < TOLERANCE


@pytest.mark.parametrize("case", steps.CASES)
def test_all_processes_hold_the_same_net(taken, case):
    first, second = (taken[case][rank][-1] for rank in range(2))
    assert first[0] == second[0]
    different = {name for name in first[1] if not torch.equal(first[1][name], second[1][name])}
    # The momentum of running sums, which the forks' solver keeps: only the root's ever acts.
    assert different <= (
        {"history/1", "history/2", "history/3"} if case in ("caffe-net.caffe", "caffe-net.parts") else set()
    )


def test_the_two_meanings_differ(taken):
    assert worst(taken["plain.caffe"][0][0][1], taken["plain.global"][0][0][1]) > 0.01


@pytest.mark.slow  # about a minute: the released networks in double precision
def test_global_is_one_process_for_whole_published_nets(tmp_path):
    """RLL's three heads; OSM's weights over the batch, and its tracklets behind the place where the batch is gathered."""
    ends = finish(launch(Path(steps.__file__), str(tmp_path), "--published"))
    assert [code for code, *_ in ends] == [0, 0], ends
    for recipe in steps.PUBLISHED:
        losses, gradients = steps.published_step(recipe, process_group.Replicas())
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        for rank in range(2):
            their_losses, theirs = torch.load(tmp_path / f"{recipe}-{rank}.pt")
            assert their_losses == pytest.approx(losses, rel=TOLERANCE)
            worst_error = max(float((a - b).abs().max()) for a, b in zip(gradients, theirs, strict=True))
            assert worst_error < TOLERANCE * largest, recipe  # 2e-13 was seen, through 70 BatchNorms


# -- whole runs


@pytest.fixture(scope="module", params=["caffe", "global"])
def parallel_run(request, tmp_path_factory, data):
    tiny.make_data(data)  # once: the processes only read it
    out = tmp_path_factory.mktemp(request.param)
    ends = finish(launch(Path(tiny.__file__), str(out), str(data), *meaning(request.param)))
    assert [code for code, *_ in ends] == [0, 0], ends
    return request.param, out


def meaning(name: str) -> list[str]:
    return ["--replicas", name, *(["--sync-bn"] if name == "global" else [])]


def same(a: Path, b: Path, *, extra: str = "") -> None:
    names = sorted(path.name for path in (a / "checkpoints").iterdir())
    assert names == sorted(path.name for path in (b / "checkpoints").iterdir() if path.name != extra)
    for name in names:
        assert (a / "checkpoints" / name).read_bytes() == (b / "checkpoints" / name).read_bytes(), name
    for name in ("steps.jsonl", "evaluations.jsonl", "raw_pixels.json"):
        assert (a / name).read_text() == (b / name).read_text()


@pytest.mark.slow
def test_stopped_in_one_process_and_resumed_is_the_same_to_the_bit(parallel_run, data, tmp_path):
    """SIGKILL of process 1 ends the other one, too; SIGTERM stops both after the same step with a checkpoint."""
    name, out = parallel_run
    number = {"caffe": 9, "global": 15}[name]
    ends = finish(launch(Path(tiny.__file__), str(tmp_path), str(data), *meaning(name), "--end", f"1:5:{number}"))
    latest = checkpoint.latest(tmp_path / "checkpoints").name
    if number == 9:
        assert ends[1][0] == -9 and ends[0][0] not in (0, -9)
        assert "process 0: another process of this run is gone" in ends[0][2]
        assert latest == "iteration_000003.safetensors"
    else:
        assert [(code, text.strip()) for code, text, _ in ends] == [(0, "stopped at 5")] * 2
        assert latest == "iteration_000005.safetensors"
    ends = finish(launch(Path(tiny.__file__), str(tmp_path), str(data), *meaning(name), "--resume"))
    assert [code for code, *_ in ends] == [0, 0], ends
    same(out, tmp_path, extra="iteration_000005.safetensors")


@pytest.mark.slow
def test_one_process_finds_the_same_hits(parallel_run, data):
    """The evaluation of the last checkpoint, by one process: every count and every nearest neighbour of the report."""
    _, out = parallel_run
    recipe, folder = tiny.recipe(), tiny.make_data(data)
    engine = tiny.CaffeEngine(recipe.the_caffe(), device=torch.device("cpu"), seed=recipe.seed)
    saved = checkpoint.load(checkpoint.latest(out / "checkpoints"))
    engine.load_tensors(saved.tensors, tiny.ITERATIONS)
    engine.begin_embedding()
    queries, gallery = scoring.embed_data(
        engine, folder, tiny.images.RllSop(), recipe.evaluation, device=torch.device("cpu")
    )
    scores = scoring.score(queries, gallery, folder, recipe.evaluation)
    last = run_files.read(out, "evaluations")[-1]
    assert last == {"iteration": tiny.ITERATIONS, **scores.as_json()}
    unit = queries["fc"] / np.linalg.norm(queries["fc"], axis=1, keepdims=True)
    rows = json.loads((out / "neighbours.json").read_text())["rows"]
    for row in rows:
        query = folder.test.files().index(row["query"])
        for item in row["neighbours"]:
            # one matrix-vector product in float32, of the same rows
            assert item["cosine"] == float((unit @ unit[query])[folder.test.files().index(item["file"])])


@pytest.mark.slow
def test_a_run_goes_on_only_with_its_own_processes(parallel_run, data, tmp_path):
    name, out = parallel_run
    shutil.copytree(out, tmp_path / "copy")
    with pytest.raises(RunError, match=rf"its replicas is .*{name}.*this run's is None"):
        tiny.start(tmp_path / "copy", data, resume=True)


@pytest.mark.slow  # two processes through the released net
def test_evaluate_writes_the_same_bytes(tmp_path):
    """`evaluate` of one process and of two: embeddings, hit counts, everything."""
    recipe = registry.get("rll-sop")
    engine = tiny.CaffeEngine(recipe.the_caffe(), device=torch.device("cpu"), seed=1)
    engine.step(60 * torch.randn(6, 3, 227, 227, generator=torch.Generator().manual_seed(1)), torch.arange(6.0) // 2)
    state = {"iteration": 1, "sampler": {}, "fingerprint": recipe.fingerprint(), "seed": 1, "form": "embedded"}
    model = tmp_path / "model.safetensors"
    checkpoint.save(model, checkpoint.Checkpoint(engine.tensors(), state))
    for world in (1, 2):
        arguments = ["evaluate", "rll-sop", "--smoke", "--model", str(model), "--out", str(tmp_path / str(world))]
        ends = finish(launch("-m", "paper_recipes", *arguments, world=world))
        assert [code for code, *_ in ends] == [0] * world, ends
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert "scores.json" in names and names == sorted(path.name for path in (tmp_path / "2").iterdir())
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


@pytest.mark.parametrize("world", [2, 3, 11])
def test_recall_in_any_parts_counts_the_same(world):
    """More processes than queries, ties, zero rows: the counts of the shares, hits and near-ties, add up to those of the whole."""
    rng = np.random.default_rng(world)
    embeddings, labels = rng.integers(-1, 2, (9, 3)).astype(np.float32), rng.integers(0, 3, 9)
    shares: list[list[float]] = []

    class One(process_group.Replicas):
        def add(self, values):
            shares.append(list(values))
            return list(values)

    for rank in range(world):
        sharded.recall(One("global", rank, world))(embeddings, labels, [1, 2, 4])
    whole = recall_at_k(embeddings, labels, [1, 2, 4])
    assert [sum(column) for column in zip(*shares, strict=True)] == [*whole.hits.values(), *whole.near.values()]
    assert any(whole.near.values())
    assert len(shares) == world


# -- what is refused


def test_several_processes_must_say_what_they_compute(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(process_group.ReplicaError, match=r"4 processes .*--replicas caffe .*--replicas global"):
        run.run(registry.get("rll-sop"), run.Options())
    with pytest.raises(process_group.ReplicaError, match=r"--sync-bn belongs to --replicas global"):
        process_group.check("caffe", True)
    process_group.check("global", True)
    with pytest.raises(
        process_group.ReplicaError, match=r"cuda:1: of several processes each takes the GPU of its own number"
    ):
        process_group.device_for("cuda:1")


def test_one_process_cannot_be_replicas(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(
        process_group.ReplicaError, match=r"torchrun --nproc-per-node N -m paper_recipes run NAME --replicas caffe"
    ):
        run.run(registry.get("rll-sop"), run.Options(replicas="caffe"))
    process_group.check(None, False)


def some_data(classes: int = 20, tracks: bool = False) -> run_data.Data:
    labels = np.repeat(np.arange(classes), 8)
    split = Split(
        [f"{i}.png" for i in range(len(labels))], labels, tracks=np.arange(len(labels)) // 2 if tracks else None
    )
    return run_data.Data(split, split, {})


def test_caffe_multiplies_the_classes_and_global_cuts_the_batch():
    facts = registry.get("rll-cub")
    scale = scales.embedded(facts)  # 6 classes x 3
    parts = {}
    for name in process_group.SEMANTICS:
        shards = [make_sampler(scale, some_data(), 1, process_group.Replicas(name, r, 2)) for r in range(2)]
        parts[name] = [shard.next_batch() for shard in shards]
    assert [len(part) for part in parts["caffe"]] == [18, 18]
    assert len({i // 8 for part in parts["caffe"] for i in part}) == 12  # classes of both together, 8 images each
    assert parts["global"][0] + parts["global"][1] == make_sampler(scale, some_data(), 1).next_batch()


def test_batches_that_cannot_be_cut_are_refused():
    scale = scales.embedded(registry.get("rll-cub"))
    with pytest.raises(RunError, match=r"--replicas global with 4 processes: 6 identities .* do not divide among 4"):
        make_sampler(scale, some_data(), 1, process_group.Replicas("global", 0, 4))
    with pytest.raises(RunError, match=r"--replicas caffe with 4 processes: 20 classes are fewer than the 24"):
        make_sampler(scale, some_data(), 1, process_group.Replicas("caffe", 0, 4))
    mars = scales.embedded(registry.get("osm-mars"))
    with pytest.raises(RunError, match=r"--replicas caffe: this recipe's batch names its identities twice"):
        make_sampler(mars, some_data(tracks=True), 1, process_group.Replicas("caffe", 0, 2))
    with pytest.raises(process_group.ReplicaError, match=r"a memory of its own; use --replicas global"):
        steps.engine("memory", process_group.Replicas("caffe", 0, 1))


@pytest.mark.slow
def test_torchrun_ends_all_when_one_process_fails(data, tmp_path):
    tiny.make_data(data)
    started = time.time()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    # A machine whose own name nobody resolves (a bare chroot) would be waited for.
    command += ["--local-addr", "127.0.0.1"]
    ended = subprocess.run(
        [*command, tiny.__file__, str(tmp_path), str(data), "--replicas", "caffe", "--end", "1:4:9"],
        capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 1 and "exitcode  : -9" in ended.stderr, ended.stderr
    assert time.time() - started < 120  # not the hour that a lost message would be waited for
    assert len(run_files.read(tmp_path, "steps")) == 3


def test_the_command_that_resumes():
    recipe = registry.get("rll-cub")
    assert run.again(recipe, run.Options(), process_group.Replicas(), Path("x")) == (
        "python -m paper_recipes run rll-cub --resume --out x"
    )
    given = run.Options(data=Path("my folder"), seed=0, resume=True)
    assert run.again(recipe, given, process_group.Replicas(), Path("x")) == (
        "python -m paper_recipes run rll-cub --data 'my folder' --seed 0 --resume --out x"
    )
    processes = process_group.Replicas("global", 0, 4, sync_bn=True)
    options = run.Options(strict=False, replicas="global", sync_bn=True)
    assert run.again(recipe, options, processes, Path("x")) == (
        "torchrun --nproc-per-node 4 -m paper_recipes run rll-cub --fast --replicas global --sync-bn --resume --out x"
    )
