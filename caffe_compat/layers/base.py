"""What every Caffe layer is here: an nn.Module built from its LayerParameter message."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from caffe_compat.layers.checks import Counts, check_memory, check_size
from caffe_compat.layers.fillers import fill
from ports.float32 import f32

Shape = tuple[int, ...]


def canonical_axis(axis: int, ndim: int) -> int:
    """Caffe's CanonicalAxisIndex: negative axes count from the end; raises ValueError outside the blob."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} is outside a blob with {ndim} axes")
    return axis % ndim


def enum_name(message: Any, field: str) -> str:
    """Name of an enum field's value: forks number the same names differently."""
    return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name


def geometry(kernel: Sequence[int], stride: Sequence[int], group: int = 1) -> str:
    """Kernel, stride and group as a picture says them, where they say something: " 3x3 /2 group 2"."""
    if not kernel:
        return ""
    text = " " + "x".join(map(str, kernel if len(kernel) > 1 else [*kernel, *kernel]))
    if stride and stride[0] != 1:
        text += f" /{stride[0]}"
    return text + (f" group {group}" if group != 1 else "")


class Layer(nn.Module):
    """One layer of a net.

    Args:
        message: the LayerParameter (any object with its fields; a protobuf message in practice).
        bottom_shapes: shapes of the bottoms as declared; parameters take their shapes from them. `forward` accepts any
            batch size (and any height and width where the layer's parameters allow it).
        dialect: `bvlc`, `rll_cvpr19`, `rll_tpami` or `osm_aaai19`; decides where the forks compute different things.
        phase: `TRAIN` or `TEST`. It is a fact of the prototxt, not `nn.Module.training`.

    A subclass sets up its parameters in `setup` (with `add_blob`), says its tops' shapes in `top_shapes` and computes
    them in `forward(*bottoms) -> tuple of tops`. Autograd through `forward` gives what Caffe's Backward gives.
    """

    #: bottoms and tops by Caffe's header; `counts_in` where the forks differ or a parameter decides.
    counts = Counts()
    #: Caffe refuses a top over its own bottom in layers that only look at the same memory.
    may_be_in_place = True
    #: a loss layer's first top has loss_weight 1 unless the prototxt says otherwise, and is a scalar.
    is_loss = False
    #: the output is not needed by this layer's backward, so a following layer may overwrite it.
    output_is_free = False
    #: each sample's top depends on that sample alone, so several processes may compute a part of the batch each (a
    #: BatchNorm's statistics apart: whose they are is the run's choice).
    per_sample = False
    #: a picture of the net draws the layer inside the box of the one that it follows alone.
    drawn_inside = False
    #: of the layer's box in such a picture.
    colour = "#ffffff"

    def __init__(
        self, message: Any, bottom_shapes: Sequence[Shape], *, dialect: str = "bvlc", phase: str = "TEST"
    ) -> None:
        super().__init__()
        self.message = message
        self.layer_name: str = message.name
        self.layer_type: str = message.type
        self.bottom_shapes: list[Shape] = [tuple(s) for s in bottom_shapes]
        self.dialect = dialect
        self.phase = phase
        self.blob_names: list[str] = []
        self.fillers: dict[str, Any] = {}
        self.setup()

    # -- for subclasses

    @classmethod
    def counts_in(cls, dialect: str, message: Any) -> Counts:
        """How many bottoms and tops the layer takes in a dialect."""
        return cls.counts

    def setup(self) -> None:
        """Read the hyper-parameters and add the parameter blobs."""

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        """Shapes of the tops for bottoms of these shapes. Element-wise layers need not say anything."""
        if self.is_loss:
            return [()] * max(1, len(self.message.top))
        return [tuple(bottom_shapes[0])] * max(1, len(self.message.top))

    @classmethod
    def described(cls, message: Any) -> str:
        """What a picture of the net says beside the type, such as " 3x3 /2"."""
        return ""

    def add_blob(self, name: str, shape: Shape, filler: Any = 0.0, *, statistic: bool = False) -> None:
        """Append a parameter blob. `filler` is a FillerParameter message or a constant.

        A `statistic` (BatchNorm's running sums) is a buffer: it has no gradient. It is still one of Caffe's blobs.
        """
        check_size(shape, f"{self}: its {name}")
        check_memory(prod(shape), f"{self}: its {name}")
        try:
            tensor = torch.zeros(shape)
        except (RuntimeError, MemoryError):  # torch's allocator says it as RuntimeError
            raise ValueError(f"{self}: its {name} of shape {tuple(shape)} cannot be allocated") from None
        if statistic:
            self.register_buffer(name, tensor)
        else:
            self.register_parameter(name, nn.Parameter(tensor))
        self.blob_names.append(name)
        self.fillers[name] = filler

    # -- for the net and the solver

    @property
    def blobs(self) -> list[Tensor]:
        """The parameter blobs in Caffe's order (as in a .caffemodel); shared ones are the owner's tensors."""
        return [getattr(self, name) for name in self.blob_names]

    def fill(self, generator: torch.Generator | None = None) -> None:
        """Initialise the blobs with their fillers."""
        for name, filler in self.fillers.items():
            blob = getattr(self, name)
            with torch.no_grad():
                if isinstance(filler, float):
                    blob.fill_(filler)
                else:
                    fill(blob, filler, generator)

    def multipliers(self, index: int) -> tuple[float, float]:
        """(lr_mult, decay_mult) of blob `index`; 1 and 1 where the prototxt has no `param` for it."""
        if index < len(self.message.param):
            spec = self.message.param[index]
            return f32(spec.lr_mult), f32(spec.decay_mult)
        return 1.0, 1.0

    def loss_weights(self) -> list[float]:
        """One weight per top, as Caffe sets them: 1 for a loss layer's first top by default, else 0."""
        weights = [f32(w) for w in self.message.loss_weight]
        count = max(len(self.message.top), int(self.is_loss))
        if not weights:
            weights = [1.0 if self.is_loss and i == 0 else 0.0 for i in range(count)]
        if len(weights) != count:
            raise ValueError(f"{self}: {len(weights)} loss_weight for {count} tops")
        return weights

    def extra_repr(self) -> str:
        return f'name="{self.layer_name}", type="{self.layer_type}", dialect="{self.dialect}", phase="{self.phase}"'

    def __str__(self) -> str:
        return f'layer "{self.layer_name}" ({self.layer_type})'


class LossLayer(Layer):
    """A layer whose first top is a scalar that training minimises. Without a top Caffe gives it one without a name."""

    is_loss = True
    colour = "#f4cccc"
    counts = Counts(bottoms=(2, 2))

    def __init__(self, message: Any, bottom_shapes: Sequence[Shape], **options: str) -> None:
        super().__init__(message, bottom_shapes, **options)
        first, second = self.bottom_shapes[0], self.bottom_shapes[1]
        if first[:1] != second[:1]:
            raise ValueError(f"{self}: bottoms {first} and {second} differ in the number of samples")
