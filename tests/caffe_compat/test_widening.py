"""The authors' narrow net as the wide PyTorch one: equal outputs, for the images of either."""

from __future__ import annotations

import pytest
import torch

from caffe_compat.widening import for_other_means, widened
from ports.backbones.bn_inception import BNInception

# Sums of up to 5,000 products in float64, in another order because there are zeros among them, through 69 layers with
# BatchNorm: 3.6e-15 of features of size 10 was seen. A weight that is not 0 would change the first digits.
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(7)
    net = BNInception(pool="avg", widths="caffe").double()
    for name, value in net.state_dict().items():
        if "_bn." in name and value.is_floating_point():  # statistics and shifts that are not all 0 and 1
            value.copy_(torch.rand_like(value) * 0.2 + (0.9 if "var" in name or "weight" in name else -0.1))
    return net.eval()


@pytest.fixture(scope="module")
def images():
    return 60 * torch.randn(2, 3, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def wide(state):
    net = BNInception(pool="avg").double()
    net.load_state_dict(state)
    return net.eval()


@torch.no_grad()
def test_the_wide_net_has_the_narrow_nets_outputs(narrow, images):
    want, got = narrow(images), wide(widened(narrow.state_dict()))(images)
    assert float((got - want).abs().max()) <= TOLERANCE * float(want.abs().max())


@torch.no_grad()
def test_a_reader_that_weighs_the_new_channels_is_seen(narrow, images):
    state = widened(narrow.state_dict())
    state["inception_5a_1x1.weight"][:, -1] = 0.1
    assert float((wide(state)(images) - narrow(images)).abs().max()) > 1e-6


def test_the_new_channels_learn(narrow, images):
    """They are copies, not zeros on both sides: the first gradient reaches the weights that read them."""
    net = wide(widened(narrow.state_dict()))
    (net(images) ** 2).sum().backward()
    assert float(net.inception_4d_1x1.weight.grad[:, 576:].abs().max()) > 0
    assert float(net.inception_5a_1x1.weight.grad[:, 1024:].abs().max()) > 0


def test_a_wide_net_is_refused(narrow):
    with pytest.raises(ValueError, match="128 filters, the narrow net has 96"):
        widened(BNInception(pool="avg").state_dict())


@torch.no_grad()
def test_other_means_move_into_the_first_bias(narrow, images):
    """Exact where the convolution does not reach the padding, whose 0 stands for the mean."""
    own, other = (104.0, 117.0, 123.0), (104.0, 117.0, 128.0)
    state = narrow.state_dict()
    moved = for_other_means(state, own, other)
    shifted = images - torch.tensor(other, dtype=torch.float64).sub(torch.tensor(own)).view(3, 1, 1)
    want = torch.nn.functional.conv2d(images, state["conv1_7x7_s2.weight"], state["conv1_7x7_s2.bias"], 2, 3)
    got = torch.nn.functional.conv2d(shifted, moved["conv1_7x7_s2.weight"], moved["conv1_7x7_s2.bias"], 2, 3)
    assert torch.allclose(got[..., 2:-2, 2:-2], want[..., 2:-2, 2:-2], rtol=0, atol=1e-11 * float(want.abs().max()))
    assert not torch.allclose(got, want, rtol=0, atol=1e-3)  # the border: known, not exact
