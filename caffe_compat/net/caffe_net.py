"""CaffeNet: a prototxt as an nn.Module that computes, forward and backward, what Caffe computes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from caffe_compat.errors import CaffeFormatError, DialectError
from caffe_compat.formats.caffemodel import LayerWeights, read_layers, write_caffemodel
from caffe_compat.formats.prototxt import filter_net, read_net, upgrade_net
from caffe_compat.formats.text import layers_placed
from caffe_compat.layers import Layer
from caffe_compat.net.blobs import Blobs
from caffe_compat.net.plan import Plan, Step, make_plan
from caffe_compat.net.weights import LoadReport, copy_weights
from caffe_compat.schema import dialect_of


class LearnableBlob(NamedTuple):
    """One of the parameter blobs that Caffe's solver updates."""

    layer: str
    blob: int
    tensor: Tensor
    lr_mult: float
    decay_mult: float


def load_net(
    prototxt: str | Path | Any,
    weights: str | Path | Mapping[str, Sequence[NDArray[Any]]] | None = None,
    *,
    phase: str = "TEST",
    dialect: str | None = None,
    level: int | None = None,
    stages: Sequence[str] = (),
    inputs: Mapping[str, Sequence[int]] | None = None,
    rename: Mapping[str, str | None] | None = None,
    generator: torch.Generator | None = None,
) -> CaffeNet:
    """Build a net from a prototxt.

    Args:
        prototxt: path of the prototxt, its text, or a NetParameter message.
        weights: .caffemodel or .caffemodel.h5 to load, or its content (layer name -> arrays). Without it the blobs hold
            what their fillers give.
        phase: "TRAIN" or "TEST": which layers exist, and how BatchNorm and Dropout behave. `train()` and `eval()` do
            not change it.
        dialect: Caffe fork that the net was written for; None: detected, an error where that is impossible.
        level, stages: further state that include and exclude rules ask for. The net's own `state` keeps its stages, these
            are added; a level given here replaces its level.
        inputs: shapes by blob name for inputs and for the tops of data layers, such as
            `{"data": (32, 3, 227, 227), "label": (32,)}`: a train_val file whose data layers give no shape needs them.
        rename: fields to read under another name, see `caffe_compat.formats.prototxt.read_net`.
        generator: random numbers for the fillers; torch's global ones by default.

    Raises:
        CaffeFormatError: unreadable prototxt, or layers that do not fit together.
        UnsupportedLayerError: a layer type that is not computed here, or not known to the dialect.
        DialectError: the net's meaning depends on the fork, and it was not given.
    """
    if isinstance(prototxt, str | Path):
        message = read_net(prototxt, dialect=dialect, rename=rename)
    else:
        message = prototxt
        if dialect not in (None, dialect_of(message)):
            raise DialectError(f"the message was parsed as {dialect_of(message)}, not as {dialect}")
    with layers_placed(prototxt):
        net = CaffeNet(message, phase=phase, level=level, stages=stages, inputs=inputs, generator=generator)
    if weights is not None:
        report = net.load_caffemodel(weights)
        if report.only_in_file or report.only_in_net:
            warnings.warn(str(report), stacklevel=2)
    return net


