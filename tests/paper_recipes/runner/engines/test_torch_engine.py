"""PyTorch recipes step as the plain loop of their release does, and resume to the bit at any point."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from paper_recipes.recipe import Phase, Torch
from paper_recipes.runner.engines import networks
from paper_recipes.runner.engines.torch_engine import TorchEngine, build_loss
from ports import losses

CPU = torch.device("cpu")


class Tiny(nn.Module):
    """One convolution with BatchNorm, global maximum: (N, 3, 8, 8) -> (N, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2)
        self.bn = nn.BatchNorm2d(6)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x))).amax(dim=(2, 3))


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(networks.BACKBONES, "Tiny", Tiny)


HEAD = {"class": "LinearHead", "in_dim": 6, "out_dim": 5}
RECIPES = {
    "adam, frozen statistics": Torch(
        backbone={"class": "Tiny"},
        head=HEAD,
        loss={"class": "MultiSimilarityLoss"},
        optimizer={"class": "Adam", "weight_decay": 5e-4},
        phases=(Phase(iterations=8, lr=0.01, drops=(3, 6)),),
        frozen_bn=True,
    ),
    "memory": Torch(
        backbone={"class": "Tiny"},
        head=HEAD,
        loss={"class": "ContrastiveLoss", "margin": 0.5, "cutoff": 1 - 1e-5},
        optimizer={"class": "Adam", "weight_decay": 5e-4},
        phases=(Phase(iterations=8, lr=0.01),),
        memory={"embedding_dim": 5, "memory_size": 20, "start_iteration": 2},  # batches of 8: overflows
    ),
    "two phases": Torch(
        backbone={"class": "Tiny"},
        head=HEAD,
        loss={"class": "NormSoftmaxLoss", "embedding_dim": 5},
        optimizer={"class": "SGD", "momentum": 0.9, "weight_decay": 1e-4},
        phases=(Phase(iterations=3, lr=0.1, trains="head"), Phase(iterations=5, lr=0.1, drops=(2,))),
    ),
}


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.arange(4).repeat_interleave(2).float()
    return torch.randn(8, 3, 8, 8, generator=generator) + labels[:, None, None, None], labels


def engine(recipe: Torch) -> TorchEngine:
    return TorchEngine(recipe, classes=4, device=CPU, seed=1)


def run(of: TorchEngine, first: int, last: int) -> list[float]:
    return [of.step(*batch(step))["loss"] for step in range(first, last)]


def copied(of: TorchEngine) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in of.tensors().items()}


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", RECIPES)
def test_resumes_to_the_bit(name, stop):
    whole = engine(RECIPES[name])
    expected = run(whole, 0, 8)
    half = engine(RECIPES[name])
    run(half, 0, stop)
    saved = copied(half)
    again = engine(RECIPES[name])
    again.load_tensors(saved, stop)
    assert all(torch.equal(value, saved[key]) for key, value in again.tensors().items())
    assert run(again, stop, 8) == expected[stop:]
    want, got = whole.tensors(), again.tensors()
    assert want.keys() == got.keys() and all(torch.equal(want[key], got[key]) for key in want)


@pytest.mark.parametrize(
    ("name", "lost"),
    [("adam, frozen statistics", "optimizer/"), ("memory", "loss/"), ("two phases", "optimizer/")],
)
def test_a_forgotten_part_of_the_state_is_noticed(name, lost):
    """The mutation: without optimiser state (or memory) the run goes on differently."""
    half = engine(RECIPES[name])
    run(half, 0, 5)
    fresh = engine(RECIPES[name]).tensors()
    saved = {k: fresh.get(k, v) if k.startswith(lost) else v for k, v in copied(half).items()}
    if lost == "optimizer/":
        saved = {k: v for k, v in saved.items() if not k.startswith(lost)}
    again = engine(RECIPES[name])
    again.load_tensors(saved, 5)
    run(half, 5, 8)
    run(again, 5, 8)
    assert not torch.equal(half.tensors()["net/head.fc.weight"], again.tensors()["net/head.fc.weight"])


def test_steps_as_the_plain_loop():
    """research-ms-loss's loop, written out: Adam over everything, statistics frozen, the drop acting on update 4."""
    recipe = RECIPES["adam, frozen statistics"]
    ours = engine(recipe)
    net = copy.deepcopy(ours.net)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=5e-4)
    loss = losses.MultiSimilarityLoss()
    for step in range(8):
        net.train()
        net.backbone.bn.eval()
        for group in optimiser.param_groups:
            group["lr"] = [0.01, 0.01, 0.01, 0.001, 0.001, 0.001, 0.0001, 0.0001][step]
        optimiser.zero_grad()
        images, labels = batch(step)
        loss(net(images.to(memory_format=torch.channels_last)), labels).backward()  # as the engine's on a CPU
        optimiser.step()
        ours.step(images, labels)
        # 0.01 * 0.1 and 0.001 differ in the last bit of a double
        assert ours.learning_rate == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)
    for got, want in zip(ours.net.parameters(), net.parameters()):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


def test_frozen_statistics_stay_and_their_scale_is_trained():
    of = engine(RECIPES["adam, frozen statistics"])
    before = copied(of)
    run(of, 0, 3)
    after = of.tensors()
    assert torch.equal(before["net/backbone.bn.running_mean"], after["net/backbone.bn.running_mean"])
    assert not torch.equal(before["net/backbone.bn.weight"], after["net/backbone.bn.weight"])


