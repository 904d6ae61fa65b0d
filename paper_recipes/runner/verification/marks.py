"""What stands beside a run in reports, comparisons and the leaderboard: the quick part of its verification.

Its outcome is remembered in the user's cache folder for exactly these files (by sha256, which itself is remembered by size and
times) and this program: counting the hits of a large test set again takes minutes. `verify` remembers nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from paper_recipes import lock
from paper_recipes.registry import UnknownRecipeError
from paper_recipes.runner import digests, manifest, run_files, run_lock
from paper_recipes.runner.data import pictures, run_data
from paper_recipes.runner.files import read_json, write_json
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.training import provenance
from paper_recipes.runner.verification import facts as run_facts
from paper_recipes.runner.verification import quick
from paper_recipes.runner.verification.facts import Facts
from paper_recipes.runner.verification.statement import FALSE, Statement, first_false, stated
from ports.files import sha256

NO_MANIFEST, NO_RECIPE = "no manifest", "no recipe of that name in this version"


@dataclass(frozen=True)
class Mark:
    statements: tuple[Statement, ...] = ()
    unverifiable: str = ""  # why there are none

    @property
    def false(self) -> Statement | None:
        """The first false statement."""
        return first_false(self.statements)

    @property
    def words(self) -> str:
        """What to put beside the run; "" where its statements hold."""
        if self.false is not None:
            return f"does not hold: {self.false.name}: {self.false.words}"
        return f"not verifiable ({self.unverifiable})" if self.unverifiable else ""


def of_run(out: Path) -> Mark:
    """Never raises for what is wrong with the run's files: that is a false statement."""
    try:
        who = run_lock.holder(out)
        if who is not None and who.pid != os.getpid():
            return Mark(unverifiable=f"a run is going on there: {who}")
        if not (out / manifest.FILE).is_file():
            return Mark(_of_old(out), NO_MANIFEST)
        return Mark(_remembered(run_facts.read(out)))
    except (RunError, run_lock.LockedError, OSError) as error:
        if isinstance(error.__cause__, UnknownRecipeError):
            return Mark(unverifiable=NO_RECIPE)
        return Mark((Statement("files", FALSE, str(error)),))


def _of_old(out: Path) -> tuple[Statement, ...]:
    """A run without a manifest is of an earlier version, whose records lack what the statements rest on: only a percentage
    that contradicts the count beside it is held against it.
    """
    found = stated("evaluations", "", _contradictions(out))
    return (found,) if found.verdict == FALSE else ()


def _contradictions(out: Path) -> Iterator[str]:
    for number, row in enumerate(run_files.read(out, "evaluations"), 1):
        if "hits" in row and "queries" in row:
            yield from quick.miscounts(row, f"evaluations.jsonl: line {number}", uncounted=True)


def _remembered(facts: Facts) -> tuple[Statement, ...]:
    files = sorted(
        path
        for path in facts.out.rglob("*")
        if path.is_file() and path.name != run_lock.FILE and not path.name.startswith(".")
    )
    known = dict(zip(files, digests.of_files([str(path) for path in files], pictures.memory())))
    content = {str(path.relative_to(facts.out)): digest.hex() for path, digest in known.items()}
    program = [provenance.source_sha256(), sha256(lock.FILE), facts.recipe.fingerprint()]
    key = hashlib.sha256(
        json.dumps([str(facts.out.resolve()), facts.record["status"], program, content]).encode()
    ).hexdigest()
    memory = run_data.cache_folder() / "verified" / f"{key}.json"
    with contextlib.suppress(ValueError, TypeError, OSError):
        if found := read_json(memory):
            return tuple(Statement(**row) for row in found)
    statements = tuple(quick.statements(facts, of_file=lambda path: known[path].hex()))
    with contextlib.suppress(OSError):  # a cache that cannot be written saves no time
        write_json(memory, [asdict(statement) for statement in statements])
    return statements
