"""Scale and Bias: broadcast multiplication and addition."""

from __future__ import annotations

from torch import Tensor

from caffe_compat.layers.base import Layer, Shape, canonical_axis
from caffe_compat.layers.checks import Counts


def _operand_shape(layer: Layer, axis: int, num_axes: int) -> Shape:
    """Shape of the parameter: `num_axes` of the bottom's axes from `axis` on; -1: all of them, 0: a scalar."""
    shape = layer.bottom_shapes[0]
    end = len(shape) if num_axes == -1 else axis + num_axes
    if end > len(shape):
        raise ValueError(f"{layer}: axis {axis} and num_axes {num_axes} reach beyond the bottom {shape}")
    return shape[axis:end]


def _broadcast(operand: Tensor, axis: int, ndim: int) -> Tensor:
    return operand.reshape((1,) * axis + tuple(operand.shape) + (1,) * (ndim - axis - operand.ndim))


class Scale(Layer):
    """top = bottom 0 * scale (+ bias); the scale is blob 0, or bottom 1 when there are two bottoms."""

    counts = Counts(bottoms=(1, 2))
    output_is_free = True
    gamma: Tensor
    beta: Tensor
    per_sample = True
    drawn_inside = True

    def setup(self) -> None:
        param = self.message.scale_param
        self.axis = canonical_axis(param.axis, max(1, len(self.bottom_shapes[0])))
        self.bias_term = param.bias_term
        learned = len(self.bottom_shapes) == 1
        shape = _operand_shape(self, self.axis, param.num_axes) if learned else self.bottom_shapes[1]
        self.gamma_blob = learned
        if learned:
            self.add_blob("gamma", shape, param.filler if param.HasField("filler") else 1.0)
        if self.bias_term:
            self.add_blob("beta", shape, param.bias_filler)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0]
        gamma = _broadcast(self.gamma if self.gamma_blob else bottoms[1], self.axis, x.ndim)
        if self.bias_term:
            return (x * gamma + _broadcast(self.beta, self.axis, x.ndim),)
        return (x * gamma,)

    @property
    def per_channel(self) -> bool:
        """Whether it scales channels by parameters, so that BatchNorm can do it on the way."""
        return self.gamma_blob and self.axis == 1 and len(self.blobs[0].shape) == 1


class Bias(Layer):
    """top = bottom 0 + bias; the bias is blob 0, or bottom 1 when there are two bottoms."""

    counts = Counts(bottoms=(1, 2))
    output_is_free = True
    beta: Tensor
    drawn_inside = True

    def setup(self) -> None:
        param = self.message.bias_param
        self.axis = canonical_axis(param.axis, max(1, len(self.bottom_shapes[0])))
        if len(self.bottom_shapes) == 1:
            self.add_blob("beta", _operand_shape(self, self.axis, param.num_axes), param.filler)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        bias = self.beta if len(bottoms) == 1 else bottoms[1]
        return (bottoms[0] + _broadcast(bias, self.axis, bottoms[0].ndim),)


LAYERS: dict[str, type[Layer]] = {"Scale": Scale, "Bias": Bias}
