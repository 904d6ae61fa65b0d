"""golden/data: every file has a provenance, none is large, kinds are never mixed."""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
import sys

import pytest
from helpers.programs import GIT

from golden.integrity import DATA, DIGESTS, digests
from golden.manifest import KINDS, entries, provenance
from golden.published import rows

REPO = DATA.parents[1]
MB = 1_000_000


def files() -> list[str]:
    """What a clone has: tracked files; all files where there is no git."""
    paths = list(DATA.rglob("*"))
    if GIT is not None:
        listed = subprocess.run([GIT, "ls-files", "-z", str(DATA)], cwd=REPO, capture_output=True, text=True)
        if listed.returncode == 0:
            paths = [REPO / n for n in listed.stdout.split("\0") if n]
    names = sorted(path.relative_to(DATA).as_posix() for path in paths if path.is_file())
    return [name for name in names if name not in ("manifest.json", DIGESTS)]


FILES = files()


def test_sizes():
    sizes = {name: (DATA / name).stat().st_size for name in FILES}
    assert FILES and not {name: size for name, size in sizes.items() if size >= MB}
    assert sum(sizes.values()) < 20 * MB


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_provenance(name):
    entry = provenance(name)
    assert entry["kind"] in KINDS
    assert all(entry[field].strip() for field in ("program", "release", "dtype", "what", "licence"))


def test_every_entry_matches_a_file():
    present = [p.relative_to(DATA).as_posix() for p in DATA.rglob("*") if p.is_file()]
    unused = [pattern for entry in entries() for pattern in entry["files"] if not fnmatch.filter(present, pattern)]
    assert not unused


def test_an_unknown_file_has_none():
    with pytest.raises(KeyError, match="does not say where new/file"):
        provenance("new/file.npz")


def test_published_rows_are_of_known_kinds():
    known = provenance("published.json")["row_kinds"]
    assert {row["kind"] for row in rows()} == set(known) and set(known.values()) <= set(KINDS)
    assert all(row["source"].strip() for row in rows())


def test_own_runs_are_never_called_the_authors():
    """Whatever the data of the bundled sets are from must be an authors' program."""
    for folder in ("losses_caffe/cases.npz", "python_sets/sets.npz"):
        assert provenance(folder)["kind"] == "authors_program"
    assert json.loads((DATA / "manifest.json").read_text())["kinds"] == list(KINDS)


def test_every_file_has_a_digest():
    assert set(digests()) == {*FILES, "manifest.json"}, "python tools/write_digests.py"


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, and its command line."""
    shutil.copytree(DATA.parent, tmp_path / "golden", ignore=shutil.ignore_patterns("__pycache__"))

    def run(*arguments):
        command = [sys.executable, "-m", "golden", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""})
        return done.returncode, done.stdout + done.stderr

    run.data = tmp_path / "golden" / "data"
    return run


@pytest.mark.parametrize("name", ["python_sets/sets.npz", "losses_caffe/cases.json"])
def test_one_flipped_byte_is_refused_with_the_files_name(copy, tmp_path, name):
    assert copy("verify") == (0, f"{len(digests())} data files are as recorded\n")
    content = bytearray((copy.data / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy.data / name).write_bytes(content)
    code, output = copy("verify")
    assert code == 1 and f"{name} is not the file that was recorded" in output and len(output.splitlines()) == 1
    (tmp_path / "f.py").write_text("def loss(x, y):\n    return 0.0, 0 * x\n")
    code, output = copy("check", "f.py:loss", "--against", "ms" if name.endswith("npz") else "osm")
    assert code == 2 and f"{name} is not the file that was recorded" in output and "Traceback" not in output


def test_missing_and_unlisted_files_are_told(copy):
    (copy.data / "unheld.json").unlink()
    (copy.data / "more.npz").write_bytes(b"")
    code, output = copy("verify")
    assert code == 1 and "unheld.json cannot be read: No such file" in output and "more.npz is not listed" in output
    (copy.data / DIGESTS).write_text("[]")
    code, output = copy("verify")
    assert code == 2 and "cannot be read as a list of digests" in output and "Traceback" not in output
