"""A run, the same run again, and one that is killed between two checkpoints and resumed: equal files, to the bit.

The three share the card and run side by side: other work on the card must not change a bit either.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.jobs import RECIPES
from benchmarks.gpu.setting import REPO, Setting, attempts, environment, row
from paper_recipes.registry import get
from ports.files import sha256

COMPARED = ("steps.jsonl", "evaluations.jsonl")


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    yield from attempts(["rll-sop"] if setting.toy else list(RECIPES), lambda name: recipe_rows(name, setting))


def recipe_rows(name: str, setting: Setting) -> Iterator[dict[str, Any]]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        folders = {run: Path(work) / run for run in ("whole", "again", "killed")}
        killed_at = setting.steps - 1  # the checkpoint before it is at two thirds
        first = {
            run: start(name, setting, folder, *(["--kill-at", str(killed_at)] if run == "killed" else []))
            for run, folder in folders.items()
        }
        ends = {run: finish(child, setting) for run, child in first.items()}
        for run, (code, said) in ends.items():
            if code != (-9 if run == "killed" else 0):
                raise RuntimeError(f"the run {run!r} ended with {code}: {said}")
        code, said = finish(start(name, setting, folders["killed"], "--resume"), setting)
        if code != 0 or "resuming after iteration" not in said:
            raise RuntimeError(f"the resumed run ended with {code}: {said}")
        found = {run: digests(folder) for run, folder in folders.items()}
    batch = 6 if setting.toy else get(name).sampler.batch_size
    seconds = time.monotonic() - started
    for run, what in (("again", "the same run again"), ("killed", f"killed in step {killed_at} and resumed")):
        wrong = [file for file, digest in found["whole"].items() if found[run].get(file) != digest]
        note = f"{len(found['whole'])} files; last checkpoint {found['whole'][checkpoint(setting.steps)][:16]}"
        yield row(
            f"{name}, batch {batch}, {setting.steps} steps, {what}",
            "equal bits" if not wrong else "differs",
            target="equal bits",
            note=f"{note}; {seconds:.0f} s for all" if not wrong else f"differ: {', '.join(wrong)}",
            holds=not wrong,
        )


def checkpoint(iteration: int) -> str:
    return f"checkpoints/iteration_{iteration:06d}.safetensors"


Child = tuple[subprocess.Popen[str], Path]


def start(name: str, setting: Setting, out: Path, *options: str) -> Child:
    """The run, and the file of what it says: a pipe that nobody empties for a while would stop it."""
    command = [sys.executable, "-m", "benchmarks.gpu.one_run", name, setting.as_json(), str(out), *options]
    log = out.with_suffix(".log")
    with open(log, "w", encoding="utf-8") as said:
        environ = environment(OMP_NUM_THREADS="1" if setting.toy else "4")
        child = subprocess.Popen(command, cwd=REPO, env=environ, stdout=said, stderr=subprocess.STDOUT, text=True)
    return child, log


def finish(started: Child, setting: Setting) -> tuple[int, str]:
    """Exit code, and the last of what it said."""
    child, log = started
    try:
        child.wait(timeout=max(setting.left - 5, 1))
        said = ""
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        said = "\nended by the part's time limit"
    said = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n") + said
    print(said, flush=True)
    return child.returncode, said.strip()[-2000:].replace("\n", " | ")


def digests(out: Path) -> dict[str, str]:
    """sha256 of everything that equal runs have equal."""
    files = [*out.glob("checkpoints/*.safetensors"), *out.glob("embeddings/*.npy"), *(out / name for name in COMPARED)]
    return {str(file.relative_to(out)): sha256(file) for file in sorted(files)}
