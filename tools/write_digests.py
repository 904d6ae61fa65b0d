"""Rewrite golden/data/digests.json after data were added: python tools/write_digests.py. It says what is new, gone or changed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from golden.files import write_atomically
from golden.integrity import DATA, DIGESTS, present


def main() -> None:
    path = DATA / DIGESTS
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    now = {name: hashlib.sha256((DATA / name).read_bytes()).hexdigest() for name in present()}
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            print(f"{'new' if name not in before else 'gone' if name not in now else 'CHANGED'}: {name}")
    write_atomically(path, (json.dumps(now, indent=1) + "\n").encode())
    print(f"{len(now)} files in {path}")


if __name__ == "__main__":
    main()
