"""`python -m benchmarks.gpu` on a machine without a GPU: its cheapest part runs, and what goes wrong in a part stays there."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.paths import REPO, environment


@pytest.fixture
def gpu(monkeypatch):
    """The program's modules by name; `benchmarks` is not installed."""
    monkeypatch.syspath_prepend(str(REPO))
    return lambda name: importlib.import_module(f"benchmarks.gpu.{name}")


def call(*args: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *args]
    return subprocess.run(command, cwd=REPO, env=environment(), capture_output=True, text=True, timeout=timeout)


def setting(gpu, out: Path, **more):
    return gpu("setting").Setting(
        **{"toy": True, "device": "cpu", "out": str(out), "steps": 3, "seconds": 60.0, **more}
    )


@pytest.mark.slow
def test_the_cheapest_part_at_toy_size(tmp_path):
    before = (REPO / "benchmarks" / "RESULTS.md").read_bytes()
    done = call("--out", str(tmp_path), "--parts", "recall", "--toy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Untried, since only a GPU can try it: recall." in done.stdout
    record = json.loads((tmp_path / "results.json").read_text())
    part = record["parts"]["recall"]
    assert record["toy"] and part["status"] == "done" and part["error"] == ""
    assert [row["name"] for row in part["rows"]] == [
        "recall@K 2,000 x 512", "recall@K 1,000 queries in 8,000 x 512", "recall@K 8,000 x 512",
    ]  # fmt: skip
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in part["rows"])
    assert (REPO / "benchmarks" / "RESULTS.md").read_bytes() == before
    refused = call("--take", str(tmp_path))
    assert refused.returncode == 2 and "toy sizes on a CPU measure nothing" in refused.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--out", "x", "--parts", "bits,bytes"), "there is no part 'bytes'. There are: letters, tests, bits"),
        (("--parts", "bits"), "--out FOLDER is needed"),
        (("--out", "x", "--budget", "0"), "0 is not in the range"),
    ],
)
def test_bad_input_is_one_line(args, said):
    done = call(*args)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (REPO / "x").exists()


def test_a_folder_with_another_results_file_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("{torn")
    done = call("--out", str(tmp_path), "--parts", "recall")
    assert done.returncode == 2 and "results.json: not JSON" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "results.json").read_text() == "{torn"


