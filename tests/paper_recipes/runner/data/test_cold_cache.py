"""Several processes that start on an empty cache at once: one draws the letters, the others wait for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.paths import environment

from paper_recipes import registry
from paper_recipes.runner.data import run_data, scale
from ports.datasets import glyphs
from ports.datasets.glyphs import GlyphVersionWarning

LETTERS = ([0x41, 0x416], [0x42, 0x417, 0x3B1])

# Both come to the drawing before either ends it, where nothing keeps the second one back; then each goes on for a second as a
# run does, and the folder that it has may not become another one.
TOGETHER = f"""
import json, os, sys, time, warnings
from dataclasses import replace
from pathlib import Path
from paper_recipes import registry
from paper_recipes.runner.data import run_data, scale
from ports.datasets import glyphs

warnings.simplefilter("ignore")
flags, me = Path(sys.argv[1]), sys.argv[2]
glyphs.letters = lambda: {LETTERS}
draw, drawn = glyphs._render_all, []

def both(*args):
    drawn.append(1)
    (flags / f"drawing-{{me}}").touch()
    end = time.monotonic() + 3
    while len(list(flags.glob("drawing-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return draw(*args)

glyphs._render_all = both
recipe = registry.get("ms-cub")
plan = replace(scale.embedded(recipe), train_classes=2, test_classes=3)
(flags / f"ready-{{me}}").touch()
while len(list(flags.glob("ready-*"))) < 2:
    time.sleep(0.01)
data = run_data.open_embedded(recipe, plan, 1)
root = Path(data.description["root"])
before, end = root.stat().st_ino, time.monotonic() + 1
while time.monotonic() < end:
    assert root.stat().st_ino == before, "the folder was replaced"
    assert all(os.path.exists(file) for file in [*data.train.files(), *data.test.files()])
    run_data.open_embedded(recipe, plan, 1)
print(json.dumps([len(drawn), data.description["train"]["fingerprint"], data.description["test"]["fingerprint"]]))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DML_PORTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(glyphs, "letters", lambda: LETTERS)
    return tmp_path / "cache"


def test_two_processes_on_a_cold_cache(cache, tmp_path):
    command = [sys.executable, "-c", TOGETHER, str(tmp_path)]
    both = [
        subprocess.Popen([*command, me], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        for me in "ab"
    ]
    ended = [(process.communicate(timeout=120), process.returncode) for process in both]
    assert [code for _, code in ended] == [0, 0], [err[-1500:] for (_, err), _ in ended]
    (a, b) = (json.loads(out) for (out, _), _ in ended)
    assert a[1:] == b[1:] and a[0] + b[0] == 1, "one draws, the other takes"
    assert sorted(path.name for path in cache.iterdir()) == ["glyphs"]


@pytest.mark.filterwarnings("ignore::ports.datasets.glyphs.GlyphVersionWarning")
def test_what_a_killed_process_left_is_swept_by_the_next_that_draws(cache):
    left = cache / ".glyphs.partial-1234"
    left.mkdir(parents=True)
    (left / "half.png").write_bytes(b"x")
    glyphs.build(cache / "glyphs", progress=False)
    assert not left.exists() and (cache / "glyphs" / glyphs.MARKER).is_file()


@pytest.mark.filterwarnings("ignore::ports.datasets.glyphs.GlyphVersionWarning")
def test_a_damaged_cache_is_made_anew_and_one_of_another_set_is_not_touched(cache):
    splits = glyphs.build(cache / "glyphs", progress=False)
    Path(splits["test"].file(3)).write_bytes(b"")  # a power cut leaves files of no bytes
    assert glyphs.build(cache / "glyphs", progress=False) == splits
    assert Path(splits["test"].file(3)).stat().st_size > 100
    assert sorted(path.name for path in cache.iterdir()) == ["glyphs"]


def test_a_complete_cache_that_cannot_be_written_serves(cache, monkeypatch):
    """Simulated by a refused `open` for writing below the cache: root may write through any file mode."""
    with pytest.warns(GlyphVersionWarning):
        glyphs.build(cache / "glyphs", progress=False)
    real = os.open

    def read_only(path, flags, *args, **more):
        if str(path).startswith(str(cache)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(30, "Read-only file system", str(path))
        return real(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", read_only)
    recipe = registry.get("ms-cub")
    plan = replace(scale.embedded(recipe), train_classes=2, test_classes=3)
    with pytest.warns(GlyphVersionWarning):
        data = run_data.open_embedded(recipe, plan, 1)
    assert len(data.train) and not list((cache / "glyphs").glob("*.mat"))
