"""From a NetParameter to an ordered list of layers and steps: shapes, sharing, fusion, outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caffe_compat.errors import CaffeFormatError, UnsupportedLayerError
from caffe_compat.formats.prototxt import net_inputs
from caffe_compat.layers import LAYERS, Layer
from caffe_compat.layers.base import Shape
from caffe_compat.layers.batch_norm import BatchNorm
from caffe_compat.layers.checks import check_memory, check_size
from caffe_compat.layers.convolution import Convolution
from caffe_compat.layers.scale import Scale
from caffe_compat.net.data_layers import data_tops, is_data_layer
from caffe_compat.schema import dialects_of_type
from caffe_compat.schema.layer_types import is_known_type


@dataclass
class Step:
    """One layer's call."""

    layer: Any
    bottoms: list[str]
    tops: list[str]
    propagate_down: list[bool]
    loss_weights: list[float]
    #: the next layer, a Scale, is computed here too: its parameters and its top's name.
    fused_scale: Any = None
    fused_top: str = ""
    #: and the ReLU that overwrites this top.
    fused_relu: bool = False
    #: no other layer, backward included, needs the bottom's value.
    bottom_is_free: bool = False
    #: the top may be written over the bottom's memory.
    in_place: bool = False


@dataclass
class Learnable:
    """Blob `blob` of layer `layer` (index) with the solver's multipliers."""

    layer: int
    blob: int
    lr_mult: float
    decay_mult: float
    explicit_lr: bool
    explicit_decay: bool


@dataclass
class Shared:
    """Blob `blob` of layer `layer` is blob `owner_blob` of layer `owner`."""

    layer: int
    blob: int
    owner: int
    owner_blob: int


@dataclass
class Plan:
    inputs: dict[str, Shape]
    needed_inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    learnable: list[Learnable] = field(default_factory=list)
    shared: list[Shared] = field(default_factory=list)
    #: names that are not read any more after step i.
    last_use: list[list[str]] = field(default_factory=list)
    #: declared shape of every blob (its last value).
    shapes: dict[str, Shape] = field(default_factory=dict)


def make_plan(net: Any, dialect: str, phase: str, given: Mapping[str, Shape] | None = None) -> Plan:
    """Build the layers of `net` (upgraded and filtered) and work out how they connect.

    given: shapes of inputs and of data layers' tops, in place of what the net says.
    """
    given = given or {}
    inputs = net_inputs(net)
    for message in net.layer:
        if is_data_layer(message):
            inputs.update(data_tops(message, given))
    if unknown := [name for name in given if name not in inputs]:
        raise CaffeFormatError(f"inputs {unknown} were given shapes, but the net's inputs are {list(inputs)}")
    inputs.update(given)
    plan = Plan(inputs, shapes=dict(inputs))
    for name, shape in inputs.items():
        _checked(shape, f'input "{name}"')
    # Tops that no later layer has read so far, in order; what is left at the end are the outputs.
    unread: dict[str, None] = {}
    for message in net.layer:
        if message.type == "Input" or is_data_layer(message):
            continue
        _add_layer(plan, message, dialect, phase, unread)
    plan.outputs = list(unread)
    read = {name for step in plan.steps for name in step.bottoms}
    plan.needed_inputs = [name for name in inputs if name in read]
    _share(plan)
    _fuse(plan)
    _mark_in_place(plan)
    _fuse_relu(plan)
    _find_last_use(plan)
    return plan


