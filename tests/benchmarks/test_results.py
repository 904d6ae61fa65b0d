"""What `python -m benchmarks` writes down, and what it refuses to."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner
from helpers.paths import REPO


@pytest.fixture
def benchmarks(monkeypatch, tmp_path):
    """The program's modules by name, with a benchmark of our own and another place for its results."""
    monkeypatch.syspath_prepend(str(REPO))
    main = importlib.import_module("benchmarks.__main__")
    monkeypatch.setattr(main, "HERE", tmp_path)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_a_ratio_is_the_median_of_the_turns(benchmarks):
    """A turn that was disturbed as a whole says the same as the others; the ratio of the medians would be 1.5."""
    found = benchmarks("_paired").paired([1.0, 30.0, 3.0], [2.0, 60.0, 2.0])
    assert found == {"ours": 3.0, "peer": 2.0, "ratio": 0.5, "spread": "0.50-1.50 of 3"}
    with pytest.raises(ValueError, match="zip"):
        benchmarks("_paired").paired([1.0], [1.0, 2.0])


@pytest.mark.parametrize("share", [None, 0.0, 0.04, 0.06])
def test_only_a_quiet_machine_is_recorded(benchmarks, monkeypatch, tmp_path, share):
    main = benchmarks("__main__")
    row = {"name": "x", "ours": 1.0, "peer": 2.0, "ratio": 0.5, "spread": "0.4-0.6 of 3", "unit": "s", "note": ""}
    monkeypatch.setattr(benchmarks("losses_memory"), "run", lambda quick: [row])
    monkeypatch.setattr(main.OtherWork, "share", lambda self: share)
    done = CliRunner().invoke(main.main, ["losses_memory", "--threads", "1,2"], catch_exceptions=False)
    assert done.exit_code == (share == 0.06) and ("not recorded" in done.output) == (share == 0.06)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    wanted = [] if share == 0.06 else ["losses_memory, 1 thread", "losses_memory, 2 threads"]
    assert list(results) == wanted
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    for title, threads in zip(wanted, (1, 2)):
        assert results[title]["machine"]["threads"] == threads
        assert f"## {title}\n" in text and "| 0.4-0.6 of 3 |" in text and f"{threads} threads of " in text
        assert ("other work" in text) == (share is not None)


def test_another_processors_rows_stay(benchmarks, monkeypatch, tmp_path):
    main = benchmarks("__main__")
    monkeypatch.setattr(benchmarks("losses_memory"), "run", lambda quick: [])
    monkeypatch.setattr(main.OtherWork, "share", lambda self: 0.0)
    for processor in ("Z80", "6502", "Z80", "6502"):
        machine = {**main.determinism.environment(), "processor": processor}
        monkeypatch.setattr(main.determinism, "environment", lambda machine=machine: machine)
        CliRunner().invoke(main.main, ["losses_memory"], catch_exceptions=False)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {title: result["machine"]["processor"] for title, result in results.items()} == {
        "losses_memory": "Z80",
        "losses_memory, 6502": "6502",
    }


@pytest.mark.parametrize("threads", ["0", "two", "1,", "-1"])
def test_a_number_of_threads_is_one(benchmarks, threads):
    done = CliRunner().invoke(benchmarks("__main__").main, ["losses_memory", "--threads", threads])
    assert done.exit_code == 2 and "numbers of threads" in done.output


def test_a_busy_process_beside_is_seen(benchmarks):
    beside = benchmarks("_load").OtherWork()
    if beside.share() is None and not sys.platform.startswith("linux"):
        pytest.skip("needs /proc/stat")
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(1.0)  # of which it gets a part even on a full machine
        share = beside.share()
        other.kill()
    assert share is not None and share > 0.0


def test_a_profile_adds_up_to_the_step(benchmarks):
    """By hand: one product, one sort and one sum, whose times and the calls between come to what the step took."""
    profile = benchmarks("losses_profile")
    assert [profile.kind(f"aten::{name}") for name in ("addmm_", "copy_", "topk", "mul", "slice")] == [
        "products",
        "copies",
        "choosing",
        "elements",
        "calls",
    ]
    assert profile.kind("_ForcedBackward") == "calls"
    x = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))
    parts = profile.shares(lambda x, labels: (x @ x.T).sort(1).values.square().sum(), x, torch.arange(200), whole=10.0)
    assert sum(parts.values()) == pytest.approx(10.0)
    assert min(parts[kind] for kind in ("products", "choosing", "elements", "calls")) > 0