def fake(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_part_that_raises_keeps_its_rows_and_says_why(gpu, tmp_path):
    text = f"open({str(tmp_path / 'p.jsonl')!r}, 'w').write('{{\"name\": \"known\"}}\\n{{\"torn'); raise ValueError('no such kernel')"
    outcome = gpu("children").run("p", setting(gpu, tmp_path), fake(text))
    assert outcome.status == "failed" and outcome.error == "exit code 1: ValueError: no such kernel"
    assert outcome.rows == [{"name": "known"}]


def test_a_part_that_dies_without_a_word(gpu, tmp_path):
    outcome = gpu("children").run("p", setting(gpu, tmp_path), fake("import os; os.kill(os.getpid(), 11)"))
    assert outcome.status == "failed" and outcome.error == "signal SIGSEGV: it said nothing"


@pytest.mark.slow
def test_a_part_out_of_time_leaves_no_process_behind(gpu, tmp_path):
    """The child that it started ignores SIGTERM, as a hanging CUDA program may."""
    inner = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(100)"
    text = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {inner!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(100)"
    )
    outcome = gpu("children").run("p", setting(gpu, tmp_path, seconds=10.0), fake(text))
    pid = (tmp_path / "p.log").read_text().strip()
    assert outcome.status == "timed out" and outcome.error == f"after 10 s; {pid}"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(int(pid)):
        time.sleep(0.1)
    assert not _alive(int(pid))


def _alive(pid: int) -> bool:
    """A process that nobody has waited for yet is dead all the same."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_after_a_failure_the_next_part_starts_and_each_is_recorded_at_once(gpu, tmp_path, monkeypatch):
    children, seen = gpu("children"), []

    def run(name, setting):
        path = tmp_path / "results.json"
        seen.append(sorted(json.loads(path.read_text())["parts"]) if path.exists() else [])
        wrong = [{"name": "bits", "holds": False}]
        return (
            children.Outcome("failed", 1.0, "out of memory")
            if name == "letters"
            else children.Outcome("done", rows=wrong)
        )

    monkeypatch.setattr(children, "run", run)
    main = gpu("__main__")
    assert not main.run(tmp_path, ["letters", "bits"], toy=True, budget=100, steps=3)
    assert seen == [[], ["letters"]]
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert parts["letters"]["error"] == "out of memory" and parts["bits"]["rows"][0]["holds"] is False
    monkeypatch.setattr(
        children, "run", lambda name, setting: children.Outcome("done", rows=[{"name": "x", "holds": True}])
    )
    assert main.run(tmp_path, ["bits"], toy=True, budget=100, steps=3)
    assert set(json.loads((tmp_path / "results.json").read_text())["parts"]) == {
        "letters",
        "bits",
    }  # the other one stays


def test_what_does_not_fit_the_budget_is_left_out_by_name(gpu, tmp_path, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(gpu("results"), "device", lambda: "cuda")
    children = gpu("children")

    def run(name, setting):
        started.append((name, setting.seconds, setting.device, setting.toy))
        return children.Outcome("done", 1.0)

    monkeypatch.setattr(children, "run", run)
    expected = gpu("schedule").PARTS["letters"].expected
    assert not gpu("__main__").run(tmp_path, ["letters", "tests"], toy=False, budget=expected + 5, steps=30)
    (only,) = started
    assert only[0] == "letters" and expected - 1 < only[1] <= expected and only[2:] == ("cuda", False)
    part = json.loads((tmp_path / "results.json").read_text())["parts"]["tests"]
    assert part["status"] == "skipped" and part["error"].startswith(
        f"about {gpu('schedule').PARTS['tests'].expected} s needed"
    )
    assert "tests: skipped" in capsys.readouterr().out


def test_figures_of_a_gpu_are_taken_into_the_report(gpu, tmp_path, monkeypatch):
    results = gpu("results")
    target, folder = tmp_path / "benchmarks", tmp_path / "run"
    target.mkdir()
    machine = {"gpu": "NVIDIA Test", "processor": "x", "threads": 1, "torch": "2"}
    (target / "results.json").write_text(json.dumps({"recall": {"date": "d", "machine": machine, "rows": []}}))
    for module in (results, importlib.import_module("benchmarks.__main__")):
        monkeypatch.setattr(module, "HERE", target)
    part = {
        "status": "done",
        "seconds": 1,
        "error": "",
        "rows": [gpu("setting").row("steps", "equal bits", holds=True)],
    }
    late = {"status": "timed out", "seconds": 9, "error": "after 9 s", "rows": []}
    record = {"date": "2026-01-01", "toy": False, "machine": machine, "parts": {"bits": part, "fast": late}}
    gpu("results").write_json(folder / "results.json", record)
    assert results.take(folder) == "1 rows of 1 parts, NVIDIA Test"
    text = (target / "RESULTS.md").read_text()
    assert (
        "## gpu\n\n2026-01-01, NVIDIA Test" in text
        and "| bits: steps | equal bits |" in text
        and "- fast: timed out: after 9 s" in text
    )
    assert set(json.loads((target / "results.json").read_text())) == {"recall", "gpu"}
    later = {"fast": {**part, "rows": [gpu("setting").row("compiled", 2.0)]}}
    gpu("results").write_json(folder / "results.json", record | {"parts": later, "date": "2026-01-02"})
    results.take(folder)
    text = (target / "RESULTS.md").read_text()
    assert "\n2026-01-01 (bits); 2026-01-02 (fast), NVIDIA Test" in text
    assert "| bits: steps | equal bits |" in text and "| fast: compiled | 2 |" in text and "timed out" not in text


WITH_XDIST = """\
[gw1] [ 25%] PASSED tests/a.py::test_one[x-1]
[gw0] [ 50%] FAILED tests/a.py::test_two
[gw1] [ 75%] SKIPPED tests/a.py::test_three
[gw1] [100%] PASSED tests/b.py::test_four
=========== short test summary info ===========
SKIPPED [1] tests/conftest.py:20: needs the recorded outputs
FAILED tests/a.py::test_two - AssertionError: 1e-3
====== 1 failed, 2 passed, 1 skipped in 3.21s ======
"""
ALONE = """\
tests/a.py::test_one[x-1] PASSED                                  [ 50%]
tests/a.py::test_two SKIPPED (needs a CUDA device)                [100%]
====== 1 passed, 1 skipped, 31 deselected in 0.5s ======
"""


def test_a_row_is_strict_json(gpu):
    made = gpu("setting").row("x", float("nan"), peer=float("inf"), ratio=2.0)
    assert (
        json.loads(json.dumps(made, allow_nan=False))["ours"] == "nan"
        and made["peer"] == "inf"
        and made["ratio"] == 2.0
    )


def test_what_pytest_says_is_counted(gpu):
    outcomes = gpu("parts.tests").outcomes
    first, failed = outcomes(WITH_XDIST, toy=False)
    assert (first["ours"], first["peer"], first["holds"]) == (2, 3, False)
    assert "1 skipped: needs the recorded outputs" in first["note"]
    assert (failed["name"], failed["ours"], failed["note"]) == (
        "tests/a.py::test_two",
        "failed",
        "AssertionError: 1e-3",
    )
    (alone,) = outcomes(ALONE, toy=False)
    assert (alone["ours"], alone["holds"]) == (1, True)
    (cut,) = outcomes("\n".join(WITH_XDIST.splitlines()[:1]) + "\nended by the time limit\n", toy=False)
    assert cut["ours"] == 1 and cut["holds"] is False
    (none,) = outcomes("===== no tests ran: 3 deselected in 1s =====", toy=False)
    assert none["holds"] is False  # nothing was tested


def test_every_test_marked_gpu_is_in_a_file_that_is_read(gpu):
    files = gpu("parts.tests").marked()
    assert "tests/paper_recipes/runner/training/test_cuda_bits.py" in files and len(files) >= 9


@pytest.mark.parametrize("changed", [None, "steps.jsonl", "checkpoints/iteration_000003.safetensors"])
def test_a_run_that_differs_in_one_file_is_told(gpu, tmp_path, monkeypatch, changed):
    bits = gpu("parts.bits")
    names = (*bits.COMPARED, "checkpoints/iteration_000003.safetensors", "embeddings/a.npy")

    def start(name, setting, out, *options):
        for file in names:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).write_text("other" if file == changed and out.name == "killed" else "same")
        return -9 if "--kill-at" in options else 0

    monkeypatch.setattr(bits, "start", start)
    monkeypatch.setattr(bits, "finish", lambda code, setting: (code, "resuming after iteration 2 of 3"))
    again, killed = bits.recipe_rows("rll-sop", setting(gpu, tmp_path))
    assert again["holds"] and again["ours"] == "equal bits"
    assert killed["holds"] is (changed is None)
    assert changed is None or changed in killed["note"]


def test_a_run_that_was_not_killed_proves_nothing(gpu, tmp_path, monkeypatch):
    bits = gpu("parts.bits")
    monkeypatch.setattr(bits, "start", lambda *args: 0)
    monkeypatch.setattr(bits, "finish", lambda code, setting: (code, "done"))
    rows = list(gpu("setting").attempts(["rll-sop"], lambda name: bits.recipe_rows(name, setting(gpu, tmp_path))))
    assert rows[0]["holds"] is False and "the run 'killed' ended with 0" in rows[0]["note"]


def test_a_wrong_gradient_is_told_from_rounding(gpu):
    module = gpu("parts.cpu_against_cuda")
    one = {"a": torch.ones(4, dtype=torch.float64), "b": 1e-15 * torch.ones(2, dtype=torch.float64)}
    near = {"a": one["a"] + 1e-12, "b": -one["b"]}
    nothing = module.without_gradient(one)
    assert nothing == {"b"}
    name, error = module.largest(one, near, nothing)
    assert name == "a" and error < module.TOLERANCE  # b is nothing but rounding beside a
    assert module.largest(one, near, set())[0] == "b"
    name, error = module.largest(one, {"a": one["a"] + 1e-8, "b": one["b"]}, set())
    assert name == "a" and error > module.TOLERANCE
    name, error = module.largest(one, {"a": one["a"] * float("nan"), "b": one["b"]}, set())
    assert name == "a" and not error <= module.TOLERANCE
    with pytest.raises(ValueError, match="only one device has b"):
        module.largest(one, {"a": one["a"]}, set())
    with pytest.raises(ValueError, match="nothing would be compared"):
        module.without_gradient({"a": torch.zeros(3)})
