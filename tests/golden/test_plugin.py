"""The pytest plugin: parametrisation, messages, and what --golden-update may not touch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import golden

HEADER = "import pytest\nfrom sample_losses import *\n"


@pytest.fixture
def project(tmp_path, sample_file):
    (tmp_path / "sample_losses.py").write_text(sample_file.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")

    def run(body: str, *arguments: str) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(HEADER + body)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


def test_cases_become_tests(project):
    body = """
@pytest.mark.golden("contrastive-deep-metric", dtype="both")
def test_right(golden_check):
    assert golden_check(Right()).passed

@pytest.mark.golden("contrastive-deep-metric", cases=["g16*"])
def test_wrong(golden_check):
    golden_check(Means())

def test_whole_set(golden_check):
    golden_check(Right(), "contrastive-deep-metric")

def test_nothing_named(golden_check):
    golden_check(Right())
"""
    code, output = project(body, "-v")
    assert code == 1
    assert "test_right[g16_n8_d64_unbal26_out-float32] PASSED" in output and output.count("test_right[") == 38
    assert "test_wrong[g16_n8_d64_unbal26_out] FAILED" in output
    assert "averaged, not summed" in " ".join(output.split())  # the report, with its diagnosis
    assert "test_whole_set PASSED" in output and "golden_check needs a golden set" in output
    assert "Traceback" not in output


def test_only_what_is_recorded_becomes_a_test(project):
    """Of nca-k5 one case has no float32 run."""
    body = """
from ports.losses import NCALoss

@pytest.mark.golden("nca-k5", dtype="both")
def test_it(golden_check):
    golden_check(NCALoss(k=5))
"""
    code, output = project(body)
    assert code == 0 and "33 passed" in output, output


def test_a_wrong_mark_fails_its_own_test_and_no_other(project, tmp_path):
    marks = {
        '"rll-cvpr20"': "similar: rll-cvpr19",
        "": "takes the name of one golden set",
        '"ms", speed=3': "knows no speed",
        '"ms", cases=["nothing*"]': "ms has no case named 'nothing*'; its",
        '"rll-library", dtype="float32"': "rll-library has no case in float32, only in float64",
        '"ms", dtype="float16"': "takes dtype=",
    }
    tests = [f"@pytest.mark.golden({mark})\ndef test_{k}(golden_check):\n    pass\n" for k, mark in enumerate(marks)]
    body = "\n".join([*tests, "def test_fine():\n    pass\n"])
    body += '\ndef test_call(golden_check):\n    golden_check(Right(), "rll-cvpr20")\n'
    code, output = project(body)
    assert (
        code == 1
        and "INTERNALERROR" not in output
        and "another exception" not in output
        and f"1 failed, 1 passed, {len(marks)} errors" in output
    ), output
    assert all(words in output for words in marks.values()), output


def test_update_never_rewrites_the_authors_numbers(project):
    def state() -> dict[str, str]:
        files = [
            p for p in Path(golden.DATA).rglob("*") if p.is_file() and p.parent.name in ("losses_caffe", "python_sets")
        ]
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = state()
    body = '@pytest.mark.golden("contrastive-deep-metric")\ndef test_it(golden_check):\n    golden_check(Means())\n'
    code, output = project(body, "--golden-update")
    assert code == 1 and "DIFFERS from contrastive-deep-metric" in output
    assert state() == before


def test_a_loss_that_cannot_be_recorded_fails(project):
    body = '@pytest.mark.golden("records/mine")\ndef test_it(golden_check):\n    golden_check(random_noise)\n'
    code, output = project(body, "--golden-update")
    assert code == 1 and "two runs differ" in output


def test_loading_the_plugin_loads_neither_torch_nor_numpy():
    code = "import sys, golden.pytest_plugin; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
