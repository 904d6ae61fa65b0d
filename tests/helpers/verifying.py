"""Verifying a run, and forging one."""

from __future__ import annotations

import json
from pathlib import Path

from paper_recipes.runner import manifest, verify
from paper_recipes.runner.verification.statement import first_false


def check(run, **options):
    return verify.verify(verify.Options(run, workers=0, **options))


def named(run, **options):
    """The first false statement, or None."""
    wrong = first_false(check(run, **options))
    return None if wrong is None else f"{wrong.name}: {wrong.words}"


def edit(path: Path, line: int, change) -> None:
    """Replace a line (from 1) of a .jsonl by what `change` makes of its content; None removes it."""
    lines = path.read_text().splitlines(keepends=True)
    row = change(json.loads(lines[line - 1]))
    lines[line - 1] = "" if row is None else json.dumps(row) + "\n"
    path.write_text("".join(lines))


def seal_again(run: Path) -> None:
    """What a forger does who knows the manifest: every file as it is now."""
    names = list(manifest.read(run))
    manifest.begin(run)
    manifest.seal(run, *names)
