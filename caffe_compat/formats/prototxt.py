"""Read prototxt files: nets and solvers of stock Caffe and of the papers' forks.

Public names: `read_net`, `read_solver`, `parse`, `write`, `filter_net`, `upgrade_net`, `upgrade_solver`, `net_inputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caffe_compat.errors import CaffeFormatError, DialectError
from caffe_compat.formats.phase_rules import filter_net, net_inputs
from caffe_compat.formats.text import load_text, parse, rename_fields, write
from caffe_compat.formats.upgrades import upgrade_net, upgrade_solver
from caffe_compat.schema import DIALECTS, agree, check_dialect, dialects_of_type

__all__ = [
    "filter_net",
    "net_inputs",
    "parse",
    "read_net",
    "read_solver",
    "upgrade_net",
    "upgrade_solver",
    "write",
]


def read_net(source: str | Path, *, dialect: str | None = None, rename: Mapping[str, str | None] | None = None) -> Any:
    """Read a net as a NetParameter message, exactly as written (no upgrade, no phase filter).

    Args:
        source: a path, or the prototxt text itself.
        dialect: one of `schema.DIALECTS`; None detects it: stock fields and layer types only are "bvlc", fields or
            types that one fork alone has decide for that fork, and where several forks remain that compute the net
            differently it is an error that lists them.
        rename: fields to read under another name (None: to ignore) before parsing. The CUB net released with the
            CVPR-19 code says `negative_threshold`, which the schema released beside it does not know (it has
            `margin`): by itself the file reads as "rll_tpami", the only schema that parses it; as CVPR-19 it is
            read with `dialect="rll_cvpr19", rename={"negative_threshold": "margin"}`.

    Raises:
        CaffeFormatError: with file, line and column.
        DialectError: dialect unknown, or needed and not given.
        FileNotFoundError: no such file.
    """
    return _read(source, "NetParameter", dialect, rename)


def read_solver(
    source: str | Path, *, dialect: str | None = None, rename: Mapping[str, str | None] | None = None
) -> Any:
    """Read a solver file as a SolverParameter message; arguments and errors as `read_net`.

    A solver with stock fields only is "bvlc"; the annealing targets (`negative_threshold`, `pn_margin`,
    `p_temperature`, `n_temperature`) make it "rll_tpami".
    """
    return _read(source, "SolverParameter", dialect, rename)


def _read(source: str | Path, name: str, dialect: str | None, rename: Mapping[str, str | None] | None) -> Any:
    text, file = load_text(source)
    if not text.strip():
        raise CaffeFormatError(f"empty; expected a {name}", file=file)
    if rename:
        text = rename_fields(text, rename)
    if dialect is not None:
        return parse(text, name, check_dialect(dialect), file=file)
    return _detect(text, name, file)


def _detect(text: str, name: str, file: str) -> Any:
    parsed: dict[str, Any] = {}
    errors: list[CaffeFormatError] = []
    for dialect in DIALECTS:
        try:
            parsed[dialect] = parse(text, name, dialect, file=file)
        except CaffeFormatError as error:
            errors.append(error)
        else:
            if dialect == "bvlc" and not _needs_fork(parsed[dialect]):
                return parsed[dialect]
    if not parsed:
        # The dialect that understood most of the text tells most about what is wrong with it.
        raise max(errors, key=lambda error: (error.line or 0, error.column or 0))
    types = _types(next(iter(parsed.values())))
    choices = tuple(d for d in parsed if all(d in known for known in types.values()))
    if not choices:
        raise DialectError(f"{file}: no dialect has all of its fields and layer types ({_fork_types(types)})")
    unclear = [type for type in types if not agree(type, choices)]
    if unclear:
        raise DialectError(f"{file}: layers of type {', '.join(unclear)} differ between dialects", choices)
    return parsed[choices[0]]


def _types(message: Any) -> dict[str, tuple[str, ...]]:
    """Layer type -> dialects that can be meant by it (a solver has the layers of the nets inside it)."""
    types = {}
    inside = [message]
    if not hasattr(message, "layer"):
        inside = [message.net_param, message.train_net_param, *message.test_net_param]
    for layer in (layer for net in inside for layer in net.layer):
        types[layer.type] = dialects_of_type(layer.type)
        if layer.type == "ContrastiveLoss" and len(layer.bottom) == 5:
            types[layer.type] = ("osm_aaai19",)  # stock Caffe takes three bottoms, this fork two scores more
    return types


def _needs_fork(message: Any) -> bool:
    return any("bvlc" not in known for known in _types(message).values())


def _fork_types(types: dict[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{type}: {' or '.join(known)}" for type, known in types.items() if len(known) < len(DIALECTS))
