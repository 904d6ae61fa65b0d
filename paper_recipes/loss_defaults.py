"""Arguments of the losses that recipes leave at their default, read from the source: importing a loss would import torch."""

from __future__ import annotations

import ast
import operator
from functools import cache
from pathlib import Path
from typing import Any

from ports import losses

# What a recipe is rather than a setting of it, and what follows from the data.
_NOT_SETTINGS = ("self", "variant", "num_classes", "embedding_dim")


@cache
def of(name: str) -> dict[str, Any]:
    """Argument -> default of the constructor of `ports.losses.NAME`; only numbers, truth values, words and None."""
    source = Path(losses.__file__).with_name(f"{losses._MODULES[name]}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
            return _defaults(found.args)
    raise ValueError(f"{name}: its module has no such class")


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    pairs = [*zip(positional, arguments.defaults), *zip(arguments.kwonlyargs, arguments.kw_defaults)]
    found = {}
    for argument, node in pairs:
        if node is None or argument.arg in _NOT_SETTINGS:
            continue
        try:
            value = _value(node)
        except KeyError:
            continue
        if value is None or isinstance(value, (int, float, str)):
            found[argument.arg] = value
    return found


_SUMS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def _value(node: ast.expr) -> Any:
    """Of a constant, or of a sum of them such as 1 - 1e-5. Raises KeyError for anything else, a name for example."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp):
        return _SUMS[type(node.op)](_value(node.left), _value(node.right))
    raise KeyError(ast.dump(node))
