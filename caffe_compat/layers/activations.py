"""Element-wise layers: activations, powers, dropout."""

from __future__ import annotations

from math import exp, log

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer
from ports.float32 import f32


class ReLU(Layer):
    """max(x, 0) + negative_slope * min(x, 0); the slope also applies at x = 0, as in Caffe."""

    per_sample = True
    drawn_inside = True

    def setup(self) -> None:
        self.slope = f32(self.message.relu_param.negative_slope)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (F.leaky_relu(bottoms[0], self.slope) if self.slope else F.relu(bottoms[0]),)

    def overwrite(self, bottom: Tensor) -> tuple[Tensor]:
        """`forward` in the bottom's own memory."""
        if self.slope < 0:  # the sign of the result would not tell the sign of the bottom
            return (F.leaky_relu(bottom, self.slope),)
        return (F.leaky_relu_(bottom, self.slope) if self.slope else F.relu_(bottom),)


class PReLU(Layer):
    """ReLU with a learned slope per channel (filler 0.25 by default), or one for all with `channel_shared`."""

    slope: Tensor
    per_sample = True
    drawn_inside = True

    def setup(self) -> None:
        param = self.message.prelu_param
        shape = () if param.channel_shared else (self.bottom_shapes[0][1],)
        self.add_blob("slope", shape, param.filler if param.HasField("filler") else 0.25)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (F.prelu(bottoms[0], self.slope.reshape(-1)),)


class ELU(Layer):
    per_sample = True
    drawn_inside = True

    def setup(self) -> None:
        self.alpha = f32(self.message.elu_param.alpha)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (F.elu(bottoms[0], self.alpha),)


class Sigmoid(Layer):
    per_sample = True
    drawn_inside = True

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].sigmoid(),)


class TanH(Layer):
    per_sample = True
    drawn_inside = True

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].tanh(),)


class AbsVal(Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].abs(),)


class BNLL(Layer):
    """log(1 + exp(x))."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (torch.logaddexp(bottoms[0], torch.zeros_like(bottoms[0])),)


class Swish(Layer):
    """x * sigmoid(beta * x)."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0] * (f32(self.message.swish_param.beta) * bottoms[0]).sigmoid(),)


class Clip(Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].clamp(f32(self.message.clip_param.min), f32(self.message.clip_param.max)),)


class Threshold(Layer):
    """1 where x > threshold, else 0; no gradient."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ((bottoms[0] > f32(self.message.threshold_param.threshold)).to(bottoms[0].dtype),)


class Power(Layer):
    """(shift + scale * x) ^ power."""

    drawn_inside = True

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.message.power_param
        power, inner = f32(param.power), bottoms[0] * f32(param.scale) + f32(param.shift)
        if power == 0:  # also the derivative of 0 ^ 0 is 0
            return (torch.ones_like(inner) + 0 * bottoms[0],)
        return (inner if power == 1 else inner.pow(power),)


def _log_base(layer: Layer, base: float) -> float:
    """Natural logarithm of `base`; -1 stands for e."""
    if base != -1 and base <= 0:
        raise ValueError(f"{layer}: base {base} must be positive, or -1 for e")
    return 1.0 if base == -1 else log(base)


class Exp(Layer):
    """base ^ (shift + scale * x)."""

    def setup(self) -> None:
        param = self.message.exp_param
        log_base = _log_base(self, f32(param.base))
        self.inner = log_base * f32(param.scale)
        self.outer = exp(log_base * f32(param.shift))

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.outer * (self.inner * bottoms[0]).exp(),)


class Log(Layer):
    """log_base(shift + scale * x)."""

    def setup(self) -> None:
        param = self.message.log_param
        self.factor = 1.0 / _log_base(self, f32(param.base))
        self.scale, self.shift = f32(param.scale), f32(param.shift)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.factor * (self.scale * bottoms[0] + self.shift).log(),)


class Dropout(Layer):
    """TRAIN keeps each value with probability 1 - dropout_ratio and divides by it; TEST passes through.

    The forks' `scale_train: false` moves the factor to TEST. The random numbers are torch's, not Caffe's.
    """

    per_sample = True
    drawn_inside = True

    def setup(self) -> None:
        param = self.message.dropout_param
        self.ratio = f32(param.dropout_ratio)
        if not 0 <= self.ratio < 1:
            raise ValueError(f"{self}: dropout_ratio {self.ratio} must be in [0, 1)")
        self.scale_train = getattr(param, "scale_train", True)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        keep = 1 - self.ratio
        if self.phase == "TEST":
            return (bottoms[0] if self.scale_train else bottoms[0] * keep,)
        if self.ratio == 0:
            return (bottoms[0],)
        top = F.dropout(bottoms[0], self.ratio, training=True)
        return (top if self.scale_train else top * keep,)


LAYERS: dict[str, type[Layer]] = {
    "ReLU": ReLU,
    "PReLU": PReLU,
    "ELU": ELU,
    "Sigmoid": Sigmoid,
    "TanH": TanH,
    "AbsVal": AbsVal,
    "BNLL": BNLL,
    "Swish": Swish,
    "Clip": Clip,
    "Threshold": Threshold,
    "Power": Power,
    "Exp": Exp,
    "Log": Log,
    "Dropout": Dropout,
}
