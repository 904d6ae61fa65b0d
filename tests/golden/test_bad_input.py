"""Losses that hang, end their process, write into their input, draw random numbers: one row with the reason, and the tool lives."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import golden
from golden import limits

SET = "contrastive-deep-metric"
LOSSES = """
import os
import signal
import time

import numpy as np


def right(x, y):
    s, same = x @ x.T, y[:, None] == y
    pull, push = same & (s < 1), ~same & (s > 0.5)
    g = (push.astype(float) - pull) / len(x)
    return (np.where(pull, 1 - s, 0).sum() + np.where(push, s, 0).sum()) / len(x), (g + g.T) @ x


def leaves(x, y):
    if len(x) == 40:
        os._exit(7)
    return right(x, y)


def crashes(x, y):
    os.kill(os.getpid(), signal.SIGSEGV)


def sleeps(x, y):
    try:
        time.sleep(100)
    except Exception:
        pass
    return right(x, y)


def deaf(x, y):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(100)


def talks(x, y):
    print("{not json")
    return right(x, y)


def random(x, y):
    return np.random.rand() * x.sum(), 0 * x


def writes(x, y):
    result = right(x, y)
    x[0] = 0
    return result
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad.py").write_text(LOSSES)

    def call(*arguments):
        command = [sys.executable, "-m", "golden", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, " ".join(done.stdout.split()), done.stderr

    call.folder = folder
    return call


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("leaves", "s08_n40_d16_8x5_shuf: ended the process (exit code 7)"),
        ("crashes", "g03_n32_d64_8x4_shuf_out: ended the process (signal SIGSEGV)"),
        ("sleeps", "g03_n32_d64_8x4_shuf_out: took longer than 0.5 s"),
        ("deaf", "g03_n32_d64_8x4_shuf_out: took longer than 0.5 s, and no signal interrupts it"),
        ("random", "two calls on one batch differ: the loss draws random numbers, or keeps a state"),
        ("writes", "writes into its input: embeddings"),
    ],
)
def test_the_reason_is_a_row(run, name, words):
    code, output, _ = run("check", f"bad.py:{name}", "--against", SET, "--limit", "0.5")
    assert code == 1 and words in output, output
    assert f"{name} DIFFERS from {SET}" in output


def test_what_came_before_is_still_compared(run):
    code, output, _ = run("check", "bad.py:leaves", "--against", SET, "--json")
    cases = json.loads(output)["cases"]
    before = [case["case"] for case in cases].index("s08_n40_d16_8x5_shuf")
    verdicts = [case["verdict"] for case in cases]
    assert code == 1 and before > 5 and verdicts == ["pass"] * before + ["error"] * (len(cases) - before)


def test_other_commands_survive_as_well(run):
    code, output, _ = run("identify", "bad.py:crashes")
    assert code == 1 and "ended the process (signal SIGSEGV)" in output
    code, _, errors = run("record", "bad.py:crashes", "--name", "mine", "--out", "records")
    assert code == 1 and "ended the process (signal SIGSEGV)" in errors and not (run.folder / "records").exists()


def test_a_module_that_ends_the_process(run):
    (run.folder / "gone.py").write_text("import os\nos._exit(3)\n")
    code, _, errors = run("check", "gone.py:loss")
    assert code == 2 and "the process ended (exit code 3) while the target was imported" in errors


def test_what_a_loss_prints_is_kept_out_of_the_json(run):
    code, output, errors = run("check", "bad.py:talks", "--against", SET, "--json")
    assert code == 0 and json.loads(output)["passed"] is True and "{not json" in errors


@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_limit_is_positive(run, limit):
    code, _, errors = run("check", "bad.py:right", "--limit", limit)
    assert code == 2 and "a limit is positive" in errors


@pytest.fixture
def half_a_second():
    limits.set_limit(0.5)
    yield
    limits.set_limit(limits.SECONDS)


def test_a_limit_from_python(half_a_second):
    def slow(x, y):
        time.sleep(30)

    slow.golden_framework = "numpy"
    start = time.monotonic()
    report = golden.check(slow, SET)
    assert time.monotonic() - start < 20
    assert [row.why for row in report.rows][:2] == ["took longer than 0.5 s", "not run after that"]


def test_a_limit_leaves_other_alarms_alone(half_a_second):
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 60)
        with limits.watched():
            np.zeros(3).sum()
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # a test runner's own limit, before ours
        with limits.watched():
            time.sleep(0.4)
        assert rung == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_thread_has_no_limit_and_works(half_a_second):
    def right(x, y):
        return 0.0, 0 * x

    right.golden_framework = "numpy"
    found = []
    thread = threading.Thread(target=lambda: found.append(golden.check(right, SET, properties=False, diagnosis=False)))
    thread.start()
    thread.join()
    assert found and "fail" in {row.verdict for row in found[0].rows}
