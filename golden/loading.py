"""Turn `package.module:Name` or `path/file.py:Name` into a loss, with errors that name what is wrong."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .faults import where


class LoadError(Exception):
    """The target cannot be imported or built."""


def parse_value(text: str) -> Any:
    """1.2, true, None, "text", [1, 2] -> Python values; what is neither JSON nor a Python literal stays text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    return text


def parse_keywords(pairs: list[str]) -> dict[str, Any]:
    """["margin=1.2"] -> {"margin": 1.2}; LoadError for anything without a name and '='."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise LoadError(f"{pair!r} is not NAME=VALUE")
        found[key] = parse_value(value)
    return found


def load_loss(target: str, keywords: dict[str, Any] | None = None) -> Callable[..., Any]:
    """Import the target; a class is built with the keywords, a function gets them at every call."""
    keywords = keywords or {}
    module_name, colon, attribute = target.rpartition(":")
    if not colon or not module_name or not attribute:
        raise LoadError(f"{target!r} is not MODULE:NAME, such as mypackage.losses:MyLoss or losses.py:MyLoss")
    module = _import(module_name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise LoadError(f"{module_name} has no {attribute!r}; {_there(module, attribute)}")
        found = getattr(found, part)
    if isinstance(found, type):
        try:
            return found(**keywords)
        except Exception as error:
            raise LoadError(f"{attribute}({_shown(keywords)}) failed: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise LoadError(f"{target} is a {type(found).__name__}, not a callable")
    if keywords:
        _refuse_unknown(found, attribute, keywords)
        return functools.partial(found, **keywords)
    return found


def _there(module: Any, attribute: str) -> str:
    """What a module has instead: names that may have been meant, else all of its own."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    public = [name for name in getattr(module, "__all__", own) if not name.startswith("_")]
    close = difflib.get_close_matches(attribute, public, n=3, cutoff=0.5)
    return f"nearest: {', '.join(close)}" if close else f"it has {', '.join(public) or 'nothing public'}"


def _refuse_unknown(function: Callable[..., Any], name: str, keywords: dict[str, Any]) -> None:
    """LoadError where the function cannot take these keywords; what cannot be looked into is let pass."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind_partial(**keywords)
    except TypeError as error:
        raise LoadError(f"{name}{signature} cannot take {_shown(keywords)}: {error}") from error


def _shown(keywords: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in keywords.items())


def _import(name: str) -> Any:
    try:
        if name.endswith(".py"):
            path = Path(name)
            if not path.is_file():
                raise LoadError(f"no file {name}")
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module  # dataclasses and pickling look a module up by its name
            sys.path.insert(0, str(path.parent.resolve()))
            spec.loader.exec_module(module)
            return module
        sys.path.insert(0, "")  # like `python -m`: the current folder
        return importlib.import_module(name)
    except LoadError:
        raise
    except (Exception, SystemExit) as error:  # a script without a main guard may call sys.exit
        raise LoadError(f"cannot import {name}: {where(error)}") from error
