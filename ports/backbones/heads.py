"""Embedding heads of the papers, on feature maps or pooled features.

RLLHeads: three levels of GoogLeNet-BN (`test_concat.prototxt` of the RLL releases). LinearHead: research-ms-loss's
`linear_norm.py` and Deep_Metric's `Embedding`. LayerNormHead: the classification baseline's `featurizer.py`. XBMHead:
`LinearNorm` again, of 128 dimensions (research-xbm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ports.batch_norm import BatchNorm1d, BatchNorm2d

#: level -> the block whose output it reads. The order is that of the concatenation.
RLL_LEVELS: dict[str, str] = {"H": "inception_5b", "L": "inception_3c", "M": "inception_4e"}


class _AuxiliaryHead(nn.Module):
    """Average pool 5x5 stride 3, 1x1 convolution, fully connected layer of 1024, each with BN and ReLU, then the FC."""

    def __init__(self, channels: int, cells: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 128, 1, bias=False)
        self.conv_bn = BatchNorm2d(128, eps=1e-5)
        self.fc = nn.Linear(128 * cells, 1024, bias=False)
        self.fc_bn = BatchNorm1d(1024, eps=1e-5)
        self.embedding = nn.Linear(1024, dim, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """(N, 1024) after the ReLU: OSM + CAA's metric feature on the M level."""
        x = F.avg_pool2d(x, 5, 3, ceil_mode=True)
        x = F.relu(self.conv_bn(self.conv(x)), inplace=True)
        return F.relu(self.fc_bn(self.fc(x.flatten(1))), inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(self.features(x))


class _TopHead(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(channels, dim, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """(N, 1024): the average of each channel (7x7 at the papers' input size)."""
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(self.features(x))


class RLLHeads(nn.Module):
    """RLL's H, L and M heads: block outputs -> {level: raw embedding (N, dim)}, not normalised.

    stages: what `BNInception.stages(x, heads.stages)` returns, for inputs of 224 or 227 pixels.
    channels: channels of 3c and 4e: (576, 1024) for the authors' widths, (576, 1056) for the PyTorch weights.
    dim: 512 (CVPR'19; TPAMI Market-1501), 64 (TPAMI SOP) or 128 (TPAMI In-shop). Embedding layers have Caffe's xavier
    initialisation: uniform, bound sqrt(3 / inputs).
    """

    def __init__(self, dim: int = 512, levels: Iterable[str] = "HLM", channels: tuple[int, int] = (576, 1024)) -> None:
        super().__init__()
        names = list(levels)
        unknown = [name for name in names if name not in RLL_LEVELS]
        if unknown or not names:
            raise ValueError(f"levels={levels!r}: expected some of {', '.join(RLL_LEVELS)}")
        self.levels = tuple(name for name in RLL_LEVELS if name in names)
        self.stages = tuple(RLL_LEVELS[name] for name in self.levels)
        for name in self.levels:
            if name == "H":
                head: nn.Module = _TopHead(1024, dim)
            elif name == "L":
                head = _AuxiliaryHead(channels[0], 16, dim)  # 14x14 -> 4x4
            else:
                head = _AuxiliaryHead(channels[1], 4, dim)  # 7x7 -> 2x2, the windows at the border clipped
            self.add_module(name, head)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                bound = (3 / module.weight[0].numel()) ** 0.5
                nn.init.uniform_(module.weight, -bound, bound)

    def forward(self, stages: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.get_submodule(name)(stages[RLL_LEVELS[name]]) for name in self.levels}


def concat_levels(outputs: Mapping[str, Tensor], levels: Iterable[str] | None = None, eps: float = 0.0) -> Tensor:
    """Raw level outputs side by side in the order given (default: H, L, M), then normalised once. (N, levels x dim).

    The levels are not normalised before they are joined: a level with longer vectors weighs more, as released.
    """
    joined = torch.cat([outputs[name] for name in (levels or [n for n in RLL_LEVELS if n in outputs])], dim=1)
    return joined / (joined.square().sum(1, keepdim=True) + eps).sqrt()


class LinearHead(nn.Module):
    """Linear with bias, then L2 normalisation: (N, in_dim) -> (N, out_dim). research-ms-loss: 1024 -> 512.

    Kaiming normal initialisation (fan out), bias 0. A zero output stays zero (norm clamped at 1e-12); with
    `zero_is_nan` it becomes NaN, as in Deep_Metric's `Embedding`, which divides by the bare norm.
    """

    def __init__(self, in_dim: int = 1024, out_dim: int = 512, *, zero_is_nan: bool = False) -> None:
        super().__init__()
        self.zero_is_nan = zero_is_nan
        self.fc = nn.Linear(in_dim, out_dim)
        nn.init.kaiming_normal_(self.fc.weight, mode="fan_out")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return x / x.norm(dim=1, keepdim=True) if self.zero_is_nan else F.normalize(x, dim=1, eps=1e-12)


class XBMHead(LinearHead):
    """research-xbm's head: `LinearHead` with 128 dimensions, the size that its memory is hard-coded to."""

    def __init__(self, in_dim: int = 1024, out_dim: int = 128) -> None:
        super().__init__(in_dim, out_dim)


class LayerNormHead(nn.Module):
    """The classification baseline's head: pool (N, C, h, w), LayerNorm, projection, L2 -> (N, out_dim).

    LayerNorm has no affine parameters (eps 1e-5, biased variance). The projection (no bias) exists only where `out_dim`
    differs from `in_dim`, as released.
    """

    def __init__(self, in_dim: int = 2048, out_dim: int = 2048) -> None:
        super().__init__()
        self.standardize = nn.LayerNorm(in_dim, elementwise_affine=False)
        self.remap = nn.Linear(in_dim, out_dim, bias=False) if out_dim != in_dim else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.standardize(x.mean(dim=(2, 3)) if x.ndim == 4 else x)
        if self.remap is not None:
            x = self.remap(x)
        return F.normalize(x, dim=1)
