"""Every published number we know of, with its source and exact quote. Imports neither numpy nor torch."""

from __future__ import annotations

from functools import cache
from typing import Any

from .integrity import read_json


@cache
def _all() -> tuple[dict[str, Any], ...]:
    return tuple(read_json("published.json"))


def kinds() -> list[str]:
    """All kinds of rows."""
    return list(dict.fromkeys(row["kind"] for row in _all()))


def rows(
    *, paper: str | None = None, dataset: str | None = None, metric: str | None = None, kind: str | None = None
) -> list[dict[str, Any]]:
    """Rows whose paper and dataset contain the given text (case ignored) and that have the metric (such as "R@1").

    `kind`: exactly one of "published", "published ablation", "repo log", "independent reproduction", ...
    """
    return [
        row
        for row in _all()
        if (paper is None or paper.lower() in f"{row['paper']} {row['method']}".lower())
        and (dataset is None or dataset.lower() in row["dataset"].lower())
        and (metric is None or metric in row["metric"])
        and (kind is None or row["kind"] == kind)
    ]


# kinds of rows that authors say of their own programs
_BY_AUTHORS = (
    *("published", "published ablation", "repo README", "repo claim", "repo log", "author rerun"),
    *("authors' repo (pre-publication)", "authors' repo ablation (pre-publication)"),
)
# beginning of a paper -> beginning of what it calls its own methods ("" : every row of that source is its own)
_OWN = {
    "RLL (CVPR": "RLL",
    "RLL TPAMI": "",
    "OSM+CAA": "OSM+CAA",
    "Multi-Similarity": "MS",
    "MS loss": "",
    "XBM": "XBM",
    "Classification": "NormSoftmax",
    "Deep_Metric": "",
    "VGG_dml": "",
}


def own() -> list[dict[str, Any]]:
    """Rows that the source systems' authors published of their own methods: what somebody can ask to see reproduced."""
    return [
        row
        for row in _all()
        if row["kind"] in _BY_AUTHORS
        and any(row["paper"].startswith(paper) and row["method"].startswith(name) for paper, name in _OWN.items())
    ]


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """The table of rows that no recipe is held to: {"reason", and what a row must have to be meant}.

    "source" is a text within the row's, every other key a beginning of what stands there; of a list, any of them.
    """
    return tuple(read_json("unheld.json"))


def unheld() -> list[tuple[dict[str, Any], str]]:
    """Every own row that the table lists, with the reason; a row that two rules mean is there twice."""
    return [(row, rule["reason"]) for row in own() for rule in rules() if _meant(rule, row)]


def _meant(rule: dict[str, Any], row: dict[str, Any]) -> bool:
    for key, wanted in rule.items():
        if key == "reason":
            continue
        choices = wanted if isinstance(wanted, list) else [wanted]
        found = str(row[key])
        if not any(choice in found if key == "source" else found.startswith(choice) for choice in choices):
            return False
    return True
