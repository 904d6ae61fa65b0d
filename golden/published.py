"""Every published number we know of, with its source and exact quote. Imports neither numpy nor torch."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("data") / "published.json"


@cache
def _all() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(_FILE.read_text(encoding="utf-8")))


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
