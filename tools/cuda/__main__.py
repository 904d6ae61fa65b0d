"""`python -m tools.cuda`: look at every recipe's step and evaluation on the meta device, and write down what was seen.

tools/cuda/audit.json              operations that could differ from run to run, and waits of the host, of each recipe
paper_recipes/gpu_memory.json      bytes, of each recipe
docs/determinism.md                the table, between its two marks

A few minutes on one core, no GPU. `python -m tools.cuda NAME` prints one recipe's findings and writes nothing.
"""

from __future__ import annotations

import json
import sys

import torch

from paper_recipes import gpu_memory
from paper_recipes.registry import RECIPES, get
from tools.cuda import steps, table

VERSION = torch.__version__.split("+")[0]


def main(names: list[str]) -> None:
    seen: dict[str, steps.Found] = {}
    findings, memories = {}, {}
    for name in names or list(RECIPES):
        recipe = get(name)
        key = steps.key(recipe)
        if key not in seen:
            seen[key] = steps.run(recipe)
            print(f"{name}: {seen[key].peak / 1e9:.2f} GB", flush=True)
        findings[name] = table.finding(recipe, seen[key])
        memories[name] = steps.memory(recipe, seen[key])
    if names:
        print(json.dumps({"audit": findings, "memory": memories}, indent=1))
        return
    table.AUDIT.write_text(json.dumps({"torch": VERSION, "recipes": findings}, indent=1) + "\n", encoding="utf-8")
    text = json.dumps({"torch": VERSION, "recipes": memories}, indent=1)
    gpu_memory.FILE.write_text(text + "\n", encoding="utf-8")
    table.write_into_docs()


if __name__ == "__main__":
    main(sys.argv[1:])
