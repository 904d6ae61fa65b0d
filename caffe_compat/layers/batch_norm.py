"""BatchNorm: normalisation with Caffe's un-normalised running sums (batch_norm_layer.cpp)."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe_compat.layers.base import Layer
from ports.batch_norm import batch_norm
from ports.float32 import f32


class BatchNorm(Layer):
    """(x - mean) / sqrt(var + eps) per channel; the affine part is a Scale layer of its own.

    Blobs: sum of means (C,), sum of unbiased variances (C,), their weight (1,). Each training forward does
    `weight = fraction * weight + 1`, `means = fraction * means + mean`,
    `variances = fraction * variances + m / (m - 1) * var`
    with m = N * H * W (factor 1 when m = 1); TEST uses the quotients, or 0 while the weight is 0.
    `use_global_stats` overrides the phase. In the rll forks the solver treats the three blobs as parameters (lr_mult 1,
    decay_mult 1: weight decay shrinks them); osm_aaai19 and bvlc pin lr_mult to 0.
    """

    output_is_free = True
    #: computes batch statistics; training over several processes puts one of its own here, for the statistics of all.
    batch_norm = staticmethod(batch_norm)
    mean_sum: Tensor
    variance_sum: Tensor
    weight_sum: Tensor
    per_sample = True
    drawn_inside = True

    def setup(self) -> None:
        param = self.message.batch_norm_param
        shape = self.bottom_shapes[0]
        channels = 1 if len(shape) == 1 else shape[1]
        self.channels = channels
        self.eps = f32(param.eps)
        self.fraction = f32(param.moving_average_fraction)
        self.use_global_stats = param.use_global_stats if param.HasField("use_global_stats") else self.phase == "TEST"
        self.add_blob("mean_sum", (channels,), statistic=True)
        self.add_blob("variance_sum", (channels,), statistic=True)
        self.add_blob("weight_sum", (1,), statistic=True)
        if self.pins_statistics:
            for i, spec in enumerate(self.message.param):
                if spec.HasField("lr_mult") and spec.lr_mult != 0:
                    raise ValueError(
                        f"{self}: lr_mult {spec.lr_mult} for statistics blob {i}; must be 0 in {self.dialect}"
                    )

    @property
    def pins_statistics(self) -> bool:
        return self.dialect not in ("rll_cvpr19", "rll_tpami")

    def multipliers(self, index: int) -> tuple[float, float]:
        lr_mult, decay_mult = super().multipliers(index)
        return (0.0 if self.pins_statistics else lr_mult), decay_mult

    def global_statistics(self) -> tuple[Tensor, Tensor]:
        """(mean, variance) that TEST uses."""
        weight = self.weight_sum
        factor = torch.where(weight == 0, torch.zeros_like(weight), 1 / weight)
        return self.mean_sum * factor, self.variance_sum * factor

    def normalize(
        self,
        x: Tensor,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        relu: bool = False,
        overwrite: bool = False,
    ) -> Tensor:
        """BatchNorm and a following Scale in one call: what `forward` computes, times gamma, plus beta.

        relu: then max(that, 0). overwrite: x is not needed any more and its memory may be used.
        """
        if self.use_global_stats:
            return self.normalized(x, gamma, beta, relu=relu)
        # Where batch_norm leaves the batch's mean and unbiased variance.
        mean, variance = self.mean_sum.new_zeros(2, self.channels)
        top = self.normalized(x, gamma, beta, mean, variance, relu, overwrite)
        with torch.no_grad():
            self.weight_sum.mul_(self.fraction).add_(1)
            self.mean_sum.mul_(self.fraction).add_(mean)
            self.variance_sum.mul_(self.fraction).add_(variance)
        return top

    def normalized(
        self,
        x: Tensor,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        mean: Tensor | None = None,
        variance: Tensor | None = None,
        relu: bool = False,
        overwrite: bool = False,
    ) -> Tensor:
        """`normalize` without adding to the running sums; the batch's statistics go to `mean` and `variance`."""
        if x.ndim == 1:
            return self.normalized(x[:, None], gamma, beta, mean, variance, relu)[:, 0]
        cudnn = torch.backends.cudnn.enabled
        if self.use_global_stats:
            mean, variance = self.global_statistics()
            return self.batch_norm(x, gamma, beta, mean, variance, False, 0.0, self.eps, cudnn, relu=relu)
        if x.numel() > self.channels:
            # momentum 1 makes batch_norm store this batch's statistics instead of a running average.
            return self.batch_norm(
                x, gamma, beta, mean, variance, True, 1.0, self.eps, cudnn, relu=relu, overwrite=overwrite
            )
        # One value per channel: exactly 0, and 0 / (m - 1) has no variance. torch would return rounding noise.
        if mean is not None:
            mean.copy_(x.detach().reshape(-1))
        column = (1, -1, *(1,) * (x.ndim - 2))
        top = x - x if gamma is None else (x - x) * gamma.reshape(column)
        top = top if beta is None else top + beta.reshape(column)
        return top.relu() if relu else top

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.normalize(bottoms[0]),)


LAYERS: dict[str, type[Layer]] = {"BatchNorm": BatchNorm}
