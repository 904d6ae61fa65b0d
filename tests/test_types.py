"""What a user's type checker sees: the packages are typed, and names that are loaded on first use have their types."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import REPO

import caffe_compat
import golden
from ports import losses

SNIPPET = """
import caffe_compat, golden
from caffe_compat import Solver, load_net, load_split, read_caffemodel
from ports.datasets import read
from ports.losses import MultiSimilarityLoss, RankedListLoss
from paper_recipes import registry

reveal_type(load_net)
reveal_type(Solver)
reveal_type(load_split)
reveal_type(RankedListLoss())
reveal_type(MultiSimilarityLoss(alpha=2.0))
reveal_type(golden.check)
reveal_type(golden.load_set("osm"))
reveal_type(caffe_compat.CaffeSGD)
reveal_type(registry.get("rll-sop"))
reveal_type(read("sop", "."))
RankedListLoss(no_such_setting=1)
load_net()
"""


@pytest.mark.slow
def test_a_users_mypy_knows_our_names(tmp_path):
    (tmp_path / "user.py").write_text(SNIPPET)
    # Without torch and the rest of site-packages, which takes five times as long and more and gives our names no other types.
    silent = ["--follow-imports=silent", "--ignore-missing-imports", "--no-site-packages"]
    command = [sys.executable, "-m", "mypy", "user.py", *silent]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(REPO)}, capture_output=True, text=True
    )
    shown = [line.split(": ", 2)[2] for line in done.stdout.splitlines() if "Revealed type" in line]
    wanted = [
        *("caffe_compat.net.caffe_net.CaffeNet", "caffe_compat.solver.caffe_solver.Solver", "Split"),
        *("ports.losses.ranked_list.RankedListLoss", "ports.losses.multi_similarity.MultiSimilarityLoss"),
        *("golden.report.Report", "golden.cases.GoldenSet", "caffe_compat.solver.optim.CaffeSGD"),
        *("paper_recipes.recipe.Recipe", "ports.datasets.split.Split"),
    ]
    assert len(shown) == len(wanted), done.stdout + done.stderr
    for line, type_ in zip(shown, wanted):
        assert type_ in line and 'type is "Any"' not in line, line
    assert 'Unexpected keyword argument "no_such_setting"' in done.stdout
    assert 'Missing positional argument "prototxt" in call to "load_net"' in done.stdout


@pytest.mark.parametrize("package", ["ports", "caffe_compat", "paper_recipes", "golden"])
def test_the_packages_say_that_they_are_typed(package):
    assert (REPO / package / "py.typed").is_file()


@pytest.mark.parametrize("module", [caffe_compat, losses, golden])
def test_type_checkers_are_told_of_every_lazy_name(module):
    """The table that `__getattr__` looks into, and the imports that type checkers read, name the same from the same place."""
    table = dict(getattr(module, "_NAMES", None) or module._MODULES)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    told = {}
    for node in block.body:
        for alias in node.names:
            assert alias.asname == alias.name, "only `X as X` is exported"
            told[alias.name] = (node.module or "").removeprefix(f"{module.__name__}.")
    told.pop("adapters", None)  # a module
    assert told == table
