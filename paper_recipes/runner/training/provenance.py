"""Which program ran: version, hash over its source files, commit where it has one, and every installed package.

The commit is that of the repository the imported files belong to, never one that merely lies around them: a package in the
virtual environment of somebody's project is not tracked by that project. The hash stands for the files whatever git knows.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from ports import command_line

PACKAGES = ("ports", "caffe_compat", "paper_recipes", "golden")
ROOT = Path(__file__).resolve().parents[3]  # the folder that holds the imported packages


def program() -> dict[str, Any]:
    """Version, source hash, commit: JSON types. Commit and dirty flag are None where no repository tracks the files."""
    return {"project_version": command_line.version(ROOT), "source_sha256": source_sha256(), **git_state()}


@functools.cache
def source_sha256(root: Path = ROOT) -> str:
    """sha256 over names and contents of all Python files of the four packages, in the order of their names."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def git_state(root: Path = ROOT) -> dict[str, Any]:
    """Commit of the work tree that tracks the packages in `root`, and whether its files differ from it; else None twice."""
    # A hook's or a caller's GIT_DIR would point every question at another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*args: str) -> str:
        command = ["git", "-C", str(root), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "--", *(f"{package}/__init__.py" for package in PACKAGES))
        return {"git_sha": git("rev-parse", "HEAD"), "git_dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"git_sha": None, "git_dirty": None}


def distributions() -> dict[str, str]:
    """Name -> version of every installed package, as `import` finds them: the first of a name counts."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and plain(name) not in found:
            found[plain(name)] = distribution.version
    return dict(sorted(found.items()))


def plain(name: str) -> str:
    """A package's name as indexes compare it: lower case, one kind of dash."""
    return re.sub(r"[-_.]+", "-", name).lower()