def _add_layer(plan: Plan, message: Any, dialect: str, phase: str, unread: dict[str, None]) -> None:
    name = f'layer "{message.name}" ({message.type})'
    cls = _layer_class(message, dialect)
    bottoms, tops = list(message.bottom), list(message.top)
    if cls.is_loss and not tops:
        # AutoTopBlobs: the loss counts, though no layer can read it.
        tops = [f"{message.name} (automatic)"]
    try:
        cls.counts_in(dialect, message).check(len(bottoms), len(tops))
    except ValueError as error:
        raise CaffeFormatError(f"{name} {error}") from error
    for bottom in bottoms:
        if bottom not in plan.shapes:
            raise CaffeFormatError(f'{name}: unknown bottom "{bottom}"; no input or earlier layer makes it')
        unread.pop(bottom, None)
    for index, top in enumerate(tops):
        in_place = bottoms[index : index + 1] == [top]
        if (top in plan.shapes or top in tops[:index]) and not in_place:
            raise CaffeFormatError(
                f'{name}: top "{top}" is already made by another layer; only in-place reuse is allowed'
            )
        if in_place and not cls.may_be_in_place:
            raise CaffeFormatError(f'{name}: top "{top}" is its own bottom; this type cannot work in place')
    if message.propagate_down and len(message.propagate_down) != len(bottoms):
        raise CaffeFormatError(f"{name}: {len(message.propagate_down)} propagate_down for {len(bottoms)} bottoms")
    shapes = [plan.shapes[bottom] for bottom in bottoms]
    try:
        # A layer's own `phase` stands above the net's.
        phase = ("TRAIN", "TEST")[message.phase] if message.HasField("phase") else phase
        layer = cls(message, shapes, dialect=dialect, phase=phase)
        top_shapes = layer.top_shapes(shapes)
        loss_weights = layer.loss_weights()
    except (ValueError, IndexError, ArithmeticError) as error:
        place = "" if name in str(error) else f"{name}: "
        raise CaffeFormatError(f"{place}{error}") from error
    held = sum(blob.numel() for made in (*plan.layers, layer) for blob in made.blobs)
    try:
        check_memory(held, f"{name}: with it the parameters")
    except ValueError as error:
        raise CaffeFormatError(str(error)) from None
    if len(message.param) > len(layer.blob_names):
        raise CaffeFormatError(f"{name}: {len(message.param)} param for {len(layer.blob_names)} blobs")
    for top, shape in zip(tops, top_shapes):
        plan.shapes[top] = _checked(tuple(shape), f'{name}: top "{top}"')
        if top in message.top:
            unread[top] = None
    down = [bool(d) for d in message.propagate_down] or [True] * len(bottoms)
    plan.layers.append(layer)
    plan.steps.append(Step(layer, bottoms, tops, down, loss_weights))


def _checked(shape: Shape, what: str) -> Shape:
    try:
        check_size(shape, what)
    except ValueError as error:
        raise CaffeFormatError(str(error)) from None
    return shape


def _layer_class(message: Any, dialect: str) -> type[Layer]:
    known = dialects_of_type(message.type)
    if message.type not in LAYERS:
        known = known if is_known_type(message.type) else ()
        hint = "Python code is not run here" if message.type == "Python" else "it is not computed here" if known else ""
        raise UnsupportedLayerError(message.name, message.type, known, hint=hint)
    if dialect not in known:
        hint = f"the net is read as {dialect}; give dialect="
        raise UnsupportedLayerError(message.name, message.type, known, hint=hint)
    return LAYERS[message.type]


def _share(plan: Plan) -> None:
    """Parameters of the same name are one blob, owned by the first layer; the solver sees it once (AppendParam)."""
    owners: dict[str, int] = {}
    for index, layer in enumerate(plan.layers):
        for blob in range(len(layer.blob_names)):
            spec = layer.message.param[blob] if blob < len(layer.message.param) else None
            explicit_lr = spec is not None and spec.HasField("lr_mult")
            explicit_decay = spec is not None and spec.HasField("decay_mult")
            lr_mult, decay_mult = layer.multipliers(blob)
            name = spec.name if spec is not None else ""
            if not name or name not in owners:
                if name:
                    owners[name] = len(plan.learnable)
                plan.learnable.append(Learnable(index, blob, lr_mult, decay_mult, explicit_lr, explicit_decay))
                continue
            owner = plan.learnable[owners[name]]
            ours, theirs = layer.blobs[blob].shape, plan.layers[owner.layer].blobs[owner.blob].shape
            if ours != theirs:
                raise CaffeFormatError(
                    f'{layer} blob {blob}: shared parameter "{name}" has shape {tuple(theirs)} in '
                    f"{plan.layers[owner.layer]}, here {tuple(ours)}"
                )
            if explicit_lr and owner.explicit_lr and lr_mult != owner.lr_mult:
                raise CaffeFormatError(f'{layer}: shared parameter "{name}" has lr_mult {lr_mult} and {owner.lr_mult}')
            if explicit_decay and owner.explicit_decay and decay_mult != owner.decay_mult:
                raise CaffeFormatError(
                    f'{layer}: shared parameter "{name}" has decay_mult {decay_mult} and {owner.decay_mult}'
                )
            if explicit_lr and not owner.explicit_lr:
                owner.lr_mult, owner.explicit_lr = lr_mult, True
            if explicit_decay and not owner.explicit_decay:
                owner.decay_mult, owner.explicit_decay = decay_mult, True
            plan.shared.append(Shared(index, blob, owner.layer, owner.blob))


