"""`golden add`: a sound set is taken, and one that is wrong in any way is refused with the reason; the bundled example is sound."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.golden_cli import golden as command
from helpers.paths import REPO

from golden.integrity import DATA
from golden.sets import contributed_names, load_set

PROGRAM = REPO / "tools" / "contributed" / "proxy_anchor.py"
FORMULA = f"{PROGRAM}:proxy_anchor"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DATA / "contributed" / "proxy-anchor", tmp_path / "mine")
    return tmp_path / "mine"


def edit(folder, facts=None, arrays=None):
    """Change what set.json says and what cases.npz holds."""
    path = folder / "set.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "name": "mine", **(facts or {})}))
    with np.load(folder / "cases.npz") as npz:
        held = {name: npz[name] for name in npz.files}
    np.savez(folder / "cases.npz", **{**held, **(arrays or {})})


def test_the_bundled_set_is_what_its_program_makes(tmp_path):
    subprocess.run([sys.executable, str(PROGRAM), str(tmp_path)], check=True)
    assert json.loads((tmp_path / "set.json").read_text()) == json.loads(
        (DATA / "contributed/proxy-anchor/set.json").read_text()
    )
    with np.load(tmp_path / "cases.npz") as made, np.load(DATA / "contributed/proxy-anchor/cases.npz") as kept:
        assert made.files == kept.files
        for name in made.files:  # exponentials of another machine's libm: 1e-16 each, of terms up to e^35
            np.testing.assert_allclose(made[name], kept[name], rtol=1e-12, atol=1e-12)


def test_the_bundled_set_is_sound_and_marked(folder):
    assert contributed_names() == ["proxy-anchor"] and load_set("proxy-anchor").kind == "independent_program"
    assert "independent program, not the authors'" in load_set("proxy-anchor").what
    edit(folder)
    result = command("add", folder, "--formula", FORMULA, "--check")
    assert (result.exit_code, result.output) == (0, "mine is sound: 8 cases\n")


@pytest.mark.parametrize(
    ("facts", "arrays", "words"),
    [
        ({}, {"plain_7x2:float64:loss": np.asarray(20.4)}, "plain_7x2: the formula does not give the recorded numbers (only the loss"),
        ({}, {"plain_7x2:float64:loss": np.asarray(np.nan)}, "plain_7x2, float64: the recorded numbers are not finite"),
        ({}, {"plain_7x2:input:embeddings": np.full((14, 8), np.inf)}, "plain_7x2: embeddings is not finite"),
        ({"params": {"alpha": 32.0, "delta": 0.1, "unused": 1.0}}, {}, "the formula does not give the recorded numbers"),
        ({"cases": {"plain_7x2": ["float64"]}}, {}, "1 cases; at least 4 are needed"),
        ({"cases": {n: ["float64"] for n in ("plain_7x2", "more_proxies_4x3", "near_5x2", "plain_7x2 ")}}, {}, "is not whole"),
        ({"cases": {n: ["float32"] for n in ("plain_7x2", "more_proxies_4x3", "near_5x2", "one_class_n5")}}, {}, "is not whole"),
        ({"name": "proxy-anchor"}, {}, "there is a golden set named 'proxy-anchor' already"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(folder, facts, arrays, words):
    edit(folder, facts, arrays)
    before = (DATA / "digests.json").read_bytes()
    result = command("add", folder, "--formula", FORMULA)
    assert result.exit_code in (1, 2) and words in result.output, result.output
    assert (DATA / "digests.json").read_bytes() == before and "mine" not in contributed_names()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"format": 2}, "format 2, expected 1"),
        ({"program": " "}, "'program' must be a text that says something, got ' '"),
        ({"licence": None}, "'licence' must be a text"),
        ({"name": "../evil"}, "'../evil' is not made of lower-case letters"),
        ({"kind": "own_run"}, "kind 'own_run' is none of authors_program, independent_program"),
        ({"params": []}, "'params' must be an object, got list"),
    ],
)
def test_a_set_json_of_another_kind_is_a_usage_error(folder, facts, words):
    edit(folder, facts)
    result = command("add", folder, "--formula", FORMULA)
    assert result.exit_code == 2 and words in result.output and "set.json" in result.output


def test_files_that_cannot_be_read(folder):
    (folder / "cases.npz").write_bytes(b"PK\x03\x04 no")
    result = command("add", folder, "--formula", FORMULA)
    assert result.exit_code == 2 and "cannot be read" in result.output
    (folder / "set.json").write_text("{")
    assert command("add", folder, "--formula", FORMULA).exit_code == 2
    assert command("add", folder / "nowhere", "--formula", FORMULA).exit_code == 2


def test_a_setting_that_no_case_notices_is_refused(folder, tmp_path):
    """A formula with a setting that does nothing; a reason under "inert" lets it pass."""
    (tmp_path / "idle.py").write_text(
        f"import sys\nsys.path.insert(0, {str(PROGRAM.parent)!r})\nfrom proxy_anchor import proxy_anchor\n\n\n"
        "def idle(x, y, w, alpha, delta, idle):\n    return proxy_anchor(x, y, w, alpha, delta)\n"
    )
    params = {"alpha": 32.0, "delta": 0.1, "idle": 2.0}
    edit(folder, {"params": params})
    result = command("add", folder, "--formula", f"{tmp_path / 'idle.py'}:idle", "--check")
    assert result.exit_code == 1 and "idle moved by +2 % to 2.04 is noticed by no case" in result.output
    edit(folder, {"params": params, "inert": {"idle": "read by nothing"}})
    assert command("add", folder, "--formula", f"{tmp_path / 'idle.py'}:idle", "--check").exit_code == 0


def test_a_gradient_that_is_no_derivative_says_so(folder, tmp_path):
    """The formula returns twice the gradient, and the records hold it: consistent, but not the value's derivative."""
    (tmp_path / "twice.py").write_text(
        f"import sys\nsys.path.insert(0, {str(PROGRAM.parent)!r})\nfrom proxy_anchor import proxy_anchor\n\n\n"
        "def twice(*a, **k):\n    v, (g, h) = proxy_anchor(*a, **k)\n    return v, (2 * g, 2 * h)\n"
    )
    with np.load(folder / "cases.npz") as npz:
        doubled = {n: 2 * npz[n] for n in npz.files if ":grad_" in n}
    edit(folder, {}, doubled)
    result = command("add", folder, "--formula", f"{tmp_path / 'twice.py'}:twice", "--check")
    assert result.exit_code == 1 and "is not the value's derivative" in result.output
    edit(folder, {"gradient": "as released"})
    assert command("add", folder, "--formula", f"{tmp_path / 'twice.py'}:twice", "--check").exit_code == 0


def test_a_set_that_is_added_is_there(folder, tmp_path):
    """In a copy of the package: its files, its provenance, its digests; then it is listed and checked like any other."""
    shutil.copytree(DATA.parent, tmp_path / "golden", ignore=shutil.ignore_patterns("__pycache__"))
    edit(folder)

    def run(*arguments):
        command = [sys.executable, "-m", "golden", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""})
        return done.returncode, done.stdout + done.stderr

    code, output = run("add", str(folder), "--formula", FORMULA)
    assert code == 0 and "added mine as independent_program" in output, output
    assert run("verify")[0] == 0 and "mine" in run("list", "mine")[1]
    shutil.copy(PROGRAM, tmp_path / "program.py")
    (tmp_path / "loss.py").write_text(
        "from program import proxy_anchor\n\n\ndef loss(x, y, w):\n    return proxy_anchor(x, y, w, 32.0, 0.1)\n"
    )
    code, output = run("check", "loss.py:loss", "--against", "mine")
    assert code == 0 and "loss equals mine (8 of 8 cases pass)" in output, output
