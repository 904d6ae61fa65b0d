"""What a run says while it trains: lines without a terminal, a bar on one, what it will do at its start."""

from __future__ import annotations

import pytest
from helpers import tiny

from paper_recipes import registry
from paper_recipes.runner import run as runner
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.training import progress
from ports import progress as bars


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    said: list[str] = []
    run = tiny.start(tmp_path_factory.mktemp("run") / "out", data, say=said.append)
    return run, said


def test_without_a_terminal_there_is_no_carriage_return(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(bars, "EVERY", 0.0)
    tiny.start(tmp_path / "out", data)
    said = capsys.readouterr().err
    assert "\r" not in said
    steps = [line for line in said.splitlines() if line.startswith("tiny: step ")]
    assert len(steps) == tiny.ITERATIONS - 1, "a line every hundredth of the run, which is each step of a short one"
    assert steps[0].startswith("tiny: step 1 of 12: loss ") and "rate 0.01, " in steps[0] and steps[0].endswith(" left")


def test_a_line_in_ten_seconds_at_most(capsys, trained):
    run, _ = trained
    with progress.Progress(run, 0, print) as shown:
        now, shown._last = [0.0], 0.0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(progress.time, "monotonic", lambda: now[0])
            for iteration, now[0] in enumerate([5.0, 11.0, 12.0, 22.5], 1):
                shown.step(iteration, {"loss": 0.5}, 0.01, 1.0)
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == [" step 2 of 12", " step 4 of 12"]


def test_the_time_left_is_told_after_ten_steps(trained):
    _, said = trained
    (line,) = [line for line in said if "evaluations apart" in line]
    assert line.startswith("about ") and line.endswith(" for the 2 steps left, evaluations apart")


def test_on_a_terminal_a_line_is_written_whole(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    runner._say("iteration 120: concat R@1 64.6  R@10 93.2")
    assert capsys.readouterr().out == "iteration 120: concat R@1 64.6  R@10 93.2\n"


def test_a_run_says_what_it_will_do(trained):
    run, _ = trained
    lines = progress.announcement(run)
    assert lines[0] == "batch 6 = 2 classes x 3 images"
    assert lines[1].startswith("training ") and "; test " in lines[1] and "classes" in lines[1]
    assert lines[2] == "12 steps; 3 evaluations, at 0, 6, 12" and lines[3] == f"files go to {run.out}"


def test_own_pictures_say_that_their_batch_is_reduced(trained):
    run, _ = trained
    recipe = registry.get("rll-sop")
    plan = scales.own(recipe, run.data.train, 10)
    assert runner._reduced(recipe, plan) == "180 = 60 x 3"
    (line, *_) = progress.announcement(run, reduced_from=runner._reduced(recipe, plan))
    assert line.endswith(
        f"reduced from the recipe's 180 = 60 x 3: there are {run.data.train.num_classes} training classes"
    )
    assert runner._reduced(recipe, scales.full(recipe)) is None


@pytest.mark.parametrize(("seconds", "words"), [(8.2, "8 s"), (270, "4.5 min"), (11520, "3.2 h")])
def test_times_as_people_say_them(seconds, words):
    assert bars.minutes(seconds) == words


def test_lines_of_other_bars(capsys, monkeypatch):
    with bars.bar(3, "embedding test", "img") as shown:
        monkeypatch.setattr(bars, "EVERY", 0.0)
        for _ in range(3):
            shown.update()
    assert capsys.readouterr().err.splitlines()[0] == "embedding test: 1 of 3 img after 0 s"
    assert bars.bar(3, "x", "img", wanted=False).disable
