"""5,000 seeded mutations of small real files: each reads or ends in CaffeFormatError, quickly and in bounded memory.

Every family of files runs in a process of its own with a limited address space, so that a crash of the interpreter,
a hang or an allocation out of proportion fails the test and not the test run.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.paths import DATA

FAMILIES = {"caffemodel": 1200, "solverstate": 700, "prototxt": 500, "mat": 1500, "mat73": 500, "h5": 600}
LIMIT_MIB = 512  # beyond what the process holds before the first file; the files have at most 30 kB

WORKER = r"""
import gzip, random, resource, sys, tempfile, time, warnings
from pathlib import Path
family, count, data, limit = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
from caffe_compat import CaffeFormatError, DialectError, read_caffemodel, read_net, read_solver, read_solverstate
from caffe_compat.matlab.lists import load_image_cells, load_splits, save_split, load_split
from ports.datasets.split import DatasetError
import h5py, scipy.io
warnings.simplefilter("ignore")
folder = Path(tempfile.mkdtemp())
tiny = data / "tiny"
readers = {
    "caffemodel": ([*tiny.glob("*/*.caffemodel")], [read_caffemodel]),
    "solverstate": ([*tiny.glob("*/*.solverstate")], [read_solverstate]),
    "prototxt": ([*tiny.glob("*/*.prototxt")], [read_net, read_solver]),
    "mat": ([*(data / "mat").glob("*.mat")], [load_splits, load_image_cells]),
    "mat73": ([], [load_splits]),
    "h5": ([*tiny.glob("*/*.h5")], [read_caffemodel, read_solverstate]),
}
files, read = readers[family]
if family in ("mat", "mat73"):  # the versions that no recorded file has
    for version in ("4",) if family == "mat" else ("7.3",):
        for source in ("sop_train_v7", "cub_train_box_v7") + (("mars_like_v7",) if family == "mat73" else ()):
            files.append(folder / f"{source}_{version}.mat")
            save_split(load_split(data / "mat" / f"{source}.mat"), files[-1], version=version)
contents = [f.read_bytes() for f in sorted(files)]
assert contents
rng = random.Random(family)

def mutate(original):
    raw = bytearray(original)
    kind = rng.randrange(7)
    if kind == 0:
        del raw[rng.randrange(len(raw)):]
    elif kind == 1:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        for _ in range(rng.choice((1, 2, 4))):
            raw[rng.randrange(len(raw))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 3:
        at, size = rng.randrange(len(raw)), rng.choice((1, 4, 8, 100))
        raw[at:at + size] = bytes([rng.choice((0, 0xFF))]) * size
    elif kind == 4:
        at = rng.randrange(len(raw))
        raw[at:at] = raw[rng.randrange(len(raw)):][:rng.choice((1, 4, 16, 300))]
    elif kind == 5:
        at = rng.randrange(len(raw))
        del raw[at:at + rng.choice((1, 4, 16, 300))]
    else:
        other = rng.choice(contents)
        raw = raw[:rng.randrange(len(raw))] + other[rng.randrange(len(other)):]
    return bytes(raw)

for reader in read:  # imports and caches count as "before"
    for content in contents:
        (folder / "x").write_bytes(content)
        try:
            reader(folder / "x")
        except (CaffeFormatError, DialectError):
            pass
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (limit << 20),) * 2)
failed = slowest = 0
for i in range(count):
    blob = mutate(rng.choice(contents))
    (folder / "x").write_bytes(blob)
    for reader in read:
        start = time.perf_counter()
        try:
            reader(folder / "x")
        except (CaffeFormatError, DialectError, DatasetError):
            failed += 1
        except BaseException as error:
            (folder / f"bad_{family}_{i}").write_bytes(blob)
            print(f"mutation {i} of {family}, kept as {folder}/bad_{family}_{i}: {error!r:.300}", flush=True)
            raise
        slowest = max(slowest, time.perf_counter() - start)
print(failed, slowest)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and sizes are read the Linux way")
@pytest.mark.parametrize("family", FAMILIES)
def test_mutations_end_in_a_format_error(family):
    count = FAMILIES[family]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", WORKER, family, str(count), str(DATA), str(LIMIT_MIB)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert run.returncode == 0, f"exit code {run.returncode}\n{run.stdout[-1500:]}\n{run.stderr[-1500:]}"
    failed, slowest = map(float, run.stdout.split()[-2:])
    assert failed > count / 5  # the mutations do hurt
    assert slowest < 10


def test_there_are_5000():
    assert sum(FAMILIES.values()) == 5000
