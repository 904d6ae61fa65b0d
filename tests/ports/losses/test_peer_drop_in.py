"""Our losses inside pytorch-metric-learning's own CrossBatchMemory, trainer and miner, none of them altered."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from ports import losses

peer = pytest.importorskip("pytorch_metric_learning")


def batch(seed: int, n: int = 16, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    x = normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)))
    return x.requires_grad_(), torch.arange(n) % 4


@pytest.mark.parametrize("build", [losses.MultiSimilarityLoss, losses.ContrastiveLoss, losses.NCALoss])
def test_cross_batch_memory_takes_losses_of_its_names(build) -> None:
    from pytorch_metric_learning.losses import CrossBatchMemory

    memory = CrossBatchMemory(build(), embedding_size=8, memory_size=32)
    for seed in range(4):
        x, labels = batch(seed)
        value = memory(x, labels)
        value.backward()
        assert torch.isfinite(value) and x.grad.abs().max() > 0
        if seed == 0:  # the memory holds the batch alone, and its index tuple leaves each anchor's own copy out
            torch.testing.assert_close(value, build()(x, labels), rtol=1e-5, atol=1e-6)


def test_cross_batch_memory_refuses_names_it_does_not_list() -> None:
    """Its check goes by class name; ports.memory.CrossBatchMemory has none (docs/ports.md)."""
    from pytorch_metric_learning.losses import CrossBatchMemory

    with pytest.raises(Exception, match="not supported for RankedListLoss"):
        CrossBatchMemory(losses.RankedListLoss(), embedding_size=8, memory_size=32)


@pytest.mark.parametrize(
    "build",
    [
        losses.RankedListLoss,
        losses.OnlineSoftMiningLoss,
        losses.MultiSimilarityLoss,
        losses.MarginLoss,
        lambda: losses.NormSoftmaxLoss(4, 8),
    ],
)
def test_trainer_lowers_the_loss(build, tmp_path, monkeypatch) -> None:
    from pytorch_metric_learning.trainers import MetricLossOnly

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    labels = torch.arange(64) % 4
    features = torch.eye(4, 12)[labels] + 0.3 * torch.randn(64, 12)
    trunk, loss = torch.nn.Linear(12, 8), build()
    embedder = torch.nn.Module()
    embedder.forward = normalize  # type: ignore[method-assign]
    # OSM's released gradient is divided by the number of pairs twice.
    rate = 50.0 if isinstance(loss, losses.OnlineSoftMiningLoss) else 0.1
    trainer = MetricLossOnly(
        models={"trunk": trunk, "embedder": embedder},
        optimizers={"trunk_optimizer": torch.optim.SGD(trunk.parameters(), lr=rate)},
        batch_size=32,
        loss_funcs={"metric_loss": loss},
        dataset=torch.utils.data.TensorDataset(features, labels),
        dataloader_num_workers=0,
        iterations_per_epoch=10,
    )
    torch.manual_seed(1)
    before = loss(normalize(trunk(features)), labels)
    trainer.train(num_epochs=2)
    torch.manual_seed(1)
    assert loss(normalize(trunk(features)), labels) < before


def test_miner_of_the_peer() -> None:
    from pytorch_metric_learning.miners import MultiSimilarityMiner, TripletMarginMiner

    x, labels = batch(5)
    for miner in (MultiSimilarityMiner(0.1), TripletMarginMiner(0.2)):
        for build in (losses.RankedListLoss, losses.MultiSimilarityLoss, losses.BatchAllLoss):
            assert torch.isfinite(build()(x, labels, miner(x, labels)))


def test_unsupported_arguments_are_refused_by_name() -> None:
    x, labels = batch(6)
    loss = losses.NormSoftmaxLoss(4, 8)
    with pytest.raises(ValueError, match="NormSoftmaxLoss does not support ref_emb, ref_labels"):
        loss(x, labels, None, x, labels)