class CaffeNet(nn.Module):
    """A net of Caffe layers. Built by `load_net`.

    `net(**inputs)` takes the input blobs by name (tensors or arrays, any batch size; a blob declared (N, 1, 1, 1) also
    as (N,)), runs all layers and returns the output blobs: tops that no layer consumes. Afterwards `blobs` holds every
    blob by name and `loss()` the weighted sum of the loss tops; `net.loss().backward()` does what Caffe's Backward does.
    A blob that an in-place layer overwrites holds the last value, as in Caffe.

    Attributes:
        dialect, phase: what the net was built for.
        message: the NetParameter after upgrades and phase rules.
        inputs: declared shape of each input blob.
        layers: the layers in order.
        keep_blobs: False drops blobs that are no longer needed during the forward (large evaluation batches); `blobs`
            then holds inputs and outputs only.
    """

    blobs: Blobs

    def __init__(
        self,
        message: Any,
        *,
        phase: str = "TEST",
        level: int | None = None,
        stages: Sequence[str] = (),
        inputs: Mapping[str, Sequence[int]] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.dialect = dialect_of(message)
        self.phase = phase
        self.message = filter_net(upgrade_net(message), phase=phase, level=level, stages=stages)
        given = {name: tuple(int(n) for n in shape) for name, shape in (inputs or {}).items()}
        self.plan: Plan = make_plan(self.message, self.dialect, phase, given)
        self.inputs = self.plan.inputs
        self.layers = nn.ModuleList(self.plan.layers)
        self.keep_blobs = True
        self._clear()
        for layer in self.plan.layers:
            try:
                layer.fill(generator)
            except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
                raise CaffeFormatError(f"{layer}: {error}") from error
        self._tie()
        for blob in self.learnable:
            if isinstance(blob.tensor, nn.Parameter):
                blob.tensor.requires_grad_(blob.lr_mult != 0)

    # -- parameters

    @property
    def learnable(self) -> list[LearnableBlob]:
        """The parameter blobs in Caffe's order, shared ones once, with the solver's multipliers."""
        found = []
        for spec in self.plan.learnable:
            layer: Layer = self.plan.layers[spec.layer]
            tensor = layer.blobs[spec.blob]
            found.append(LearnableBlob(layer.layer_name, spec.blob, tensor, spec.lr_mult, spec.decay_mult))
        return found

    @property
    def params(self) -> dict[str, list[Tensor]]:
        """Layer name -> its blobs in Caffe's order, for the layers that have any; of two of one name, the last."""
        return {layer.layer_name: layer.blobs for layer in self.plan.layers if layer.blob_names}

    def load_caffemodel(self, weights: str | Path | Mapping[str, Sequence[NDArray[Any]]]) -> LoadReport:
        """Copy weights by layer name, as Caffe does; returns which layers were loaded and which are in one only.

        Raises CaffeFormatError naming layer, blob and both shapes where they differ; then nothing was copied.
        """
        if isinstance(weights, str | Path):
            found = [(layer.name, layer.blobs) for layer in read_layers(weights) if layer.blobs]
            return copy_weights(self.plan.layers, found, file=weights)
        return copy_weights(self.plan.layers, list(weights.items()))

    def save_caffemodel(self, path: str | Path) -> None:
        """Write the net with its weights as Caffe's snapshot does; HDF5 when the name ends in .h5."""
        layers = [
            LayerWeights(layer.layer_name, layer.layer_type, [b.detach().cpu().numpy() for b in layer.blobs])
            for layer in self.plan.layers
            if layer.blob_names
        ]
        write_caffemodel(path, layers, net=self.message)

    # -- computing

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        blobs = self._take_inputs(inputs)
        self._clear()
        last_use = None if self.keep_blobs else self.plan.last_use
        lazy = Blobs(blobs)
        for index, step in enumerate(self.plan.steps):
            self._run(step, lazy)
            if last_use is not None:
                for name in last_use[index]:
                    lazy.drop(name)
        self.blobs = lazy
        return {name: lazy[name] for name in self.plan.outputs}

    def _run(self, step: Step, blobs: Blobs) -> None:
        layer = step.layer
        bottoms = [blobs[name] for name in step.bottoms]
        bottoms = [b if down else b.detach() for b, down in zip(bottoms, step.propagate_down)]
        try:
            if step.fused_scale is not None:
                scale = step.fused_scale
                x = bottoms[0]
                blobs.defer(step.tops[0], _unfused(layer, x))
                blobs[step.fused_top] = layer.normalize(
                    x,
                    scale.gamma,
                    scale.beta if scale.bias_term else None,
                    relu=step.fused_relu,
                    overwrite=step.bottom_is_free and not self.keep_blobs,
                )
                return
            tops = layer.overwrite(bottoms[0]) if step.in_place else layer(*bottoms)
        except (RuntimeError, ValueError, IndexError) as error:
            shapes = ", ".join(f"{name} {tuple(b.shape)}" for name, b in zip(step.bottoms, bottoms))
            place = "" if str(layer) in str(error) else f"{layer}: "
            raise type(error)(f"{place}{error} [bottoms: {shapes}]") from error
        for name, top, weight in zip(step.tops, tops, step.loss_weights):
            blobs[name] = top
            if weight:
                self._losses.append((name, weight, top))

    def loss(self) -> Tensor:
        """Weighted sum of the loss tops of the last forward; a zero where there are none."""
        total: Tensor | None = None
        for _, weight, top in self._losses:
            term = top.sum() if weight == 1 else weight * top.sum()
            total = term if total is None else total + term
        return torch.zeros(()) if total is None else total

    def losses(self) -> dict[str, Tensor]:
        """The loss tops of the last forward by blob name, not weighted."""
        return {name: top for name, _, top in self._losses}

    # -- internals

    def _take_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        unknown = [name for name in inputs if name not in self.inputs]
        missing = [name for name in self.plan.needed_inputs if name not in inputs]
        if unknown or missing:
            raise ValueError(f"inputs of the net are {list(self.inputs)}; missing {missing}, unknown {unknown}")
        like = next((b for layer in self.plan.layers for b in layer.blobs), None)
        blobs = {}
        for name, value in inputs.items():
            tensor = torch.as_tensor(value)
            if like is not None:
                tensor = tensor.to(device=like.device, dtype=like.dtype)
            declared = self.inputs[name]
            if tensor.ndim == 1 and len(declared) > 1 and all(d == 1 for d in declared[1:]):
                tensor = tensor.reshape(-1, *declared[1:])
            if tensor.ndim != len(declared) or (tensor.ndim > 1 and tensor.shape[1] != declared[1]):
                raise ValueError(f'input "{name}" has shape {tuple(tensor.shape)}; declared is {declared}')
            blobs[name] = tensor
        return blobs

    def _clear(self) -> None:
        self.blobs = Blobs({})
        self._losses: list[tuple[str, float, Tensor]] = []

    def _tie(self) -> None:
        """Make shared blobs one tensor again: parameters stay shared by themselves, buffers do not survive `to`."""
        for shared in self.plan.shared:
            owner, layer = self.plan.layers[shared.owner], self.plan.layers[shared.layer]
            tensor = getattr(owner, owner.blob_names[shared.owner_blob])
            setattr(layer, layer.blob_names[shared.blob], tensor)

    def _apply(self, fn: Any, recurse: bool = True) -> CaffeNet:
        super()._apply(fn, recurse)
        self._tie()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Blobs of the last forward hang on its graph, which cannot be copied.
        return {**self.__dict__, "blobs": Blobs({}), "_losses": []}

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.plan.layers)


def _unfused(layer: Any, x: Tensor) -> Any:
    """Computes BatchNorm's own top when somebody asks for it: without touching the running sums."""

    def compute() -> Tensor:
        return layer.normalized(x)

    return compute