def test_the_first_phase_trains_the_head_while_statistics_move():
    of = engine(RECIPES["two phases"])
    before = copied(of)
    run(of, 0, 3)
    after = copied(of)
    assert torch.equal(before["net/backbone.conv.weight"], after["net/backbone.conv.weight"])
    assert not torch.equal(before["net/backbone.bn.running_mean"], after["net/backbone.bn.running_mean"])
    assert not torch.equal(before["loss/weight"], after["loss/weight"])
    of.step(*batch(3))
    assert of.learning_rate == 0.1
    assert not torch.equal(after["net/backbone.conv.weight"], of.tensors()["net/backbone.conv.weight"])
    momentum = [name for name in of.tensors() if name.startswith("optimizer/")]
    assert "optimizer/net/backbone.conv.weight/momentum_buffer" in momentum
    run(of, 4, 6)
    assert of.learning_rate == pytest.approx(0.01, rel=1e-12)


def test_the_evaluation_before_training_leaves_unfrozen_statistics_alone():
    of = engine(RECIPES["two phases"])
    before = copied(of)
    of.begin_embedding([batch(90), batch(91)])
    first = of.embed(batch(92)[0])["embedding"]
    assert all(torch.equal(before[name], value) for name, value in of.tensors().items())
    assert first.shape == (8, 5) and not torch.equal(first, of.net.eval()(batch(92)[0]).detach())


def test_frozen_statistics_of_a_seeded_net_come_from_the_calibration_images():
    of = engine(RECIPES["adam, frozen statistics"])
    images = [batch(90), batch(91)]
    of.begin_embedding(images)
    with torch.no_grad():
        means = [of.net.backbone.conv(x).mean(dim=(0, 2, 3)) for x, _ in images]
    torch.testing.assert_close(of.net.backbone.bn.running_mean, (means[0] + means[1]) / 2)


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"model": {"head.fc.weight": torch.zeros(5, 6)}}, path)
    with pytest.raises(
        networks.WeightsError, match=r"other\.pth: does not fit this network: backbone\.conv\.weight is missing"
    ):
        networks.load_model(engine(RECIPES["memory"]).net, path)
    (tmp_path / "broken.pth").write_bytes(b"no tensors")
    with pytest.raises(networks.WeightsError, match=r"not a (PyTorch weights|safetensors) file"):
        networks.read_state(tmp_path / "broken.pth")


def test_a_released_state_dict_loads_by_its_own_names(tmp_path):
    """research-ms-loss saves {"model": {"backbone...": , "head.fc...": }}; DataParallel adds "module."."""
    source, target = engine(RECIPES["memory"]), engine(RECIPES["memory"])
    run(source, 0, 2)
    torch.save({"model": {f"module.{k}": v for k, v in source.net.state_dict().items()}}, tmp_path / "best.pth")
    networks.load_model(target.net, tmp_path / "best.pth")
    assert torch.equal(target.net.head.fc.weight, source.net.head.fc.weight)


# Every loss of ports that is called with embeddings and labels, with what a recipe must say beside its class.
LOSSES = {
    **{name: {} for name in losses.__all__},
    "BinomialDevianceLoss": {"alpha": 30.0},
    "MarginLoss": {"num_classes": 100, "learn_beta": True},
    "NormSoftmaxLoss": {"embedding_dim": 5},
    "ProxyNCALoss": {"embedding_dim": 5},
}
OTHER_CALLS = {  # pairs and triplets as lists; a third argument
    *(
        "CaffeContrastiveLoss",
        "CaffeContrastiveLossV2",
        "CaffeTripletLoss",
        "WeightedSoftmaxLoss",
        "ClassAwareAttention",
    ),
}


def test_every_loss_trains() -> None:
    """All of them take a step of a recipe, with weights of their own where they have such; four classes of two images."""
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8) // 2
    for name in sorted(set(LOSSES) - OTHER_CALLS):
        recipe = Torch(
            backbone={"class": "Tiny"},
            head=HEAD,
            loss={"class": name, **LOSSES[name]},
            optimizer={"class": "SGD"},
            phases=(Phase(iterations=2, lr=0.1),),
        )
        engine = TorchEngine(recipe, classes=4, device=CPU, seed=3)
        sizes = [tuple(parameter.shape) for parameter in engine.loss.parameters()]
        assert sizes == {"MarginLoss": [(4,)], "NormSoftmaxLoss": [(4, 5)], "ProxyNCALoss": [(4, 5)]}.get(name, []), (
            name
        )
        assert torch.isfinite(torch.tensor(engine.step(images, labels)["loss"])), name
        assert engine.gradient_norm > 0 or name == "SemiHardLoss", name  # which finds no pair here


def test_num_classes_follows_from_the_signature() -> None:
    def loss(**facts) -> nn.Module:
        return build_loss(Torch(loss=facts, backbone={}, head={}, optimizer={}, phases=()), classes=7)

    assert loss(**{"class": "ProxyNCALoss", "embedding_dim": 3}).weight.shape == (7, 3)
    assert loss(**{"class": "MarginLoss", "num_classes": 100}).beta.shape == (7,)  # the run's classes, not the paper's
    assert isinstance(loss(**{"class": "MarginLoss"}).beta, float)  # one boundary for all, unless the recipe says more
    for facts, message in (
        ({"class": "ProxyNCALoss"}, "loss ProxyNCALoss: missing 1 required positional argument: 'embedding_dim'"),
        (
            {"class": "ContrastiveLoss", "margim": 1},
            "loss ContrastiveLoss: got an unexpected keyword argument 'margim'",
        ),
        ({"class": "NoLoss"}, "ports.losses has no 'NoLoss'; it has RankedListLoss, "),
    ):
        with pytest.raises(ValueError, match=message):
            loss(**facts)
