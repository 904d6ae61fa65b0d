"""One part in a process of its own: `python -m benchmarks.gpu.part NAME SETTING`; each row becomes a line of NAME.jsonl."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from benchmarks.gpu.setting import Setting


def main(name: str, text: str) -> None:
    setting = Setting(**json.loads(text))
    module = importlib.import_module(f"benchmarks.gpu.parts.{name}")
    with open(Path(setting.out) / f"{name}.jsonl", "a", encoding="utf-8") as lines:
        for row in module.rows(setting):
            lines.write(json.dumps(row) + "\n")
            lines.flush()  # a part that is ended by its time limit leaves what it knew by then


if __name__ == "__main__":
    main(*sys.argv[1:])
