"""Golden sets, with their arguments and settings. PATTERN, such as 'rll*', selects."""

from __future__ import annotations

import argparse
import fnmatch
import json

from ..sets import describe, set_names
from ..tables import table, width
from .common import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(options: argparse.Namespace) -> int:
    found = [describe(name) for name in set_names() if fnmatch.fnmatch(name, options.pattern)]
    if not found:
        raise UsageError(f"no golden set matches {options.pattern!r}")
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    rows = [("set", "cases", "called with (* = gradient)", "settings", "what")]
    for entry in found:
        settings = " ".join(f"{k}={v}" for k, v in entry["params"].items())
        rows.append((entry["name"], str(len(entry["cases"])), entry["signature"], settings, entry["what"]))
    print("\n".join(table(rows, width(), right=(1,), names=(0, 1))))
    return 0