def _fuse(plan: Plan) -> None:
    """Let BatchNorm do the following Scale's work; its own top is computed only if somebody looks at it."""
    steps = []
    skip = False
    for step, following in zip(plan.steps, [*plan.steps[1:], None]):
        if skip:
            skip = False
            continue
        if (
            following is not None
            and isinstance(step.layer, BatchNorm)
            and isinstance(following.layer, Scale)
            and following.layer.per_channel
            and following.bottoms == step.tops
            and following.propagate_down[0]
            and not any(step.loss_weights + following.loss_weights)
            and len(plan.shapes[step.tops[0]]) >= 2
            and _readers(plan, step, step.tops[0]) == 1
        ):
            step.fused_scale, step.fused_top = following.layer, following.tops[0]
            skip = True
        steps.append(step)
    plan.steps = steps


def _readers(plan: Plan, writer: Step, name: str) -> int:
    """How many layers read the value that `writer` gives `name` (until an in-place layer replaces it)."""
    count = 0
    start = next(i for i, step in enumerate(plan.steps) if step is writer)
    for step in plan.steps[start + 1 :]:
        count += step.bottoms.count(name)
        if name in (step.fused_top, *step.tops):
            break
    return count


def _mark_in_place(plan: Plan) -> None:
    """A ReLU over its own bottom may overwrite it if nothing else, backward included, needs the old value."""
    writer: dict[str, Step] = {}
    for step in plan.steps:
        if step.tops == step.bottoms and hasattr(step.layer, "overwrite") and step.propagate_down[0]:
            source = writer.get(step.bottoms[0])
            if source is not None and source.layer.output_is_free:
                step.in_place = _readers(plan, source, step.bottoms[0]) == 1
        for name in (*step.tops, step.fused_top):
            writer[name] = step


def _fuse_relu(plan: Plan) -> None:
    """BatchNorm and Scale do the work of the ReLU that overwrites their top, and may write into a convolution's output.

    Neither where the value that would be gone is a loss.
    """
    writer: dict[str, Step] = {}
    steps: list[Step] = []
    kept = {*plan.inputs, *plan.outputs}
    for step in plan.steps:
        before = steps[-1] if steps else None
        plain = step.in_place and step.layer.slope == 0 and not any(step.loss_weights)  # only a ReLU is in place
        if plain and before is not None and before.fused_scale is not None and step.tops == [before.fused_top]:
            before.fused_relu = True
            continue
        if step.fused_scale is not None:
            name = step.bottoms[0]
            source = writer.get(name)
            convolved = source is not None and isinstance(source.layer, Convolution) and not any(source.loss_weights)
            if source is not None and convolved and name not in kept:
                step.bottom_is_free = _readers(plan, source, name) == 1
        for name in (*step.tops, step.fused_top):
            writer[name] = step
        steps.append(step)
    plan.steps = steps


def _find_last_use(plan: Plan) -> None:
    keep = {*plan.inputs, *plan.outputs}
    reads = Counter(name for step in plan.steps for name in step.bottoms)
    for step in plan.steps:
        done = []
        for name in step.bottoms:
            reads[name] -= 1
            if not reads[name] and name not in keep:
                done.append(name)
        if step.fused_scale is not None:
            done.append(step.tops[0])
        plan.last_use.append(done)
