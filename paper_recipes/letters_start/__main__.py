"""`python -m paper_recipes.letters_start --out FOLDER`: trains the start anew and packs it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m paper_recipes.letters_start", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the checkpoint, the record and the packed file"
    )
    parser.add_argument("--steps", type=int, help="fewer, to try it")
    arguments = parser.parse_args()
    from paper_recipes.letters_start import finishing, training  # torch

    settings = training.Settings()
    if arguments.steps is not None:
        settings = dataclasses.replace(settings, steps=arguments.steps)
    net, seconds = training.train(settings, arguments.out)
    print(json.dumps(finishing.finish(net, settings, seconds, arguments.out), indent=1))


if __name__ == "__main__":
    main()
