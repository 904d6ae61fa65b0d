"""One run, one writer: a second one is refused, a dead one's lock holds nothing, and whoever looks on says what he sees."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner
from helpers import tiny_run
from helpers.paths import environment

from paper_recipes.runner import run_files, run_lock
from paper_recipes.runner.cli import cli
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.training import loop

HOLD = """
import sys, time
from pathlib import Path
from paper_recipes.runner import run_lock
with run_lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """A process that writes into `tmp_path`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def lock_of(out) -> run_lock.Holder:
    return run_lock.Holder(**json.loads((out / run_lock.FILE).read_text()))


def take(out) -> None:
    with run_lock.held(out):
        pass


def test_held_once_and_gone_afterwards(tmp_path):
    with run_lock.held(tmp_path):
        assert run_lock.holder(tmp_path).pid == os.getpid()
        with pytest.raises(run_lock.LockedError, match=rf"a run is writing there \(process {os.getpid()} on "):
            take(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_of_several_at_once(tmp_path):
    """Four processes that look at the same stale lock: one gets it, and has it until the others are gone."""
    (tmp_path / run_lock.FILE).write_text(json.dumps(asdict(_dead())))
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    several = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        for _ in range(4)
    ]
    while sum(process.poll() is None for process in several) > 1:
        time.sleep(0.01)
    (holding,) = (process for process in several if process.poll() is None)
    refused = [process.communicate()[1] for process in several if process is not holding]
    assert holding.stdout.readline() == "held\n" and lock_of(tmp_path).pid == holding.pid
    holding.kill()
    holding.communicate()
    assert all(f"a run is writing there (process {holding.pid} on" in err for err in refused)


def _dead() -> run_lock.Holder:
    """What a process of this machine leaves that is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = {"host": run_lock._place()["host"], "boot": run_lock._boot(), "processes": run_lock._processes()}
    return run_lock.Holder(pid=gone.pid, born="1", since="2026-01-01T00:00:00+00:00", **ours)


def test_a_killed_process_holds_nothing(tmp_path, other):
    assert run_lock.holder(tmp_path) == lock_of(tmp_path)
    os.kill(other.pid, signal.SIGKILL)
    while other.poll() is None:  # once it is dead, reaped or not
        pass
    assert (tmp_path / run_lock.FILE).exists() and run_lock.holder(tmp_path) is None
    with run_lock.held(tmp_path):
        assert lock_of(tmp_path).pid == os.getpid()


def test_a_number_that_now_belongs_to_another_process_holds_nothing(tmp_path, other):
    theirs = lock_of(tmp_path)
    for changed in (replace(theirs, born=theirs.born + "1"), replace(theirs, boot="before the last restart")):
        (tmp_path / run_lock.FILE).write_text(json.dumps(asdict(changed)))
        assert run_lock.holder(tmp_path) is None


def test_of_another_machine_nothing_can_be_seen(tmp_path):
    (tmp_path / run_lock.FILE).write_text(json.dumps(asdict(replace(_dead(), host="elsewhere"))))
    with (
        pytest.raises(
            run_lock.LockedError, match=r"as far as can be seen from .*; if it has ended, remove .*run\.lock"
        ),
        run_lock.held(tmp_path),
    ):
        pass


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', '{"pid"'])
def test_a_lock_that_is_none(tmp_path, text):
    (tmp_path / run_lock.FILE).write_text(text)
    with pytest.raises(run_lock.LockedError, match=r"run\.lock: not a lock of this program"):
        take(tmp_path)


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_without_proc_the_system_is_asked(tmp_path, monkeypatch):
    """As on a Mac: `ps` says when a process began."""
    monkeypatch.setattr(run_lock, "_born", run_lock._asked)
    with run_lock.held(tmp_path):
        assert re.search(r"\d\d:\d\d:\d\d \d{4}", lock_of(tmp_path).born) and run_lock.holder(tmp_path)
        assert run_lock._asked(_dead().pid) == ""


def test_without_proc_and_ps_a_number_has_to_do(tmp_path, monkeypatch):
    """A small container: a run that goes on is still seen, one that was killed holds nothing."""
    monkeypatch.setattr(run_lock, "_born", run_lock._asked)
    monkeypatch.setenv("PATH", str(tmp_path))
    with run_lock.held(tmp_path):
        assert lock_of(tmp_path).born == "unknown"
        with pytest.raises(run_lock.LockedError, match="a run is writing there"):
            take(tmp_path)
    (tmp_path / run_lock.FILE).write_text(json.dumps(asdict(replace(_dead(), born="unknown"))))
    assert run_lock.holder(tmp_path) is None


@pytest.fixture
def run(tmp_path_factory, monkeypatch):
    tiny_run.know(monkeypatch)
    out, data = tmp_path_factory.mktemp("run") / "out", tiny_run.make_pictures(tmp_path_factory.mktemp("pictures"))
    return out, data


@pytest.mark.slow
def test_a_second_run_and_whoever_looks_on(run, monkeypatch):
    """Out of the middle of a run, its third step: every command says what it sees, and none disturbs it."""
    out, data = run
    real, said = loop.steps, {}

    def look(current, done):
        for step in real(current, done):
            yield step
            if step.iteration == 3:
                with pytest.raises(RunError, match="a run is writing there"):
                    tiny_run.run(out, data, resume=True)
                status = run_files.record(out)["status"]
                assert re.fullmatch(rf"running \(process {os.getpid()} on .* since .*\)", status)
                name = "tiny+sampler.classes_per_batch=2"
                model = str(out / "checkpoints" / "iteration_000002.safetensors")
                aside = ["--data", str(data), "--out", str(out.parent / "aside"), "--workers", "0"]
                for words in (
                    ["report", str(out)],
                    ["verify", str(out), "--quick"],
                    ["evaluate", name, "--model", model, *aside],
                ):
                    said[words[0]] = CliRunner().invoke(cli, words)

    monkeypatch.setattr(loop, "steps", look)
    assert tiny_run.run(out, data) == 0
    going_on = rf"a run is going on there \(process {os.getpid()} on .*\), at iteration 3"
    assert said["report"].exit_code == 0
    assert re.search(rf"{going_on}: the report shows the run as far as it has come", said["report"].output)
    assert said["evaluate"].exit_code == 0, said["evaluate"].output
    assert re.search(rf"{going_on}: iteration_000002.safetensors is one of its", said["evaluate"].output)
    assert re.search(rf"{going_on}: verify it when it has ended", str(said["verify"].exception))
    monkeypatch.setattr(loop, "steps", real)
    assert not (out / run_lock.FILE).exists() and run_files.record(out)["status"] == "finished"
    assert CliRunner().invoke(cli, ["verify", str(out), "--quick"]).exit_code == 0


@pytest.mark.slow
def test_a_run_without_its_process_is_known_to_be_dead(run):
    out, data = run
    assert tiny_run.run(out, data) == 0
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "status": "running"}))
    (out / run_lock.FILE).write_text(json.dumps(asdict(_dead())))
    assert run_files.record(out)["status"] == run_lock.DEAD
    assert CliRunner().invoke(cli, ["report", str(out)]).exit_code == 0
    assert f"Status: **{run_lock.DEAD}** after" in (out / "report.md").read_text()
    assert tiny_run.run(out, data, resume=True) == 0 and not (out / run_lock.FILE).exists()
