"""Imports point one way: ports <- caffe_compat <- paper_recipes; golden stands alone; recipes know nothing of the runner."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import REPO

PACKAGES = ("ports", "caffe_compat", "paper_recipes", "golden")

# folder (or file) -> our packages that it may import
ALLOWED = {
    "ports": {"ports"},
    "caffe_compat": {"caffe_compat", "ports"},
    "golden": {"golden"},
    "paper_recipes": {"paper_recipes", "caffe_compat", "ports", "golden"},
}


def imported(file: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(package: str) -> list[Path]:
    return sorted((REPO / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    wrong = [
        f"{file.relative_to(REPO)} imports {name}"
        for file in sources(package)
        for name in imported(file)
        if name.split(".")[0] in set(PACKAGES) - ALLOWED[package]
    ]
    assert not wrong


def test_recipes_know_nothing_of_the_runner():
    recipes = [f for f in sources("paper_recipes") if "runner" not in f.parts and f.name != "__main__.py"]
    wrong = [f.name for f in recipes if any(name.startswith("paper_recipes.runner") for name in imported(f))]
    assert recipes and not wrong


def test_torchvision_is_imported_in_one_place():
    """Its wheel cannot load beside a CPU-only torch unless `ports.torchvision_compat` has mended it first."""
    wrong = []
    for package in PACKAGES:
        for file in sources(package):
            names = imported(file)
            if any(n.split(".")[0] == "torchvision" for n in names) and not (
                file.name == "torchvision_compat.py" or any("torchvision_compat" in n for n in names)
            ):
                wrong.append(str(file.relative_to(REPO)))
    assert not wrong


def test_no_file_is_longer_than_400_lines():
    long = {
        str(f.relative_to(REPO)): n
        for p in PACKAGES
        for f in sources(p)
        if (n := len(f.read_text().splitlines())) > 400
    }
    assert not long


@pytest.mark.parametrize(
    "statement", ["import golden", "import paper_recipes.registry", "import caffe_compat", "import ports"]
)
def test_looking_something_up_does_not_import_torch(statement):
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0
