"""Cross-batch memories against the recorded runs of research-xbm and research-ms-loss, and as properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ports import losses
from ports.memory import CrossBatchMemory, DatasetMemory

# The same limits as the batch losses: see test_losses_python_recorded.py.
F64 = {"rtol": 1e-10, "atol": 1e-12}
F32 = 1e-5
CUTOFF = 1 - 1e-5
PAIR_LOSSES = {
    "contrastive": lambda: losses.ContrastiveLoss(0.5, cutoff=CUTOFF),
    "ms": lambda: losses.MultiSimilarityLoss(),
    "triplet": lambda: losses.XbmTripletLoss(),
}


def close(got: torch.Tensor, expected: object, dtype: torch.dtype) -> bool:
    got, expected = got.detach().double().numpy(), np.asarray(expected, np.float64)
    if dtype == torch.float64:
        return np.allclose(got, expected, **F64)
    return bool((np.abs(got - expected) <= F32 * np.abs(expected).max(initial=0.1)).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("kind", PAIR_LOSSES)
@pytest.mark.parametrize("name", ["k10_b4", "k10_b4_lastlabel0", "k12_b4_exact"])
def test_released_ring_equals_the_recorded_run(reference: Path, name: str, kind: str, dtype: torch.dtype) -> None:
    folder = reference / "python" / "msight-tech__research-xbm" / "xbm_official"
    bits = "f64" if dtype == torch.float64 else "f32"
    steps = json.loads((folder / f"{name}_{bits}.json").read_text())
    arrays = np.load(folder / f"{name}_f64.npz")
    gradients = np.load(folder / f"{name}_{bits}.npz") if (folder / f"{name}_{bits}.npz").exists() else {}
    feats, labels = torch.tensor(arrays["feats"]).to(dtype), torch.tensor(arrays["labels"]).long()
    pair_loss = PAIR_LOSSES[kind]()
    memory = CrossBatchMemory(pair_loss, 128, len(steps[0]["memory_targets"])).to(dtype)
    compared = 0
    for step in steps:
        s = step["step"]
        x = feats[s].clone().requires_grad_()
        memory.enqueue(x, labels[s])
        owners = [feats[a, b] if a >= 0 else torch.zeros(128, dtype=dtype) for a, b in step["slot_owner_step_row"]]
        assert torch.equal(memory.embeddings, torch.stack(owners))
        assert memory.labels.tolist() == step["memory_targets"]
        assert (memory.pointer, memory.is_full) == (step["ptr"], step["is_full"])
        kept, kept_labels = memory.get()
        assert len(kept) == step["get_size"]
        recorded = step["loss"][kind]
        batch = pair_loss(x, labels[s])
        (batch_gradient,) = torch.autograd.grad(batch, x)
        against = pair_loss(x, labels[s], ref_emb=kept, ref_labels=kept_labels)
        (gradient,) = torch.autograd.grad(against, x)
        if "note" in recorded:  # the original refuses a memory smaller than the batch
            assert against == 0
            continue
        assert close(batch, recorded["batch"], dtype)
        if recorded["memory_outcome"].startswith("crash"):
            assert against == 0 and not gradient.any()
        else:
            assert close(against, recorded["memory"], dtype)
        for key, ours in (("batch", batch_gradient), ("mem", gradient)):
            if f"grad_{key}_{kind}_s{s}" in gradients:
                assert close(ours[:, :64], gradients[f"grad_{key}_{kind}_s{s}"], dtype)
                compared += 1
    assert compared >= (4 if dtype == torch.float64 else 0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("kind", ["contrastive", "ms"])
def test_forward_is_batch_loss_plus_memory_loss(reference: Path, kind: str, dtype: torch.dtype) -> None:
    folder = reference / "python" / "msight-tech__research-xbm" / "xbm_official"
    steps = json.loads((folder / f"k12_b4_exact_{'f64' if dtype == torch.float64 else 'f32'}.json").read_text())
    arrays = np.load(folder / "k12_b4_exact_f64.npz")
    memory = CrossBatchMemory(PAIR_LOSSES[kind](), 128, 12).to(dtype)
    for step in steps:
        x = torch.tensor(arrays["feats"][step["step"]]).to(dtype)
        total = memory(x, torch.tensor(arrays["labels"][step["step"]]).long())
        assert close(total, step["loss"][kind]["total"], dtype)


@pytest.mark.parametrize("bits", ["f64", "f32"])
@pytest.mark.parametrize("name", ["ratio04", "ratio04_shuffled_loader", "ratio004_zero_length", "ratio10"])
def test_dataset_memory_equals_the_recorded_run(reference: Path, name: str, bits: str) -> None:
    folder = reference / "python" / "MalongTech__research-ms-loss" / "xbm_head"
    run = json.loads((folder / f"{name}_{bits}.json").read_text())
    arrays = np.load(folder / f"{name}.npz")
    dtype = torch.float64 if bits == "f64" else torch.float32
    images, weights = torch.tensor(arrays["images"]).to(dtype), torch.tensor(arrays["W"]).to(dtype)

    def embed(step: int, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(images[rows] @ weights[step].T)

    order = torch.tensor(run["order"])
    memory = DatasetMemory(
        embed(0, order),
        torch.tensor(run["labels_stored"]),
        order,
        run["ratio"],
        generator=torch.Generator().manual_seed(5),
    )
    assert (memory.queue is None and run["init_queue"] is None) or memory.queue.tolist() == run["init_queue"]
    for s, step in enumerate(run["steps"]):
        rows = torch.tensor(step["batch_indices"])
        x = embed(s + 1, rows)
        memory.enqueue(x, rows)
        assert (memory.queue is None and step["queue"] is None) or memory.queue.tolist() == step["queue"]
        kept, kept_labels = memory.get()
        assert kept_labels.tolist() == step["get_labels"]
        assert len(kept) == step["get_size"]
        if bits == "f64":
            np.testing.assert_allclose(kept.numpy(), arrays[f"get_feats_s{s}"], **F64)
        for kind, recorded in step["loss"].items():
            value = PAIR_LOSSES[kind]()(x, torch.tensor(step["batch_labels"]), ref_emb=kept, ref_labels=kept_labels)
            assert torch.isfinite(value)
            if recorded["outcome"] == "ok":
                assert close(value, recorded["memory"], dtype)


def test_dataset_memory_in_image_order_keeps_labels_right() -> None:
    order = torch.tensor([3, 0, 2, 1])
    embeddings, labels = torch.eye(4)[order], torch.tensor([7, 5, 6, 8])[order]
    right = DatasetMemory(embeddings, labels, order, 0.75, variant="paper")
    assert len(right.queue) == 3
    kept, kept_labels = right.get()
    assert torch.equal(kept, torch.eye(4)[right.queue])
    assert torch.equal(kept_labels, torch.tensor([7, 5, 6, 8])[right.queue])
    with pytest.raises(ValueError, match=r"ratio 0\.1 of 4 images"):
        DatasetMemory(embeddings, labels, order, 0.1, variant="paper")


def batches(count: int, size: int, dim: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    g = torch.Generator().manual_seed(1)
    unit = torch.nn.functional.normalize
    return [(unit(torch.randn(size, dim, generator=g)), torch.arange(size) // 2 % 3) for _ in range(count)]


def test_paper_ring_keeps_the_newest_rows_in_order() -> None:
    memory = CrossBatchMemory(losses.ContrastiveLoss(), 8, 10, variant="paper")
    stream = batches(7, 4)
    for i, (x, y) in enumerate(stream):
        memory.enqueue(x, y)
        newest = torch.cat([batch[0] for batch in stream[: i + 1]])[-10:]
        kept = torch.roll(memory.get()[0], -memory.pointer, 0) if memory.is_full else memory.get()[0]
        assert torch.equal(kept, newest)


def test_paper_memory_excludes_the_own_copy_by_index() -> None:
    """One batch in the memory: every pair of the batch itself, so the two losses are equal."""
    (x, y), *_ = batches(1, 6)
    loss = losses.MultiSimilarityLoss(variant="paper")
    memory = CrossBatchMemory(loss, 8, 32, include_batch=False, variant="paper")
    torch.testing.assert_close(memory(x, y), loss(x, y))


def test_peer_losses_work_with_our_memory_and_ours_with_the_peers() -> None:
    peer = pytest.importorskip("pytorch_metric_learning.losses")
    stream = batches(6, 6)
    ours = CrossBatchMemory(losses.MultiSimilarityLoss(variant="library"), 8, 16, include_batch=False, variant="paper")
    mixed = CrossBatchMemory(peer.MultiSimilarityLoss(), 8, 16, include_batch=False, variant="paper")
    theirs = peer.CrossBatchMemory(peer.MultiSimilarityLoss(), 8, 16)
    ours_in_theirs = peer.CrossBatchMemory(losses.MultiSimilarityLoss(variant="library"), 8, 16)
    for x, y in stream:
        expected = theirs(x, y)
        for other in (ours, mixed, ours_in_theirs):
            torch.testing.assert_close(other(x, y), expected)


def test_state_resumes_exactly() -> None:
    stream = batches(9, 4)
    for variant in ("as_released", "paper"):
        whole = CrossBatchMemory(losses.ContrastiveLoss(cutoff=CUTOFF), 8, 10, start_iteration=2, variant=variant)
        half = CrossBatchMemory(losses.ContrastiveLoss(cutoff=CUTOFF), 8, 10, start_iteration=2, variant=variant)
        for x, y in stream[:5]:
            whole(x, y), half(x, y)
        resumed = CrossBatchMemory(losses.ContrastiveLoss(cutoff=CUTOFF), 8, 10, start_iteration=2, variant=variant)
        resumed.load_state_dict(half.state_dict())
        for x, y in stream[5:]:
            assert torch.equal(whole(x, y), resumed(x, y))


def test_memory_holds_no_graph_and_backward_after_the_next_step_works() -> None:
    memory = CrossBatchMemory(losses.ContrastiveLoss(cutoff=CUTOFF), 8, 10)
    (x, y), (x2, y2) = batches(2, 4)
    x.requires_grad_()
    first = memory(x, y)
    memory(x2, y2)
    first.backward()
    assert not memory.embeddings.requires_grad and torch.isfinite(x.grad).all()


def test_refuses_what_does_not_fit() -> None:
    memory = CrossBatchMemory(losses.ContrastiveLoss(), 8, 4)
    with pytest.raises(ValueError, match=r"\(5, 8\) does not fit a memory of \(4, 8\)"):
        memory.enqueue(torch.zeros(5, 8), torch.zeros(5))
    with pytest.raises(ValueError, match="does not support ref_emb"):
        memory(torch.zeros(2, 8), torch.zeros(2), ref_emb=torch.zeros(2, 8))
    with pytest.raises(ValueError, match="no variant 'libary'"):
        CrossBatchMemory(losses.ContrastiveLoss(), 8, 4, variant="libary")
