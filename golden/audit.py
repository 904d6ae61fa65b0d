"""What an installed library's losses compute: every loss that has a mapping, against the sets that it could be.

A mapping is a JSON file of golden/mappings: which class with which arguments is to be compared with which golden sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from .adapters import ADAPTERS, with_miner
from .checker import check
from .compare import TOLERANCES
from .diagnosis import IN_SINGLE
from .relation import KINDS
from .report import Report
from .sets import load_set, set_names

MAPPINGS = Path(__file__).with_name("mappings")


class AuditError(ValueError):
    """A library without a mapping, one that is not installed, or a mapping that says something impossible."""


@dataclass(frozen=True)
class Finding:
    """One loss against one set in one dtype. `kind`: of `golden.relation.KINDS`; `how`: what separates them, in words."""

    library: str
    version: str
    loss: str
    against: str
    dtype: str
    kind: str
    passed: int
    cases: int
    cosine: float | None
    norm_ratio: float | None
    how: str
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def libraries() -> list[str]:
    """Names of the libraries that have a mapping."""
    return sorted(path.stem for path in MAPPINGS.glob("*.json"))


def mapping(name: str | Path) -> dict[str, Any]:
    """The mapping of a library's name, or of a JSON file. AuditError, with the names there are, for another."""
    path = Path(name) if str(name).endswith(".json") else MAPPINGS / f"{name}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuditError(
            f"no mapping for {str(name)!r}; there are {', '.join(libraries())}, or name a JSON file"
        ) from None
    except ValueError as error:
        raise AuditError(f"{path}: {error}") from None
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("losses"), list)
        or not isinstance(found.get("library"), str)
    ):
        raise AuditError(f"{path}: a mapping has a 'library' and a list of 'losses'")
    return found


def read(path: str | Path) -> list[Finding]:
    """Findings that `golden audit --json` printed. AuditError for a file that holds something else."""
    try:
        found = [Finding(**entry) for entry in json.loads(Path(path).read_text(encoding="utf-8"))]
    except OSError as error:
        raise AuditError(f"cannot read {path}: {error}") from None
    except (ValueError, TypeError) as error:
        raise AuditError(f"{path} holds no findings of `golden audit --json`: {error}") from None
    known = set(set_names())
    for f in found:
        if f.against not in known or f.dtype not in TOLERANCES or f.kind not in KINDS:
            raise AuditError(f"{path}: {f.against!r}, {f.dtype!r}, {f.kind!r} is no set, dtype and relation")
    return found


def audit(name: str | Path) -> Iterator[Finding]:
    """Findings of a library, loss by loss. AuditError if it is not installed."""
    whole = mapping(name)
    library = whole["library"]
    try:
        version = metadata.version(library) if whole.get("installed", True) else ""
    except metadata.PackageNotFoundError:
        raise AuditError(f"{library} is not installed here") from None
    for entry in whole["losses"]:
        for against in entry["against"]:
            yield from _findings(library, version, entry, against)


def _findings(library: str, version: str, entry: dict[str, Any], against: str) -> Iterator[Finding]:
    """float64 with its diagnosis, then float32 where the set has it."""
    head = (library, version, entry["name"], against)
    note = entry.get("note", "")
    for dtype in ("float64", "float32"):
        try:
            if dtype not in load_set(against).dtypes:
                continue
            loss = build(entry)
            adapter = _adapter(entry)
            report = check(loss, against, dtype=dtype, adapter=adapter, properties=False, diagnosis=dtype == "float64")
        except ValueError:  # of the mapping
            raise
        except Exception as error:  # another version of the library: its row says so
            yield Finding(*head, dtype, "error", 0, 0, None, None, f"{type(error).__name__}: {error}", note)
            return
        good = sum(row.verdict == "pass" for row in report.rows)
        ratios = [row.norm_ratio for row in report.rows if np.isfinite(row.norm_ratio)]
        yield Finding(
            *head, dtype, report.relation.kind if report.relation else "error", good, len(report.rows),
            float(report.cosine) if np.isfinite(report.cosine) else None, float(np.median(ratios)) if ratios else None,
            _how(report), note,
        )  # fmt: skip


def _how(report: Report) -> str:
    """What separates loss and set, in one line: the relation's special cases, else the diagnosis, else the reason for an error."""
    kind = report.relation.kind if report.relation else "error"
    if kind in ("equal", "behind-l2"):
        return ""
    single = (
        report.diagnosis is not None and report.diagnosis.lines[:1] and report.diagnosis.lines[0].endswith(IN_SINGLE)
    )
    if kind == "error" and not single:
        return report.rows[0].why
    told = [f"differs on: {', '.join(report.relation.special)}"] if report.relation and report.relation.special else []
    if report.diagnosis:
        words = [line.strip().removeprefix("- ").split(" [alone")[0].rstrip(":") for line in report.diagnosis.lines]
        told += [w for w in words if not w.startswith(("cosine to the recorded", "the gradient matches"))]
    return "; ".join(told)


def build(entry: dict[str, Any]) -> Any:
    """The loss of an entry: `call` with `arguments`, of it the `method` if one is named. AuditError for what does not exist."""
    loss = _built({"call": entry["call"], "arguments": entry.get("arguments", {}), "as_is": entry.get("as_is", False)})
    return getattr(loss, entry["method"]) if "method" in entry else loss


def _built(value: Any) -> Any:
    """Arguments with every {"call": "module:Name", "arguments": {...}} replaced by what it makes."""
    if not isinstance(value, dict) or "call" not in value:
        return value
    module, _, name = value["call"].partition(":")
    made: Any = import_module(module, __package__)
    for part in name.split("."):
        made = getattr(made, part)  # what is gone in another version is a row of the table
    if value.get("as_is"):
        return made
    keywords = {k: _built(v) for k, v in value.get("arguments", {}).items()}
    return made(**keywords)


def _adapter(entry: dict[str, Any]) -> Any:
    named = entry.get("adapter", [])
    names = [named] if isinstance(named, str) else named
    if "miner" in entry:
        miner = _built(entry["miner"])
        return lambda loss: with_miner(loss, miner)
    if "columns" in entry:  # embeddings as a list, then the labels, or None where the set has none
        count = int(entry["columns"])
        return lambda loss: lambda *given: loss(list(given[:count]), *(given[count:] or (None,)))
    if unknown := [name for name in names if name not in ADAPTERS]:
        raise AuditError(f"{entry['name']}: unknown adapter {unknown[0]!r}; there are {', '.join(ADAPTERS)}")
    return (lambda loss: reduce(lambda made, name: ADAPTERS[name](made), names, loss)) if names else None
