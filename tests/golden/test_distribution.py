"""`pip install ./golden`: the checker alone, under its own name, with NumPy and without torch."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.paths import REPO

ALONE = tomllib.loads((REPO / "golden" / "pyproject.toml").read_text())["project"]
WHOLE = tomllib.loads((REPO / "pyproject.toml").read_text())

LOSSES = """
import numpy as np


def contrastive(x, y):
    s, same = x @ x.T, y[:, None] == y
    pull, push = same & (s < 1), ~same & (s > 0.5)
    g = (push.astype(float) - pull) / len(x)
    return (np.where(pull, 1 - s, 0).sum() + np.where(push, s, 0).sum()) / len(x), (g + g.T) @ x


def means(x, y):
    s, same = x @ x.T, y[:, None] == y
    pull, push = same & (s < 1), ~same & (s > 0.5)
    a, b = pull / np.maximum(pull.sum(1, keepdims=True), 1), push / np.maximum(push.sum(1, keepdims=True), 1)
    g = (b - a) / len(x)
    return ((a * (1 - s)).sum() + (b * s).sum()) / len(x), (g + g.T) @ x
"""
TESTS = """
import pytest
from losses import contrastive, means


@pytest.mark.golden("contrastive-deep-metric")
def test_right(golden_check):
    golden_check(contrastive)


@pytest.mark.golden("contrastive-deep-metric", cases=["s05*"])
def test_wrong(golden_check):
    golden_check(means)
"""


_SEEN = {
    "numpy": ("numpy", "numpy.libs"),
    "pytest": (
        "pytest",
        "_pytest",
        "py.py",
        "pluggy",
        "iniconfig",
        "packaging",
        "pygments",
        "tomli",
        "exceptiongroup",
        "typing_extensions.py",
    ),
}


def test_both_projects_say_the_same():
    for field in ("version", "license", "requires-python"):
        assert ALONE[field] == WHOLE["project"][field]
    assert (REPO / "golden" / "LICENSE").read_text() == (REPO / "LICENSE").read_text()
    assert ALONE["dependencies"] == [d for d in WHOLE["project"]["dependencies"] if d.startswith("numpy")]
    # pytest loads a plugin name once, wherever both are installed.
    assert set(ALONE["entry-points"]["pytest11"]) == set(WHOLE["project"]["entry-points"]["pytest11"]) == {"golden"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=REPO / "golden", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("dml_golden-*.whl")
    return made


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """A new virtual environment with the wheel; of this one it sees NumPy and pytest, and nothing else."""
    root = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "env")], check=True)
    python = root / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True)
    (site,) = (root / "env" / "lib").glob("python*/site-packages")
    for owner, names in _SEEN.items():
        home = Path(find_spec(owner).origin).parents[1]
        for name in filter(lambda n: (home / n).exists(), names):
            (site / name).symlink_to(home / name)
    (root / "losses.py").write_text(LOSSES)
    (root / "test_losses.py").write_text(TESTS)

    def run(*arguments: str) -> tuple[int, str]:
        environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        done = subprocess.run([str(python), *arguments], cwd=root, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    run.root = root
    return run


@pytest.mark.slow
def test_the_wheel_holds_one_package_with_its_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (n for n in names if n.endswith("METADATA"))
        wanted = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    assert {n.split("/")[0].split("-")[0] for n in names} == {"dml_golden"} and not [n for n in names if "/./" in n]
    data = {p.relative_to(REPO / "golden").as_posix() for p in (REPO / "golden" / "data").rglob("*") if p.is_file()}
    assert data and data == {n.removeprefix("dml_golden/") for n in names if n.startswith("dml_golden/data/")}
    assert [line for line in wanted if "extra ==" not in line] == ["Requires-Dist: numpy>=1.26"]


@pytest.mark.slow
def test_commands_work_without_torch(alone):
    code = "import sys, importlib.util as u; sys.exit(any(map(u.find_spec, ('torch', 'golden', 'ports', 'click'))))"
    assert alone("-c", code) == (0, "")
    code, output = alone("-m", "dml_golden", "verify")
    assert code == 0 and "are as recorded" in output
    check = ("-m", "dml_golden", "check", "--against", "contrastive-deep-metric")
    code, output = alone(*check, "losses.py:contrastive", "--dtype", "both", "--report", "a.md", "--report", "a.json")
    assert code == 0 and "contrastive equals contrastive-deep-metric (38 of 38 cases pass)" in output
    assert "Warning" not in output
    assert json.loads((alone.root / "a.json").read_text())["passed"] is True
    code, output = alone(*check, "losses.py:means")
    assert code == 1 and "averaged, not summed" in " ".join(output.split())
    code, output = alone("-m", "dml_golden", "identify", "losses.py:contrastive")
    assert code == 0 and "equals   contrastive-deep-metric" in output
    code, output = alone("-m", "dml_golden", "record", "losses.py:contrastive", "--name", "mine", "--out", "records")
    assert code == 0, output
    assert alone("-m", "dml_golden", "check", "losses.py:contrastive", "--against", "records")[0] == 0
    code, output = alone("-m", "dml_golden", "list", "nothing")
    assert code == 2 and output.startswith("error: no golden set matches")
    program = "from dml_golden.mutants import *; print([r.verdict for r in rows(load_set('ms'), 'no_miner')].count('fail') > 0)"
    assert alone("-c", program) == (0, "True\n")


@pytest.mark.slow
def test_the_pytest_plugin_works_without_torch(alone):
    code, output = alone("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_losses.py")
    assert code == 1 and "19 passed" in output and "1 failed" in output and "averaged, not summed" in output


@pytest.mark.slow
def test_a_cold_check_takes_less_than_a_second(alone):
    """Of this process's children, in CPU time: 0.4 s measured, most of it NumPy's import."""
    command = ("-m", "dml_golden", "check", "losses.py:contrastive", "--against", "contrastive-deep-metric")
    alone(*command)  # writes the .pyc files
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert alone(*command)[0] == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
