"""What differs between two recipes, as rows to read: setting, value here, value there.

Nets are compared layer by layer by name, and layers that differ in the same way share a row.
"""

from __future__ import annotations

from typing import Any

from paper_recipes.recipe import Recipe

Row = tuple[str, str, str]
NOTHING = "-"


def explain(ours: Recipe, theirs: Recipe) -> list[Row]:
    """Rows (setting, value of `ours`, value of `theirs`) of everything that affects the result; empty when they compute
    the same thing. A setting that one of them does not have shows as "-".
    """
    a, b = ours.canonical(), theirs.canonical()
    for facts in (a, b):
        del facts["name"]
    return _explain("", a, b)


def _explain(path: str, a: Any, b: Any) -> list[Row]:
    if a == b:
        return []
    if _is_net(a) and _is_net(b):
        return _explain_nets(path, a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(key for key in b if key not in a)]
        return [row for key in keys for row in _explain(f"{path}.{key}".lstrip("."), a.get(key), b.get(key))]
    return [(path, _shown(a), _shown(b))]


def _is_net(value: Any) -> bool:
    return isinstance(value, dict) and "layer" in value


def _explain_nets(path: str, a: dict[str, Any], b: dict[str, Any]) -> list[Row]:
    rows = []
    for key in dict.fromkeys([*a, *b]):
        if key != "layer":
            rows += _explain(f"{path}.{key}", a.get(key), b.get(key))
    ours, theirs = ({layer["name"]: layer for layer in net["layer"]} for net in (a, b))
    alike: dict[Row, list[str]] = {}
    for name in ours:
        for row in _explain("", ours[name], theirs[name]) if name in theirs else []:
            alike.setdefault(row, []).append(name)
    rows += [(f"{path}: {setting} of {_names(names)}", x, y) for (setting, x, y), names in alike.items()]
    for here, there, first in ((ours, theirs, True), (theirs, ours, False)):
        only: dict[str, list[str]] = {}
        for name in here:
            if name not in there:
                only.setdefault(here[name]["type"], []).append(name)
        for kind, names in only.items():
            count = f"{len(names)} {kind}"
            values = (count, NOTHING) if first else (NOTHING, count)
            rows.append((f"{path}: layer {_names(names)}", *values))
    if not rows:
        rows.append((path, "the same layers", "in another order"))
    return rows


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _shown(value: Any) -> str:
    """A value on one line; what is long is named, not printed."""
    if value is None:
        return NOTHING
    if _is_net(value):
        return f"a net of {len(value['layer'])} layers"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "{}"
    if isinstance(value, list):
        parts = [_shown(item) for item in value]
        text = ", ".join(parts)
        return (
            f"[{text}]" if len(text) <= 60 or len(parts) < 3 else f"[{parts[0]} ... {parts[-1]}, {len(parts)} values]"
        )
    return str(value)
