"""Imports point one way: ports <- caffe_compat <- paper_recipes; golden stands alone; recipes know nothing of the runner."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from helpers.paths import REPO

PACKAGES = ("ports", "caffe_compat", "paper_recipes", "golden")

# package -> its floors from the bottom up; a room may import from its own floor and those below, and a file beside the rooms
# ("hall") from wherever no circle comes of it. A room that stands beside others on a floor imports none of them.
FLOORS = {
    "ports": [{"backbones", "datasets", "images", "losses", "metrics", "samplers"}],
    "caffe_compat": [{"schema"}, {"formats"}, {"matlab", "layers"}, {"net"}, {"solver"}, {"tools"}],
    "paper_recipes": [{"nets"}, {"letters_start"}, {"runner"}],
    "paper_recipes.runner": [
        *({"data"}, {"engines"}, {"scoring", "evidence"}, {"training"}, {"verification"}, {"reports"}),
    ],
    "golden": [{"frameworks", "references"}, {"commands"}],
}
# What a function may import late: by the name alone one sees which heavy (or optional) package is avoided.
HEAVY = {
    "torch",
    "matplotlib",
    "scipy",
    "PIL",
    "tqdm",
    "h5py",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "safetensors",
    "sklearn",
}

# folder (or file) -> our packages that it may import
ALLOWED = {
    "ports": {"ports"},
    "caffe_compat": {"caffe_compat", "ports"},
    "golden": {"golden"},
    "paper_recipes": {"paper_recipes", "caffe_compat", "ports", "golden"},
}


def base(node: ast.ImportFrom, file: Path) -> str:
    """The module that a `from` import names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    package = file.relative_to(REPO).with_suffix("").parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def imported(file: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            name = base(node, file)
            found |= {name} | {f"{name}.{alias.name}" for alias in node.names}
    return found


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


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


@cache
def modules() -> dict[str, Path]:
    """Full name -> file, of every module of ours."""
    found = {}
    for package in PACKAGES:
        for file in sources(package):
            parts = file.relative_to(REPO).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def arrows() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports while it runs. What is imported for type checkers alone does not count."""
    found = {}
    for name, file in modules().items():
        typing_only = {
            node
            for block in ast.walk(tree(file))
            if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
            for statement in block.body
            for node in ast.walk(statement)
        }
        targets = set()
        for node in ast.walk(tree(file)):
            if node in typing_only:
                continue
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                start = base(node, file)
                parts = {f"{start}.{alias.name}" for alias in node.names}
                targets |= {part if part in modules() else start for part in parts}
        found[name] = (targets & set(modules())) - {name}
    return found


def circles(graph: dict[str, set[str]]) -> list[str]:
    """What remains when modules that import nothing of the rest, and modules that nothing of the rest imports, are taken off."""
    left = {name: set(targets) for name, targets in graph.items()}
    while True:
        wanted = set().union(*left.values()) if left else set()
        gone = {name for name, targets in left.items() if not targets or name not in wanted}
        if not gone:
            return sorted(left)
        left = {name: targets - gone for name, targets in left.items() if name not in gone}


def test_no_imports_run_in_a_circle():
    assert not circles(arrows())


def test_a_circle_is_seen():
    """Also one through a function-level import, and one that others hang on."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert not circles({"a": {"b"}, "b": {"c"}, "c": set()})


def room_of(module: str, package: str) -> str:
    """The sub-package of `package` that a module lies in; "" for a file beside the sub-packages."""
    rest = module.removeprefix(f"{package}.").split(".")
    return (
        rest[0] if f"{package}.{rest[0]}" in modules() and modules()[f"{package}.{rest[0]}"].stem == "__init__" else ""
    )


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_from_the_floors_below(package):
    floor = {room: height for height, rooms in enumerate(FLOORS[package]) for room in rooms}
    inside = [name for name in modules() if name.startswith(f"{package}.")]
    there = {room for name in inside if (room := room_of(name, package))}
    assert there == set(floor), "a new room gets its floor here"
    wrong = [
        f"{name} imports {target}"
        for name in inside
        for target in arrows()[name]
        if target.startswith(f"{package}.")
        and (here := room_of(name, package))
        and (other := room_of(target, package))
        and here != other
        and floor[other] >= floor[here]
    ]
    assert not wrong


def late_imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of the imports inside functions."""
    for function in ast.walk(tree(file)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from ((node.lineno, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node.lineno, base(node, file)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_function_imports_only_what_is_heavy_and_says_so(package):
    """A heavy package by its own name, or a module of ours with a comment on the line that names what it would drag in."""
    wrong = []
    for file in sources(package):
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, name in late_imports(file):
            if name.split(".")[0] not in HEAVY and "#" not in lines[number - 1]:
                wrong.append(f"{file.relative_to(REPO)}:{number}: {lines[number - 1].strip()}")
    assert not wrong


@pytest.mark.parametrize(
    "statement", ["import golden", "import paper_recipes.registry", "import caffe_compat", "import ports"]
)
def test_looking_something_up_does_not_import_torch(statement):
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_have_one_style(package):
    """A sentence first; `Args:`, `Raises:` and the like with indented entries, no underlined headings and no :param:."""
    wrong = []
    for file in sources(package):
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if re.search(r"^(Parameters|Returns|Raises|Yields|Attributes|Notes|Examples) *\n-+$|^:\w+", text, re.M):
                    wrong.append(f"{file.relative_to(REPO)}: {text.splitlines()[0]}")
    assert not wrong
