"""The command line as a user meets it: one-line errors, exit codes, no torch for a look-up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from helpers import tiny_run
from helpers.paths import REPO

from paper_recipes import registry
from paper_recipes.runner import run_files
from paper_recipes.runner.cli import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(monkeypatch, capsys):
    """`python -m paper_recipes ARGS` from the repository's root, in this process (torch is imported once)."""

    def run(*args: str) -> Done:
        monkeypatch.chdir(REPO)
        monkeypatch.setattr(sys, "argv", ["paper_recipes", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_the_module_runs_and_its_exit_code_is_the_commands():
    done = subprocess.run(
        [sys.executable, "-m", "paper_recipes", "show", "rll-sopp"], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 2 and "Nearest: rll-sop," in done.stderr


def test_list_names_every_recipe(call):
    done = call("list")
    assert done.returncode == 0 and "rll-sop" in done.stdout and "79.8" in done.stdout


def test_list_does_not_import_torch():
    code = "import sys; from paper_recipes.runner.cli import cli; cli(['list'], standalone_mode=False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_show_prints_the_settings_and_the_net(call):
    shown = call("show", "rll-sop").stdout
    assert "base_lr 0.01" in shown
    assert re.search(
        r"GPU memory +\d+\.\d GB in a step of 180 images", shown
    ) and "fits a card of 16, 24, 40, 80 GB" in " ".join(shown.split())
    derived = call("show", "rll-sop+sampler.classes_per_batch=2").stdout
    assert "not counted: only frozen recipes are" in derived
    assert 'type: "DistanceWeightedValidPairLossV12"' in call("show", "rll-sop", "--net", "train").stdout
    assert "stepvalue: 15000" in call("show", "rll-sop", "--net", "solver").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["show", "rll-sopp"],
            "no recipe 'rll-sopp'. Nearest: rll-sop, rll-sop-m10, rll-tpami-sop; `python -m paper_recipes list`",
        ),
        (["show", "rll-sop", "--net", "X"], "rll-sop has no net 'X'. There are: train, concat, H, L, M, solver"),
        (["run", "rll-sop", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["run", "rll-sop", "--data", "tests"], "those are class folders alone, but conftest.py lies there"),
        (["run", "rll-sop", "--data", "tests", "--weights", "no.caffemodel"], "--weights no.caffemodel: no such file"),
        (["run", "rll-sop", "--require-data"], "--require-data: rll-sop needs --data"),
        (["run", "rll-sop", "--device", "abacus"], "--device abacus:"),
        (["run", "rll-sop", "--iterations", "0"], "Invalid value for '--iterations'"),
        (["report", "tests"], "not a run directory"),
        (["run", "rll-sop", "--set", "margn=1"], "--set margn: rll-sop has no such setting. Nearest: "),
        (["show", "rll-sop+margin=wide"], "takes a number (now 1.2), not 'wide'"),
        (["evaluate", "rll-sop", "--model", "no.caffemodel"], "--model no.caffemodel: no such file"),
        (["evaluate", "rll-sop", "--model", "README.md"], "unknown suffix; models are .caffemodel"),
        (["evaluate", "rll-sop", "--model", "x.pth", "--protocol", "rll-sopp"], "no recipe 'rll-sopp'"),
        (["leaderboard", "--runs", "nowhere"], "--runs nowhere: no such folder"),
        (["dance"], "no command 'dance'. `paper_recipes --help` lists them"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(call, args, message):
    done = call(*args)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_tox_environments_name_is_accepted(call):
    assert call("show", "reproduce-rll-sop").returncode == 0


def test_official_data_without_weights_is_asked_for_them(tmp_path):
    from paper_recipes.runner import run  # torch, which this file's other tests do without

    official = SimpleNamespace(own=False)
    with pytest.raises(run_files.RunError, match=r"rll-sop starts from googlenet_bn.*: give its path with --weights"):
        run._check_full(registry.get("rll-sop"), run.Options(out=tmp_path), official)


def test_a_report_can_be_left_to_later(tmp_path, monkeypatch, capsys, call):
    tiny_run.know(monkeypatch)
    out = tmp_path / "run"
    assert tiny_run.run(out, tiny_run.make_pictures(tmp_path / "pictures"), report=False) == 0
    assert f"report: not written; python -m paper_recipes report {out} does" in capsys.readouterr().out.splitlines()
    assert not list(out.glob("*.html")) and not list(out.glob("*.png"))
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert call("report", str(out)).returncode == 0 and (out / "report.html").is_file()
