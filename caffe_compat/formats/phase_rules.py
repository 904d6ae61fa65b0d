"""Which layers of a net exist in a phase, and which blobs it takes as input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe_compat.errors import CaffeFormatError

_PHASES = {"TRAIN": 0, "TEST": 1}


def _phase(phase: str | int) -> int:
    if phase in _PHASES.values():
        return int(phase)
    try:
        return _PHASES[str(phase).upper()]
    except KeyError:
        raise ValueError(f'phase must be "TRAIN" or "TEST", got {phase!r}') from None


def _meets(rule: Any, phase: int, level: int, stages: set[str]) -> bool:
    if rule.HasField("phase") and rule.phase != phase:
        return False
    if rule.HasField("min_level") and level < rule.min_level:
        return False
    if rule.HasField("max_level") and level > rule.max_level:
        return False
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)


def filter_net(net: Any, *, phase: str | int = "TEST", level: int | None = None, stages: Sequence[str] = ()) -> Any:
    """The net as Caffe builds it in a state: a copy with only the layers that the state includes.

    A layer with include rules is kept when the state meets one of them, any other layer unless the state meets one
    of its exclude rules (Caffe's `Net::FilterNet`). The copy's `state` holds the phase, level and stages: the net's own
    level and stages are kept, as Caffe's solver and the forks keep them.

    Args:
        net: NetParameter with V2 layers (`layer`); upgrade V0/V1 layers first.
        phase: "TRAIN" or "TEST".
        level: the state's level, compared with min_level and max_level; None: the net's own, 0 where it has none.
        stages: stages beside the net's own, compared with stage and not_stage.

    Raises:
        CaffeFormatError: a layer has include and exclude rules at once.
        ValueError: no such phase.
    """
    phase = _phase(phase)
    result = type(net)()
    for field, value in net.ListFields():
        if field.name == "layer":
            continue
        if isinstance(value, str | bytes | int | float):
            setattr(result, field.name, value)
        else:
            getattr(result, field.name).MergeFrom(value)
    result.state.phase = phase
    if level is not None:
        result.state.level = level
    result.state.stage.extend(stage for stage in stages if stage not in result.state.stage)
    level, present = result.state.level, set(result.state.stage)
    for layer in net.layer:
        if layer.include and layer.exclude:
            raise CaffeFormatError(f'layer "{layer.name}": give include rules or exclude rules, not both')
        if layer.include:
            keep = any(_meets(rule, phase, level, present) for rule in layer.include)
        else:
            keep = not any(_meets(rule, phase, level, present) for rule in layer.exclude)
        if keep:
            result.layer.add().CopyFrom(layer)
    return result


def net_inputs(net: Any) -> dict[str, tuple[int, ...]]:
    """Input blobs of a net with their declared shapes: `input` with `input_shape` or `input_dim`, and Input layers.

    Raises:
        CaffeFormatError: the number of shapes does not fit the number of inputs.
    """
    names, dims, shapes = list(net.input), list(net.input_dim), list(net.input_shape)
    if shapes and dims:
        raise CaffeFormatError("give input_shape or input_dim, not both")
    if dims and len(dims) != 4 * len(names):
        raise CaffeFormatError(f"{len(names)} input(s) need {4 * len(names)} input_dim values, got {len(dims)}")
    if not dims and len(shapes) != len(names):
        raise CaffeFormatError(f"{len(names)} input(s) need as many input_shape entries, got {len(shapes)}")
    inputs = {}
    for i, name in enumerate(names):
        inputs[name] = tuple(dims[4 * i : 4 * i + 4]) if dims else tuple(shapes[i].dim)
    for layer in net.layer:
        if layer.type == "Input":
            given = layer.input_param.shape
            if len(given) not in (1, len(layer.top)):
                raise CaffeFormatError(
                    f'layer "{layer.name}": {len(layer.top)} top(s) need one shape or as many, got {len(given)}'
                )
            for i, top in enumerate(layer.top):
                inputs[top] = tuple(given[i if len(given) > 1 else 0].dim)
    for name, shape in inputs.items():
        if any(dim < 0 for dim in shape):
            raise CaffeFormatError(f'input "{name}": shape {shape} has a negative dimension')
    return inputs
