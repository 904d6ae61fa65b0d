"""Rewrite golden/data/digests.json after data were added: python tools/write_digests.py. It says what is new, gone or changed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from golden.integrity import DATA, DIGESTS, digests, write_digests

if __name__ == "__main__":
    before = write_digests()
    now = digests()
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            print(f"{'new' if name not in before else 'gone' if name not in now else 'CHANGED'}: {name}")
    print(f"{len(now)} files in {DATA / DIGESTS}")
