"""Is every data file the one that was recorded? Compares sha256 with data/digests.json."""

from __future__ import annotations

import argparse

from ..integrity import digests, problems


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(options: argparse.Namespace) -> int:
    found = problems()
    for line in found:
        print(line)
    if not found:
        print(f"{len(digests())} data files are as recorded")
    return 1 if found else 0
