"""The net that the start is trained as: GoogLeNet with BatchNorm and its three classifiers, and its weights under Caffe's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from caffe_compat.bn_inception import to_caffe
from paper_recipes.nets.bn_inception import AUXILIARY
from ports.backbones import bn_inception
from ports.backbones.bn_inception import BNInception

# Level: channels of the block it hangs on, and the side of its pooled map for 227 pixels (average pooling, 5 x 5, stride 3)
_AUXILIARY = {"L": (576, 4), "M": (1024, 2)}


class _Auxiliary(nn.Module):
    """GoogLeNet's auxiliary classifier: average pooling, 1x1 convolution, 1024 features, classes."""

    def __init__(self, level: str, classes: int) -> None:
        super().__init__()
        channels, self.side = _AUXILIARY[level]
        self.conv = nn.Conv2d(channels, 128, 1, bias=False)
        self.conv_bn = nn.BatchNorm2d(128)
        self.fc = nn.Linear(128 * self.side**2, 1024, bias=False)
        self.fc_bn = nn.BatchNorm1d(1024)
        self.classifier = nn.Linear(1024, classes)

    def features(self, x: Tensor) -> Tensor:
        """(N, 1024) of a block's map. Of smaller pictures than 227 pixels the map is cut into as many parts."""
        pooled = F.avg_pool2d(x, 5, 3, ceil_mode=True)
        if pooled.shape[-1] != self.side:
            pooled = F.adaptive_avg_pool2d(x, self.side)
        x = F.relu(self.conv_bn(self.conv(pooled)))
        return F.relu(self.fc_bn(self.fc(x.flatten(1))))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class StartNet(nn.Module):
    """(N, 3, H, W) -> scores (N, classes) of the three classifiers, by level: "H" (the trunk's own), "M", "L".

    The trunk has the port's BatchNorm, by which the statistics are measured at the end (`finishing.measure_statistics`); it is trained
    by torch's (`with_torch_batch_norm`), as nothing then is compared with Caffe's digits.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk = BNInception(pool="none", widths="caffe", conv_bias=False)
        self.auxiliary = nn.ModuleDict({level: _Auxiliary(level, classes) for level in AUXILIARY})
        self.classifier = nn.Linear(bn_inception.FEATURES, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.trunk.stages(x, ("inception_3c", "inception_4e", "inception_5b"))
        scores = {"H": self.classifier(maps["inception_5b"].mean(dim=(2, 3)))}
        return scores | {level: self.auxiliary[level](maps[source]) for level, (source, _, _) in AUXILIARY.items()}


def with_torch_batch_norm(net: StartNet) -> StartNet:
    """torch's BatchNorm, which is made for bfloat16, in place of the port's; names and values stay."""
    for name, module in list(net.trunk.named_children()):
        if isinstance(module, nn.BatchNorm2d):
            plain = nn.BatchNorm2d(module.num_features, eps=module.eps, momentum=module.momentum)
            plain.load_state_dict(module.state_dict())
            setattr(net.trunk, name, plain)
    return net


@torch.no_grad()
def caffe_layers(net: StartNet) -> dict[str, list[NDArray[Any]]]:
    """Layers of a .caffemodel: the trunk's and the two auxiliary heads' up to their features; no classifier.

    BatchNorm blobs are means, variances and a divisor of 1.
    """
    layers = to_caffe(_with_biases(net.trunk.state_dict()))
    for level, (_, _, prefix) in AUXILIARY.items():
        head: Any = net.auxiliary[level]
        for name, weights, norm in (("conv", head.conv, head.conv_bn), ("fc", head.fc, head.fc_bn)):
            values = [norm.running_mean, norm.running_var, torch.ones(1)]
            layers[f"{prefix}/{name}"] = [weights.weight.numpy()]
            layers[f"{prefix}/{name}/bn"] = [value.numpy() for value in values]
            layers[f"{prefix}/{name}/bn/sc"] = [norm.weight.numpy(), norm.bias.numpy()]
    return {name: [np.array(blob, np.float32) for blob in blobs] for name, blobs in layers.items()}


def _with_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`to_caffe` takes PyTorch's names, whose convolutions have a bias."""
    return state | {
        name.replace(".weight", ".bias"): torch.zeros(len(value))
        for name, value in state.items()
        if value.ndim == 4 and name.endswith(".weight")
    }
