"""Read `fields.txt`, the field tables of all dialects, into plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

DIALECTS = ("bvlc", "rll_cvpr19", "rll_tpami", "osm_aaai19")
_FORKS = DIALECTS[1:]


@dataclass(frozen=True)
class Field:
    name: str
    number: int
    type: str
    label: str  # "optional", "repeated" or "required"
    packed: bool
    default: str | None


@dataclass
class Tables:
    """Messages (name -> fields) and enums (name, dotted when nested -> value name -> number) of one dialect."""

    messages: dict[str, list[Field]] = field(default_factory=dict)
    enums: dict[str, dict[str, int]] = field(default_factory=dict)


def _field(name: str, words: list[str]) -> Field:
    label = words[1] if words[1] in ("repeated", "required") else "optional"
    type_, *options = words[1:] if label == "optional" else words[2:]
    default = next((o.removeprefix("default=") for o in options if o.startswith("default=")), None)
    return Field(name, int(words[0]), type_, label, "packed" in options, "" if default == '""' else default)


@cache
def tables() -> dict[str, Tables]:
    """The tables of every dialect, parsed once per process (a few milliseconds)."""
    return parse_tables(files(__package__).joinpath("fields.txt").read_text(encoding="ascii"), DIALECTS)


def parse_tables(text: str, known: tuple[str, ...]) -> dict[str, Tables]:
    """Read the notation of `fields.txt` (explained in its first lines) for the `known` dialects."""
    result = {dialect: Tables() for dialect in known}
    kind = block = ""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        line, _, names = line.partition(" @")
        dialects = _FORKS if names == "forks" else tuple(names.split(",")) if names else known
        if line[0] != " ":
            kind, block = line.split()
            for dialect in dialects:
                if kind == "enum":
                    result[dialect].enums[block] = {}
                else:
                    result[dialect].messages[block] = []
            continue
        name, _, rest = line.strip().partition(" = ")
        for dialect in dialects:
            if kind == "enum" and block in result[dialect].enums:
                result[dialect].enums[block][name] = int(rest)
            elif kind == "message" and block in result[dialect].messages:
                result[dialect].messages[block].append(_field(name, rest.split()))
    return result
