"""What pyproject.toml says is true of the packages, and CITATION.cff says the same."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from helpers.paths import REPO

PACKAGES = ("caffe_compat", "ports", "paper_recipes", "golden")
WHOLE = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
ALONE = tomllib.loads((REPO / "golden" / "pyproject.toml").read_text(encoding="utf-8"))
# Who is there already when `golden` imports it: a framework whose loss it was given, the pytest whose plugin it is.
VISITORS = {"jax", "tensorflow", "keras", "pytest"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ]", requirement)[0].lower() for requirement in requirements}


def imported(*packages: str) -> dict[str, str]:
    """Foreign top-level modules of the packages' sources, each with a file that imports it."""
    found = {}
    for package in packages:
        for path in (REPO / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    modules = [node.module]
                found |= {module.split(".")[0]: path.relative_to(REPO).as_posix() for module in modules}
    return {
        name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *PACKAGES, "dml_golden"}
    }


def undeclared(modules: dict[str, str], declared: set[str]) -> dict[str, str]:
    of = metadata.packages_distributions()
    return {
        module: path
        for module, path in modules.items()
        if module not in VISITORS and not declared & {name.lower() for name in of.get(module, [module])}
    }


def test_what_is_imported_is_declared():
    declared = names(WHOLE["project"]["dependencies"]).union(
        *map(names, WHOLE["project"]["optional-dependencies"].values())
    )
    assert not undeclared(imported(*PACKAGES), declared)
    assert "markdown_it" in undeclared(imported(*PACKAGES), declared - {"markdown-it-py"}), (
        "what only rich brings is noticed"
    )


def test_extras_bring_what_they_are_named_for():
    extras = {name: names(value) for name, value in WHOLE["project"]["optional-dependencies"].items()}
    assert extras["onnx"] == {"onnx", "onnxruntime", "onnxscript"}, "torch.onnx.export needs the third"
    assert {"h5py"} == extras["hdf5"] and {"scikit-learn"} == extras["cluster"]
    (every,) = WHOLE["project"]["optional-dependencies"]["all"]
    assert every == f"dml-ports[{','.join(name for name in extras if name != 'all')}]"


@pytest.mark.parametrize("module", ["paper_recipes.runner.evaluate", "caffe_compat", "ports.losses", "golden"])
def test_the_core_imports_no_extra(module):
    extras = "onnx", "onnxruntime", "onnxscript", "h5py", "sklearn"
    code = f"import sys, {module}; print(sorted({set(extras)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("project", [WHOLE, ALONE], ids=["dml-ports", "dml-golden"])
def test_classifiers_are_the_pythons_that_are_allowed(project):
    listed = re.findall(r"Python :: 3\.(\d+)", "\n".join(project["project"]["classifiers"]))
    first, last = listed[0], listed[-1]
    assert project["project"]["requires-python"] == f">=3.{first}"
    assert listed == [str(minor) for minor in range(int(first), int(last) + 1)]
    for name in ("README.md", "constraints.txt", ".ci/run"):
        assert f"3.{first}-3.{last}" in (REPO / name).read_text(encoding="utf-8"), name


def test_both_projects_say_the_same():
    same = ("version", "license", "authors", "requires-python")
    assert [WHOLE["project"][key] for key in same] == [ALONE["project"][key] for key in same]
    citation = (REPO / "CITATION.cff").read_text(encoding="utf-8")
    for key, value in (("version", WHOLE["project"]["version"]), ("license", "BSD-3-Clause")):
        assert f"\n{key}: {value}\n" in citation
    assert f"  - name: {WHOLE['project']['authors'][0]['name']}\n" in citation
    assert re.findall(r"\n  - (?!name)(.*)", citation) == WHOLE["project"]["keywords"]


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_shipped(package):
    assert (REPO / package / "py.typed").is_file()
    assert "Typing :: Typed" in WHOLE["project"]["classifiers"]


def test_licences_are_shipped():
    for project, root in ((WHOLE, REPO), (ALONE, REPO / "golden")):
        assert all(Path(root, name).is_file() for name in project["project"]["license-files"])
    assert "THIRD_PARTY.md" in WHOLE["project"]["license-files"]
