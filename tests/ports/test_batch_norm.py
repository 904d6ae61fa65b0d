"""Training-mode BatchNorm against exact arithmetic: every layout, float32 and float64, forward and backward.

The blobs are what white margins make of a first convolution's output: most entries of a channel are one constant. The
oracle is the formula in 80-bit numbers; its own rounding (1e-19 per addition, 1e5 of them) is far below every tolerance.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ports import batch_norm as exact
from ports.backbones.bn_inception import BNInception
from ports.backbones.heads import RLLHeads
from ports.backbones.resnet import ResNet50Embedding, XbmResNet50

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]
# What is asked for: 84 units of rounding at 1 in float32, 450 in float64. Outputs of a blob that is 99.9 % constant reach
# 31 standard deviations; the error is absolute all the same.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}
EPS = 1e-5


def blob(constant: float, level: float = 1.0, shape: tuple[int, ...] = (6, 4, 114, 114), seed: int = 0) -> torch.Tensor:
    """(N, C, ...), `constant` of its entries `level`, the others around 0 with deviation `level`; float32 values."""
    rng = np.random.default_rng(seed)
    level_of = level * np.linspace(0.7, 1.3, shape[1]).reshape(1, -1, *(1,) * (len(shape) - 2))
    values = rng.standard_normal(shape) * level
    return torch.from_numpy(np.where(rng.random(shape) < constant, level_of, values).astype(np.float32))


def oracle(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, dy: torch.Tensor) -> dict[str, np.ndarray]:
    """Everything that training-mode BatchNorm gives, in 80-bit numbers."""
    x, gamma, beta, dy = (t.detach().cpu().numpy().astype(np.longdouble) for t in (x, gamma, beta, dy))
    dims = (0, *range(2, x.ndim))
    column = (1, -1, *(1,) * (x.ndim - 2))
    count = x.size // x.shape[1]
    mean = x.sum(dims) / count
    variance = np.square(x - mean.reshape(column)).sum(dims) / count
    scale = 1 / np.sqrt(variance + np.longdouble(EPS))
    unit = (x - mean.reshape(column)) * scale.reshape(column)
    dbeta, dgamma = dy.sum(dims), (dy * unit).sum(dims)
    inner = dy - (dbeta / count).reshape(column) - unit * (dgamma / count).reshape(column)
    return {
        "top": unit * gamma.reshape(column) + beta.reshape(column),
        "mean": mean,
        "variance": variance * count / (count - 1),
        "dx": inner * (gamma * scale).reshape(column),
        "dgamma": dgamma,
        "dbeta": dbeta,
    }


def computed(function, x, gamma, beta, dy) -> dict[str, torch.Tensor]:
    """The same six from `function`, called as `torch.batch_norm` is."""
    x, gamma, beta = (t.detach().clone().requires_grad_() for t in (x, gamma, beta))
    mean, variance = torch.zeros_like(gamma), torch.zeros_like(gamma)
    top = function(x, gamma, beta, mean, variance, True, 1.0, EPS, False)
    top.backward(dy)
    return {
        "top": top.detach(),
        "mean": mean.detach(),
        "variance": variance.detach(),
        "dx": x.grad,
        "dgamma": gamma.grad,
        "dbeta": beta.grad,
    }


def errors(function, x, dy, *, shift: float = 0.5) -> dict[str, float]:
    """Largest error of each of the six: of the top absolute, of the others relative to their largest entry."""
    channels = x.shape[1]
    gamma = torch.linspace(0.5, 1.0, channels, dtype=x.dtype, device=x.device)
    beta = torch.linspace(-shift, shift, channels, dtype=x.dtype, device=x.device)
    want, got = oracle(x, gamma, beta, dy), computed(function, x, gamma, beta, dy)
    found = {}
    for name, value in got.items():
        difference = np.abs(value.cpu().numpy().astype(np.longdouble) - want[name]).max()
        found[name] = float(difference if name == "top" else difference / np.abs(want[name]).max())
    return found


def gradient(x: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """Like the gradients that arrive there: mostly one value where the blob is constant, with a part along x."""
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(x.shape).astype(np.float32)).to(x)
    return 0.3 + 0.1 * noise + 0.05 * x


def placed(x: torch.Tensor, dtype: torch.dtype, layout: str, device: str) -> torch.Tensor:
    return x.to(device=device, dtype=dtype).contiguous(memory_format=LAYOUTS[layout])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("constant", [0.0, 0.8, 0.999])
def test_mostly_constant_blobs_are_exact(constant, layout, dtype, device):
    x = placed(blob(constant), dtype, layout, device)
    found = errors(exact.batch_norm, x, gradient(x))
    assert max(found.values()) < TOLERANCE[dtype], found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_level_far_above_the_deviation_costs_nothing(layout):
    """Constant 300, ink of deviation 1: float32 can hold neither the mean nor x * scale to 1e-5 deviations."""
    x = (blob(0.999) + 300).to(memory_format=LAYOUTS[layout])
    found = errors(exact.batch_norm, x, gradient(x))
    assert max(found.values()) < TOLERANCE[torch.float32], found


def test_the_check_catches_torch_channels_last():
    """What this module is there for. The figure depends on the kernel, so the bound is loose."""
    x = placed(blob(0.8, shape=(18, 4, 114, 114)), torch.float32, "channels_last", "cpu")
    assert errors(torch.batch_norm, x, gradient(x))["top"] > 100 * TOLERANCE[torch.float32]


def test_the_check_catches_torch_float64():
    """Plain summation of 2e5 entries in float64."""
    x = placed(blob(0.8, shape=(18, 4, 114, 114)), torch.float64, "contiguous", "cpu")
    assert errors(torch.batch_norm, x, gradient(x))["top"] > 10 * TOLERANCE[torch.float64]


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (3, 2, 4, 5, 6), (1, 3, 9, 9), (40, 2, 3, 3)], ids=str)
def test_any_number_of_axes(shape):
    x = blob(0.5, shape=shape)
    for dtype, tolerance in TOLERANCE.items():
        found = errors(exact.batch_norm, x.to(dtype), gradient(x).to(dtype))
        assert max(found.values()) < tolerance, found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_neither_pieces_nor_threads_change_a_bit(layout, monkeypatch):
    x = blob(0.8, shape=(9, 4, 20, 20)).to(memory_format=LAYOUTS[layout])
    found = []
    threads = torch.get_num_threads()
    try:
        for pieces, torch_threads in ((1, 1), (3600, 1), (10**9, 1), (3600, 2)):
            torch.set_num_threads(torch_threads)
            monkeypatch.setitem(exact._PIECE, "cpu", pieces)
            found.append(computed(exact.batch_norm, x, torch.ones(4), torch.zeros(4), gradient(x)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


@pytest.mark.parametrize("far", [False, True], ids=["first guess", "second guess"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_relu_and_the_inputs_memory_change_no_bit(layout, relu, overwrite, far):
    """Against the output, a ReLU of its own, and x kept."""
    x = blob(0.8, shape=(6, 4, 20, 20)).to(memory_format=LAYOUTS[layout])
    if far:
        x[0, :, 0, 0] = x[3, :, 10, 10] = 1e4  # two of the three pixels of the guess
    dy = gradient(x)

    def plain(x, *rest):
        top = exact.batch_norm(x, *rest)
        return top.relu() if relu else top

    def quick(x, *rest):
        own = x * 1
        top = exact.batch_norm(own, *rest, relu=relu, overwrite=overwrite)
        assert (top.data_ptr() == own.data_ptr()) == overwrite
        return top

    parameters = torch.linspace(0.5, 1.0, 4), torch.linspace(-0.5, 0.5, 4)
    want, got = (computed(function, x, *parameters, dy) for function in (plain, quick))
    assert all(torch.equal(got[name], want[name]) for name in want)
    assert (want["top"] < 0).any() != relu


@pytest.mark.parametrize("view", ["slice", "transposed", "expanded gradient", "gradient in the other layout"])
def test_any_strides(view):
    x = blob(0.8, shape=(6, 8, 24, 24))
    dy = gradient(x)
    if view == "slice":
        x, dy = x[:, 2:6, 1:, ::2], dy[:, 2:6, 1:, ::2]
    elif view == "transposed":
        x, dy = x.transpose(2, 3), dy.transpose(2, 3)
    elif view == "expanded gradient":
        dy = torch.full((1, 1, 1, 1), 0.25).expand(x.shape) + 0
        dy = dy[:, :1, :1, :1].expand(x.shape)
    else:
        dy = dy.to(memory_format=torch.channels_last)
    found = errors(exact.batch_norm, x, dy)
    # The gradient of a constant dy is 0: only what is left of it can be compared.
    found = {name: error for name, error in found.items() if view != "expanded gradient" or name in ("top", "dbeta")}
    assert max(found.values()) < TOLERANCE[torch.float32], found


def test_a_constant_channel_gives_beta():
    x = torch.full((4, 2, 9, 9), 0.1)
    top = exact.batch_norm(x, torch.ones(2), torch.tensor([0.25, -1.0]), None, None, True, 0.1, EPS)
    assert torch.equal(top[:, 0], torch.full((4, 9, 9), 0.25)) and torch.equal(top[:, 1], torch.full((4, 9, 9), -1.0))


@pytest.mark.parametrize("affine", [True, False])
def test_gradient_by_differences(affine):
    x = blob(0.5, shape=(3, 2, 3, 3)).double().requires_grad_()
    weights = [torch.tensor([0.7, 1.2]), torch.tensor([0.1, -0.2])] if affine else [None, None]
    weights = [w if w is None else w.double().requires_grad_() for w in weights]

    def function(x, *weights):
        return exact.batch_norm(x, *(weights or (None, None)), None, None, True, 0.1, EPS)

    assert torch.autograd.gradcheck(function, (x, *(w for w in weights if w is not None)))


def test_a_second_backward_is_refused():
    x = blob(0.5, shape=(3, 2, 3, 3)).double().requires_grad_()
    top = exact.batch_norm(x, None, None, None, None, True, 0.1, EPS)
    (dx,) = torch.autograd.grad(top.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


@pytest.mark.parametrize("momentum", [0.1, 0.9, None])
def test_modules_keep_torchs_state(momentum):
    """Same names, same running statistics, same evaluation mode as the class of torch's."""
    ours, theirs = exact.BatchNorm2d(3, momentum=momentum), nn.BatchNorm2d(3, momentum=momentum)
    theirs.load_state_dict(ours.state_dict())
    for seed in range(3):
        x = blob(0.3, shape=(4, 3, 8, 8), seed=seed)
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    state = ours.state_dict()
    assert all(torch.allclose(state[name], value, atol=1e-6) for name, value in theirs.state_dict().items())
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    with pytest.raises(ValueError, match="4D"):
        ours.train()(x[0])
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ours(x[:1, :, :1, :1])


@pytest.mark.parametrize("network", [BNInception, ResNet50Embedding, XbmResNet50, RLLHeads])
def test_backbones_have_no_other_batch_norm(network):
    layers = [m for m in network().modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert layers and all(isinstance(m, exact.BatchNorm1d | exact.BatchNorm2d) for m in layers)
