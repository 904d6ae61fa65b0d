"""200 mutants of every file format: each reads or is refused by its reader's own error; `python -m tests.fuzz` does more.

Every mutant is read under a limit of memory (ten times the file and 100 MB) and of time (2 s of the processor), in a
process that may crash without taking the tests with it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from helpers.paths import REPO, environment

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are set the Linux way")
#: Above this share of mutants that read all the same, the mutations of a binary format would not hurt.
MOST_READ = 0.9


@pytest.mark.slow
def test_200_mutants_of_each_format(tmp_path):
    out = tmp_path / "counts.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--n", "200", "--json", str(out), "--keep", str(tmp_path / "kept")],
        cwd=REPO,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    counts = {name: facts["counts"] for name, facts in json.loads(out.read_text()).items()}
    assert len(counts) >= 40
    for name, ended in counts.items():
        assert sum(ended.values()) == 200
        assert ended.get("refused", 0) >= 200 * (1 - MOST_READ), f"{name}: the mutations do not hurt: {ended}"


BROKEN = """
import os
from tests.fuzz.format import Format
from tests.fuzz.runner import fuzz

def crash(path): os.kill(os.getpid(), 11)
def hang(path):
    while True: pass
def devour(path): return [bytes(1 << 20) for _ in range(1 << 14)]
def undocumented(path): raise KeyError("x.bin")
def nameless(path): raise ValueError("what file?")
def good(path): raise ValueError(f"{path}: damaged")

parent = os.getpid()
for reader in (crash, hang, devour, undocumented, nameless, good):
    def read(path, reader=reader):
        if os.getpid() != parent:  # the parent reads the seeds, which must be good
            reader(path)
    print(reader.__name__, dict(fuzz(Format(reader.__name__, "x.bin", lambda folder: [b"a few bytes"], read, (ValueError,)), 3).counts))
"""


@pytest.mark.slow
def test_the_fuzzer_notices_what_it_is_for():
    """Readers that crash, hang, devour memory or raise something else than they promise are counted as such."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], cwd=REPO, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        "crash {'crash': 3}",
        "hang {'time': 3}",
        "devour {'memory': 3}",
        "undocumented {'undocumented': 3}",
        "nameless {'undocumented': 3}",
        "good {'refused': 3}",
    ]


def test_mutants_are_the_same_in_every_run():
    sys.path.insert(0, str(REPO))
    try:
        from tests.fuzz.mutate import mutant
    finally:
        sys.path.remove(str(REPO))
    seeds = [b"path,label\n1,2\n", bytes(range(256))]
    first, again = ([mutant(seeds, random.Random(f"x:{i}")) for i in range(50)] for _ in range(2))
    assert first == again and len(set(first)) > 40
