"""Validate a golden set that somebody made (FOLDER with set.json and cases.npz), and add it to the data of this checkout."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from ..contributed import CASES, SET, ContributionError
from ..files import write_atomically
from ..integrity import DATA, digests, write_digests
from ..loading import LoadError, load_loss
from ..sets import set_names
from ..validation import problems, read
from .common import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="holds set.json and cases.npz")
    parser.add_argument(
        "--formula",
        required=True,
        metavar="FILE.py:NAME",
        help="the loss in NumPy: (arguments, **params) -> (value, gradient)",
    )
    parser.add_argument("--check", action="store_true", help="validate only")


def run(options: argparse.Namespace) -> int:
    folder = Path(options.folder)
    try:
        formula = load_loss(options.formula)
        facts, _ = read(folder)
        found = problems(folder, formula)
    except (LoadError, ContributionError) as error:
        raise UsageError(str(error)) from error
    if facts["name"] in set_names() and not options.check:
        found.append(f"there is a golden set named {facts['name']!r} already")
    for line in found:
        print(line)
    if found:
        print(f"{facts['name']} is not taken: {len(found)} problems")
        return 1
    if options.check:
        print(f"{facts['name']} is sound: {len(facts['cases'])} cases")
        return 0
    _install(folder, facts)
    print(f"added {facts['name']} as {facts['kind']}; look at `git diff`, and commit it")
    return 0


def _install(folder: Path, facts: dict[str, Any]) -> None:
    """The two files, the entry of the manifest, and the digests last: until then nothing reads the new files."""
    digests()  # damaged data are told before anything is written
    target = DATA / "contributed" / str(facts["name"])
    target.mkdir(parents=True)
    for name in (SET, CASES):
        shutil.copyfile(folder / name, target / name)
    path = DATA / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    entry = {"files": [f"contributed/{facts['name']}/*"], "dtype": "float64"}
    entry |= {field: facts[field] for field in ("kind", "program", "release", "what", "licence")}
    manifest["entries"].append(entry)
    write_atomically(path, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    write_digests()
