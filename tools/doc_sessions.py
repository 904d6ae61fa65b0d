"""Rewrite the recorded sessions of docs/golden.md: python tools/doc_sessions.py.

A fenced block after `<!-- file: NAME -->` is a file; one after `<!-- session: COMMAND -->` is what the command prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
DOC = REPO / "docs" / "golden.md"
FILE = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```", re.DOTALL)
SESSION = re.compile(r"(<!-- session: (.+?) -->\n)```\n(.*?)```", re.DOTALL)


def files(text: str) -> dict[str, str]:
    return dict(FILE.findall(text))


def run(command: str, folder: Path) -> str:
    command = command.replace("python -m", f"{sys.executable} -m")
    # As a reader of the page types it, pipes included; the page is ours.
    # A page has no width; given by hand, as readline (which pytest loads) sets COLUMNS behind Python's back.
    outside = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(command, shell=True, cwd=folder, env=outside, capture_output=True, text=True)  # noqa: S602
    assert not done.stderr, done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


def with_sessions(text: str, folder: Path) -> str:
    """The text with every session's output replaced by what its command prints now."""
    for name, content in files(text).items():
        (folder / name).write_text(content, encoding="utf-8")
    return SESSION.sub(lambda m: f"{m[1]}```\n$ {m[2]}\n{run(m[2], folder)}```", text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        DOC.write_text(with_sessions(DOC.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
