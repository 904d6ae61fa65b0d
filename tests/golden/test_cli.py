"""`python -m golden`: exit codes, and a clear message for everything that can go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.golden_cli import golden

from golden.loading import LoadError, load_loss, parse_keywords
from golden.records import load_record

SET = ("--against", "contrastive-deep-metric")


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    return golden


def test_check_passes_and_fails(run, sample_file):
    result = run("check", f"{sample_file}:Right", *SET)
    assert result.exit_code == 0 and "Right equals contrastive-deep-metric (19 of 19 cases pass)" in result.output
    result = run("check", f"{sample_file}:Means", *SET)
    assert result.exit_code == 1
    assert "positives and negatives of an anchor are averaged, not summed" in " ".join(result.output.split())


def test_several_keywords_may_follow_kwargs(run, sample_file):
    result = run("check", f"{sample_file}:Right", *SET, "--kwargs", "margin=0.3")
    assert result.exit_code == 1 and "matches with margin=0.3; the set has margin=0.5" in result.output
    result = run("check", "ports.losses:RankedListLoss", "--kwargs", "margin=1.2", "T_n=10", "variant=as_released")
    assert result.exit_code == 0


def test_reports_are_written(run, sample_file, tmp_path):
    result = run(
        "check", f"{sample_file}:Right", *SET, "--report", "a.md", "--report", "a.json", "--plot", "a.png", "--json"
    )
    assert result.exit_code == 0 and json.loads(result.output)["passed"] is True
    assert json.loads((tmp_path / "a.json").read_text())["passed"] is True
    assert (tmp_path / "a.md").read_text().startswith("# Right equals")
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "name", ["not_a_number", "per_sample", "detached", "python_number", "raises", "infinite_gradient"]
)
def test_a_loss_that_gives_no_numbers_fails_without_a_traceback(run, sample_file, name):
    result = run("check", f"{sample_file}:{name}", *SET)
    assert result.exit_code == 1 and "error" in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "no_such_module:Loss"), "cannot import no_such_module: ModuleNotFoundError"),
        (("check", "no_file.py:Loss"), "no file no_file.py"),
        (("check", "Right"), "is not MODULE:NAME"),
        (("check", "SAMPLES:Wrong"), "has no 'Wrong'; it has"),
        (("check", "SAMPLES:NOT_CALLABLE"), "is a int, not a callable"),
        (("check", "SAMPLES:Right", "--kwargs", "marginn=1"), "Right(marginn=1) failed: TypeError"),
        (("check", "SAMPLES:Right", "--kwargs", "1.2"), "'1.2' is not NAME=VALUE"),
        (("check", "SAMPLES:per_sample", "--kwargs", "scal=1"), "cannot take scal=1: got an unexpected keyword"),
        (("check", "SAMPLES:Right", "--against", "rlll"), "no golden set named 'rlll'; similar: "),
        (("check", "SAMPLES:Right", "--against", "zzzz"), "`python -m golden list` shows them"),
        (("check", "SAMPLES:Right", "--tolerance", "-1"), "a tolerance is not negative, got -1.0"),
        (("check", "SAMPLES:Right", *SET, "--report", "SAMPLES/a.md"), "cannot write SAMPLES/a.md"),
        (
            ("check", "SAMPLES:Right", "--against", "rll-cvpr20"),
            "no golden set named 'rll-cvpr20'; similar: rll-cvpr19",
        ),
        (("check", "SAMPLES:Right", "--against", "./nowhere"), "no golden set and no record at"),
        (("check", "SAMPLES:Right", "--adapter", "magic"), "unknown adapter 'magic'"),
        (("check", "SAMPLES:Right", "--report", "a.pdf"), "the name must end in"),
        (("check", "SAMPLES:Right", "--device", "cuda:99"), "device 'cuda:99'"),
        (("check", "SAMPLES:Right", "--case", "nothing"), "has no case named 'nothing'; its"),
        (("check", "SAMPLES:Right", "--dtype", "float16"), "argument --dtype: invalid choice: 'float16'"),
        (("list", "nothing*"), "no golden set matches"),
        (("published", "--paper", "nothing"), "no published number matches"),
        (("published", "--kind", "nope"), "no published number is of kind 'nope'; there are: published, "),
        (("nonsense",), "no command 'nonsense'. `python -m golden --help` lists them"),
    ],
)
def test_usage_errors_exit_with_2(run, sample_file, arguments, words):
    result = run(*(a.replace("SAMPLES", str(sample_file)) for a in arguments))
    assert result.exit_code == 2, result.output
    words = words.replace("SAMPLES", str(sample_file))
    assert words in " ".join(result.output.split()) and "Traceback" not in result.output


def test_a_module_that_raises_while_imported_names_the_line(run, tmp_path):
    (tmp_path / "broken.py").write_text("import torch\n\nvalue = 1 / 0\n")
    result = run("check", "broken.py:Loss")
    assert (
        result.exit_code == 2
        and "cannot import broken.py: ZeroDivisionError: division by zero (broken.py:3)" in result.output
    )
    (tmp_path / "script.py").write_text(
        "import sys\nsys.exit(4)\n"
    )  # no main guard: its exit code must not become ours
    result = run("check", "script.py:Loss")
    assert result.exit_code == 2 and "cannot import script.py: SystemExit: 4 (script.py:2)" in result.output
    (tmp_path / "broken2.py").write_text("def f(:\n")
    assert "SyntaxError" in run("check", "broken2.py:f").output


def test_a_function_gets_its_keywords(sample_file, tmp_path):
    (tmp_path / "f.py").write_text("def f(embeddings, labels, scale=1.0):\n    return scale\n")
    assert load_loss(f"{tmp_path / 'f.py'}:f", {"scale": 3})(0, 0) == 3
    assert parse_keywords(["a=1", "b=true", "c=None", "d=text", "e=[1, 2]", "f=1e-3", "g=True"]) == {
        "a": 1, "b": True, "c": None, "d": "text", "e": [1, 2], "f": 1e-3, "g": True,
    }  # fmt: skip
    with pytest.raises(LoadError):
        parse_keywords(["2x=1"])


def test_a_loss_of_other_arguments_is_told_what_the_set_gives(run, tmp_path):
    (tmp_path / "one.py").write_text(
        "def one(x):\n    return x.sum()\n\n\ndef leaves(x, y):\n    raise SystemExit(3)\n"
    )
    result = run("check", "one.py:one", "--against", "osm")
    assert result.exit_code == 1 and "the set calls the loss with (embeddings, labels, scores)" in result.output
    result = run("check", "one.py:leaves")
    assert result.exit_code == 1 and "SystemExit: 3 (one.py:6)" in " ".join(result.output.split())


def test_a_mistyped_set_is_told_before_torch_is_loaded(sample_file, tmp_path):
    command = [sys.executable, "-m", "golden", "check", f"{sample_file}:Right", "--against", "rlll"]
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 2 and "numpy" in imported and "torch" not in imported


def test_identify(run, sample_file):
    result = run("identify", f"{sample_file}:Right")
    assert result.exit_code == 0 and "equals   contrastive-deep-metric" in result.output
    assert sum(line.startswith("equals") for line in result.output.splitlines()) == 1
    found = json.loads(run("identify", f"{sample_file}:Right", "--json").output)
    assert found[0]["against"] == "contrastive-deep-metric" and found[0]["passed"] and not found[1]["passed"]
    result = run("identify", f"{sample_file}:Means")
    assert result.exit_code == 1 and "equals none of them; nearest is contrastive-deep-metric" in result.output
    assert "averaged, not summed" in " ".join(result.output.split())
    result = run("identify", f"{sample_file}:raises")
    assert result.exit_code == 1 and "gives no numbers on any set:\n  RuntimeError: not today" in result.output


def test_list_and_published(run):
    result = run("list")
    assert result.exit_code == 0 and "rll-cvpr19" in result.output and "T_n=10" in result.output
    entries = json.loads(run("list", "rll*", "--json").output)
    assert entries[0]["name"] == "rll-cvpr19" and len(entries[0]["cases"]) == 10
    rows = json.loads(run("published", "--paper", "RLL", "--dataset", "SOP", "--metric", "R@1", "--json").output)
    assert rows and all(row["source"] and row["exact_quote"] and "R@1" in row["metric"] for row in rows)
    assert run("published", "--paper", "RLL", "--dataset", "SOP", "--metric", "R@1").exit_code == 0


def test_record_then_check(run, sample_file, tmp_path):
    result = run("record", f"{sample_file}:Right", "--name", "mine", "--out", "records")
    assert result.exit_code == 0, result.output
    assert load_record(tmp_path / "records").kind == "own_run"
    for against in ("records", "records/mine", "records/mine.json"):
        result = run("check", f"{sample_file}:Right", "--against", against, "--dtype", "both")
        assert result.exit_code == 0 and "(own_run)" not in result.output and "own run (torch" in result.output, (
            result.output
        )
    result = run("check", f"{sample_file}:Doubled", "--against", "records")
    assert result.exit_code == 1 and "2 times the length" in result.output
    result = run("record", f"{sample_file}:Right", "--name", "mine", "--out", "records")
    assert result.exit_code == 1 and "exists" in result.output
    assert run("record", f"{sample_file}:Right", "--name", "mine", "--out", "records", "--force").exit_code == 0


def test_record_of_a_random_loss_is_refused(run, sample_file, tmp_path):
    result = run("record", f"{sample_file}:random_noise", "--name", "mine", "--out", "records")
    assert result.exit_code == 1 and "two runs differ" in result.output
    assert not (tmp_path / "records").exists() or not list((tmp_path / "records").iterdir())


def test_as_a_program(sample_file, tmp_path):
    """The real thing, from an empty folder: what a new user types."""
    (tmp_path / "mine.py").write_text(sample_file.read_text())
    command = [sys.executable, "-m", "golden", "check", "mine:Means", *SET]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "averaged, not summed" in " ".join(done.stdout.split()) and not done.stderr
    assert np.all([c < "\x7f" for c in done.stdout])
