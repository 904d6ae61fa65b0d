"""The report of a check: an aligned table, JSON, Markdown and a picture."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .compare import Row
from .diagnosis import Diagnosis
from .files import write_atomically
from .plot import picture
from .properties import Property
from .relation import Relation
from .tables import coloured, table, wrapped

_COLUMNS = ("case", "dtype", "loss expected", "got", "loss err", "grad err", "cosine", "norm ratio", "verdict")
_COLOURS = {"pass": "green", "ok": "green", "fail": "red", "error": "red", "no": "yellow", "info": "dim"}


def _number(value: float, form: str) -> str:
    return "-" if not np.isfinite(value) else format(value, form)


@dataclass
class Report:
    """What `golden.check` found. `passed`: every case agrees within its tolerance, or the relation is one of `accept`; and if it was
    asked for, torch.compile changes nothing beyond the tolerance.

    `hint` names an adapter that fits. `nearness`, `form`: of `golden.identify`, the cosine with the nearest known form.
    """

    against: str
    what: str
    program: str
    kind: str
    loss: str
    tolerance: str
    rows: list[Row]
    properties: list[Property] = field(default_factory=list)
    diagnosis: Diagnosis | None = None
    sharpness: list[str] = field(default_factory=list)
    relation: Relation | None = None
    hint: str = ""
    compiled: list[str] = field(default_factory=list)
    compiled_equal: bool = True
    nearness: float = float("nan")
    form: str = ""
    accept: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        accepted = self.relation is not None and self.relation.kind in self.accept
        return bool(self.rows) and self.compiled_equal and (accepted or all(row.verdict == "pass" for row in self.rows))

    @property
    def exit_code(self) -> int:
        return 0 if self.passed else 1

    @property
    def headline(self) -> str:
        """One line: equal or not, and in how many cases."""
        good = sum(row.verdict == "pass" for row in self.rows)
        count = f"({good} of {len(self.rows)} cases pass)"
        if good == len(self.rows):
            return f"{self.loss} equals {self.against} {count}" + (
                "" if self.compiled_equal else ", but not under torch.compile"
            )
        if self.relation is None or self.relation.kind in ("differs", "error"):
            return f"{self.loss} DIFFERS from {self.against} {count}"
        if self.relation.words.startswith("equals"):
            return f"{self.loss} {self.relation.words} {count[:-1]} as they stand)"
        return f"{self.loss} DIFFERS from {self.against} {count}: it {self.relation.words}"

    @property
    def cosine(self) -> float:
        """Of the gradients, the median over the cases; NaN where no case gives one."""
        found = [row.cosine for row in self.rows if np.isfinite(row.cosine)]
        return float(np.median(found)) if found else float("nan")

    def reasons(self) -> dict[str, list[str]]:
        """Words -> cases they hold for; without what the numbers of the table say by themselves."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            if row.why and row.why != "gradient differs; loss differs":
                found.setdefault(row.why, []).append(row.case)
        return found

    def _cells(self, row: Row) -> list[str]:
        return [
            row.case, row.dtype, _number(row.expected, ".6g"), _number(row.got, ".6g"), _number(row.loss_error, ".1e"),
            _number(row.gradient_error, ".1e"), _number(row.cosine, ".4f"), _number(row.norm_ratio, ".4g"), row.verdict,
        ]  # fmt: skip

    def text(self, width: int = 150, *, colours: bool = False) -> str:
        """The report as it is printed: aligned tables, paragraphs of at most `width` columns."""

        def verdict(word: str, size: int = 0) -> str:
            return coloured(word, _COLOURS[word], colours) + " " * (size - len(word))

        lines = wrapped(f"{self.against}: {self.what}", width).splitlines()
        lines[0] = lines[0].replace(self.against, coloured(self.against, "bold", colours), 1)
        lines.append(
            wrapped(f"recorded from {self.program}; errors in units of the tolerance, {self.tolerance}", width)
        )
        made = table([_COLUMNS, *(self._cells(row) for row in self.rows)], None, right=range(2, 8))
        lines.append(made[0])
        lines += [line.removesuffix(row.verdict) + verdict(row.verdict) for line, row in zip(made[1:], self.rows)]
        for why, cases in self.reasons().items():
            told = ", ".join(cases[:4]) + (f", ... ({len(cases)} cases)" if len(cases) > 4 else "")
            lines.append(wrapped(f"{told}: {why}", width, "  "))
        if self.properties:
            lines += ["", coloured("properties", "bold", colours)]
            longest = max(len(p.name) for p in self.properties)
            lines += [f"{p.name:{longest}}  {verdict(p.verdict, 4)}  {p.words}" for p in self.properties]
        if self.diagnosis:
            lines += ["", coloured("diagnosis", "bold", colours)]
            lines += [
                wrapped(line.lstrip(), width, "  " + " " * (len(line) - len(line.lstrip())))
                for line in self.diagnosis.lines
            ]
        if self.compiled:
            lines += ["", coloured("under torch.compile", "bold", colours)]
            lines += [wrapped(line, width, "  ") for line in self.compiled]
        if self.hint:
            lines += ["", wrapped(self.hint, width)]
        if self.sharpness:
            lines += ["", *(wrapped(line, width) for line in self.sharpness)]
        last = wrapped(self.headline, width).splitlines()
        lines += ["", *(coloured(line, "green" if self.passed else "red", colours) for line in last)]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.text()

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": 1, "against": self.against, "what": self.what, "program": self.program, "kind": self.kind,
            "loss": self.loss, "tolerance": self.tolerance, "passed": self.passed,
            "cases": [row.as_dict() for row in self.rows],
            "properties": [vars(prop) for prop in self.properties],
            "diagnosis": self.diagnosis.as_dict() if self.diagnosis else None,
            "sharpness": self.sharpness,
            "relation": vars(self.relation) if self.relation else None,
            "hint": self.hint or None,
            "compiled": {"equal": self.compiled_equal, "words": self.compiled} if self.compiled else None,
            "accepted": list(self.accept),
        }  # fmt: skip

    def json(self) -> str:
        return json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n"

    def markdown(self) -> str:
        lines = [f"# {_plain(self.headline)}", "", f"{self.what}. Recorded from {self.program} ({self.kind}).", ""]
        lines += [f"Errors are in units of the tolerance, {self.tolerance}.", ""]
        lines += ["| " + " | ".join((*_COLUMNS, "why")) + " |", "|" + "---|" * (len(_COLUMNS) + 1)]
        for row in self.rows:
            lines.append("| " + " | ".join(map(_plain, (*self._cells(row), row.why))) + " |")
        if self.properties:
            lines += ["", "## Properties", "", "| property | verdict | |", "|---|---|---|"]
            lines += [f"| {p.name} | {p.verdict} | {_plain(p.words)} |" for p in self.properties]
        if self.diagnosis:
            lines += ["", "## Diagnosis", "", *(f"- {_plain(line)}" for line in self.diagnosis.lines)]
        if self.compiled:
            lines += ["", "## Under torch.compile", "", *(f"- {line}" for line in self.compiled)]
        if self.hint:
            lines += ["", self.hint]
        if self.sharpness:
            lines += ["", "## Sharp to", "", *(f"- {line}" for line in self.sharpness)]
        return "\n".join(lines) + "\n"

    def save(self, path: str | Path) -> None:
        """Write .json, .md, .txt or .png, by the name; ValueError for another one. Nothing half-written is left."""
        path = Path(path)
        if path.suffix == ".png":
            data = picture(self)
        elif path.suffix in (".json", ".md", ".txt"):
            data = {".json": self.json, ".md": self.markdown, ".txt": self.text}[path.suffix]().encode()
        else:
            raise ValueError(f"{path}: a report is written as .json, .md, .txt or .png")
        write_atomically(path, data)


def _plain(text: str) -> str:
    """A loss's name, or the words of its error, in Markdown: no element, link, picture or cell of a table comes of them."""
    return re.sub(r"([<\[])", r"\\\1", " ".join(text.split())).replace("|", "&#124;")
