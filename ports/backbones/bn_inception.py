"""BN-Inception (GoogLeNet with batch normalisation) under the parameter names of the common PyTorch weights.

The three Python originals (`ret_benchmark/modeling/backbone/bninception.py` of research-ms-loss,
`pretrainedmodels/models/bninception.py` of Cadene's collection, `models/BN_Inception.py` of Deep_Metric) compute
bit-identical features; they differ only in the pooling and in the layer after it. Batch normalisation: Ioffe & Szegedy,
"Batch Normalization", 2015 (the Inception table in its appendix).

Names are flat (`inception_3a_3x3_reduce_bn.weight`), so that `bn_inception-52deb4733.pth` loads as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ports.batch_norm import BatchNorm2d


class Block(NamedTuple):
    """One inception block: widths of its branches. A width of 0 means that the block has no such branch."""

    name: str
    inputs: int
    one: int  # 1x1
    reduce: int  # 1x1 in front of the 3x3
    three: int  # 3x3
    double_reduce: int  # 1x1 in front of the two 3x3
    double: int  # both 3x3 of the double branch
    pool: str  # "avg" or "max"
    projection: int  # 1x1 after the pool; 0: the pooled input passes through
    stride: int = 1

    @property
    def outputs(self) -> int:
        return self.one + self.three + self.double + (self.projection or self.inputs)


BLOCKS: tuple[Block, ...] = (
    Block("inception_3a", 192, 64, 64, 64, 64, 96, "avg", 32),
    Block("inception_3b", 256, 64, 64, 96, 64, 96, "avg", 64),
    Block("inception_3c", 320, 0, 128, 160, 64, 96, "max", 0, stride=2),
    Block("inception_4a", 576, 224, 64, 96, 96, 128, "avg", 128),
    Block("inception_4b", 576, 192, 96, 128, 96, 128, "avg", 128),
    Block("inception_4c", 576, 160, 128, 160, 128, 160, "avg", 128),
    Block("inception_4d", 608, 96, 128, 192, 160, 192, "avg", 128),
    Block("inception_4e", 608, 0, 128, 192, 192, 256, "max", 0, stride=2),
    Block("inception_5a", 1056, 352, 192, 320, 160, 224, "avg", 128),
    Block("inception_5b", 1024, 352, 192, 320, 192, 224, "max", 128),
)
#: The authors' GoogLeNet-BN (Caffe nets of RLL and OSM + CAA) is narrower at 4c and 4d than the PyTorch weights, and has
#: no convolution bias: weights of one do not fit the other.
CAFFE_BLOCKS: tuple[Block, ...] = (
    *BLOCKS[:5],
    Block("inception_4c", 576, 160, 128, 160, 128, 160, "avg", 96),
    Block("inception_4d", 576, 96, 128, 192, 160, 192, "avg", 96),
    Block("inception_4e", 576, 0, 128, 192, 192, 256, "max", 0, stride=2),
    Block("inception_5a", 1024, 352, 192, 320, 160, 224, "avg", 128),
    BLOCKS[9],
)
WIDTHS: dict[str, tuple[Block, ...]] = {"pytorch": BLOCKS, "caffe": CAFFE_BLOCKS}
FEATURES = BLOCKS[-1].outputs  # 1024


def widths_of(state: Mapping[str, Tensor]) -> str:
    """Which net a state dict belongs to, "pytorch" or "caffe". Raises KeyError without `inception_4c_pool_proj.weight`."""
    rows = state["inception_4c_pool_proj.weight"].shape[0]
    return "caffe" if rows == CAFFE_BLOCKS[5].projection else "pytorch"


class BNInception(nn.Module):
    """BN-Inception, (N, 3, H, W) -> (N, 1024), or (N, num_classes) when `num_classes` is given.

    Inputs are what the weights were trained on: BGR, 0-255, minus the channel means, 224 or 227 pixels wide.

    pool: "max" (research-ms-loss and Deep_Metric), "avg" (Cadene's classifier) or "none", which returns the
        (N, 1024, h, w) map.
    num_classes: adds `last_linear`, which Cadene's weights carry (1000 classes).
    freeze_bn: BN layers stay in evaluation mode while the rest trains; gamma and beta are still trained, as
        `set_bn_eval` does in research-ms-loss and Deep_Metric.
    conv_bias: convolutions carry a bias, as the PyTorch weights do (a Caffe net's have none). In front of a BN layer in
        training mode a bias has no effect; with frozen statistics it has.
    bn_momentum: share of the new batch in the running statistics: 0.1; Deep_Metric has 0.9.
    widths: "pytorch" for the common weights, "caffe" for the authors' GoogLeNet-BN (with conv_bias=False).
    """

    def __init__(
        self,
        *,
        pool: str = "max",
        num_classes: int | None = None,
        freeze_bn: bool = False,
        conv_bias: bool = True,
        bn_momentum: float = 0.1,
        widths: str = "pytorch",
    ) -> None:
        super().__init__()
        if widths not in WIDTHS:
            raise ValueError(f"widths={widths!r}: expected one of {', '.join(WIDTHS)}")
        if pool not in ("max", "avg", "none"):
            raise ValueError(f"pool={pool!r}: expected 'max', 'avg' or 'none'")
        if pool == "none" and num_classes is not None:
            raise ValueError("num_classes needs a pooled feature: pool='avg' or 'max', not 'none'")
        self.pool = pool
        self.freeze_bn = freeze_bn
        self.conv_bias = conv_bias
        self.bn_momentum = bn_momentum
        self.widths = widths
        self.blocks = WIDTHS[widths]
        self.channels = {block.name: block.outputs for block in self.blocks}
        self._add("conv1_7x7_s2", 3, 64, 7, 2)
        self._add("conv2_3x3_reduce", 64, 64, 1)
        self._add("conv2_3x3", 64, 192, 3)
        for block in self.blocks:
            name, inputs = block.name, block.inputs
            if block.one:
                self._add(f"{name}_1x1", inputs, block.one, 1)
            self._add(f"{name}_3x3_reduce", inputs, block.reduce, 1)
            self._add(f"{name}_3x3", block.reduce, block.three, 3, block.stride)
            self._add(f"{name}_double_3x3_reduce", inputs, block.double_reduce, 1)
            self._add(f"{name}_double_3x3_1", block.double_reduce, block.double, 3)
            self._add(f"{name}_double_3x3_2", block.double, block.double, 3, block.stride)
            if block.projection:
                self._add(f"{name}_pool_proj", inputs, block.projection, 1)
        if num_classes is not None:
            self.last_linear = nn.Linear(FEATURES, num_classes)
        self.num_classes = num_classes
        self.train()

    def _add(self, name: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=self.conv_bias))
        self.add_module(f"{name}_bn", BatchNorm2d(outputs, eps=1e-5, momentum=self.bn_momentum))

    def _unit(self, name: str, x: Tensor) -> Tensor:
        x = self.get_submodule(name)(x)
        # In place, as in the originals: backward then needs the output only.
        return F.relu(self.get_submodule(f"{name}_bn")(x), inplace=True)

    def _block(self, block: Block, x: Tensor) -> Tensor:
        name = block.name
        branches = [self._unit(f"{name}_1x1", x)] if block.one else []
        branches.append(self._unit(f"{name}_3x3", self._unit(f"{name}_3x3_reduce", x)))
        double = self._unit(f"{name}_double_3x3_1", self._unit(f"{name}_double_3x3_reduce", x))
        branches.append(self._unit(f"{name}_double_3x3_2", double))
        if block.stride == 2:
            branches.append(F.max_pool2d(x, 3, 2, ceil_mode=True))
        elif block.pool == "max":
            branches.append(self._unit(f"{name}_pool_proj", F.max_pool2d(x, 3, 1, 1, ceil_mode=True)))
        else:
            pooled = F.avg_pool2d(x, 3, 1, 1, ceil_mode=True, count_include_pad=True)
            branches.append(self._unit(f"{name}_pool_proj", pooled))
        return torch.cat(branches, dim=1)

    def stages(self, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Outputs (N, C, h, w) of the named blocks ("inception_3c", ...); runs no further than the last of them.

        RLL's heads take 3c, 4e and 5b. Raises ValueError for a name that is no block.
        """
        wanted = set(names)
        unknown = sorted(wanted - self.channels.keys())
        if unknown:
            raise ValueError(f"BN-Inception has no block {unknown[0]!r}; its blocks are {', '.join(self.channels)}")
        found: dict[str, Tensor] = {}
        x = F.max_pool2d(self._unit("conv1_7x7_s2", x), 3, 2, ceil_mode=True)
        x = self._unit("conv2_3x3", self._unit("conv2_3x3_reduce", x))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for block in self.blocks:
            if len(found) == len(wanted):
                break
            x = self._block(block, x)
            if block.name in wanted:
                found[block.name] = x
        return found

    def features(self, x: Tensor) -> Tensor:
        """The last map, (N, 1024, h, w); h = w = 7 for inputs of 224 or 227 pixels."""
        return self.stages(x, ("inception_5b",))["inception_5b"]

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        if self.pool == "none":
            return x
        # amax and not adaptive_max_pool2d, which has no deterministic backward on CUDA. They differ in the gradient of
        # exact ties, which after a ReLU are zeros and get none.
        x = x.amax(dim=(2, 3)) if self.pool == "max" else x.mean(dim=(2, 3))
        return x if self.num_classes is None else self.last_linear(x)

    def train(self, mode: bool = True) -> BNInception:
        """Training mode; BN layers stay in evaluation mode when `freeze_bn` is set."""
        super().train(mode)
        if mode and self.freeze_bn:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self
