"""One set of rules for the three command lines: error prefix, exit codes, suggestions, `--version`, `--help`, tables, completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner
from helpers.golden_cli import golden
from helpers.paths import REPO

from caffe_compat.tools import cli as caffe
from golden import tables
from golden.cli import COMMANDS
from paper_recipes import registry
from paper_recipes.runner.cli import cli, main
from ports import command_line, console


@pytest.fixture(params=["paper_recipes", "caffe_compat", "golden"])
def program(request, monkeypatch, capsys):
    """(its package, a call of it in this process: exit code, stdout, stderr)"""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [request.param, *arguments])
        if request.param == "caffe_compat":
            code = caffe.main()
        else:
            with pytest.raises(SystemExit) as stop:
                main() if request.param == "paper_recipes" else import_module("golden.cli").main()
            code = int(stop.value.code or 0)
        return code, *capsys.readouterr()

    call.package = request.param
    return call


COMMAND = {"paper_recipes": "leaderboard", "caffe_compat": "convert", "golden": "published"}


def names(package):
    if package == "golden":
        return list(COMMANDS)
    group = cli if package == "paper_recipes" else caffe.cli
    return [name for name, command in group.commands.items() if not command.hidden]


def test_a_mistyped_command_is_one_line_with_the_nearest(program):
    wanted = COMMAND[program.package]
    code, out, err = program(wanted[:-1])
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"error: no command '{wanted[:-1]}'\. Did you mean '{wanted}'\? `.*--help` lists them\n", err)
    code, out, err = program("zzzz")
    assert code == 2 and "Did you mean" not in err


def test_without_arguments_the_help_is_told_on_stderr(program):
    code, out, err = program()
    assert code == 2 and out == "" and all(name in err for name in names(program.package))
    code, out, err = program("-h")
    assert code == 0 and err == "" and all(name in out for name in names(program.package)) and "..." not in out[200:]


def test_version(program):
    code, out, err = program("--version")
    assert (code, err) == (0, "") and re.fullmatch(r"dml-(ports|golden) \d+\.\d+\.\d+\n", out)


def test_each_commands_help_ends_with_an_example_that_names_it(program):
    for name in names(program.package):
        code, out, _ = program(name, "--help")
        last = out.rstrip().splitlines()[-1]
        assert code == 0 and re.search(rf"python -m {program.package} {name}\b|^  {program.package} {name}\b", last), (
            last
        )


def test_debug_shows_the_traceback_wherever_it_stands(program):
    bad = {
        "paper_recipes": ["report", "--debug", str(REPO / "tests")],
        "caffe_compat": ["info", str(REPO / "README.md"), "--debug"],
        "golden": ["--debug", "list", "nothing*"],
    }[program.package]
    with pytest.raises(Exception, match=r"not a run directory|README|no golden set"):
        program(*bad)
    code, out, err = program(*(word for word in bad if word != "--debug"))
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1


def test_lock_is_hidden_and_works():
    assert "lock" not in CliRunner().invoke(cli, ["--help"]).output
    assert CliRunner().invoke(cli, ["lock", "--check"]).exit_code == 0


@pytest.mark.parametrize("columns", ["", "20", "60", "80"])
def test_names_are_whole_in_lists(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    lines = CliRunner().invoke(cli, ["list"]).output.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == ["recipe", *registry.RECIPES]
    if not columns:
        assert len(lines) == 1 + len(registry.RECIPES), "a row is a line: `list | grep NAME` finds it"
        assert all(line == line.rstrip() for line in lines)
    sets = golden("list").output.splitlines()
    assert {line.split()[0] for line in sets if line[0] != " "} >= {"rll-cvpr19", "contrastive-deep-metric"}


def test_list_is_chosen_from():
    def chosen(*arguments):
        return [row["recipe"] for row in json.loads(CliRunner().invoke(cli, ["list", *arguments, "--json"]).output)]

    assert chosen("market") == [name for name in registry.RECIPES if "market" in name] != []
    assert chosen("rll-sop*") == [name for name in registry.RECIPES if name.startswith("rll-sop")]
    assert chosen("--dataset", "cub", "--paper", "multi-similarity")[0] == "ms-cub"
    assert chosen("rll-sop*", "--dataset", "sop") != chosen("--dataset", "sop")
    done = CliRunner().invoke(cli, ["list", "rll-spo"])
    assert done.exit_code == 2 and "no recipe matches rll-spo. Nearest: rll-sop, " in done.output


@pytest.mark.parametrize("table", ["console", "golden"])
def test_one_rule_for_tables(table, monkeypatch):
    """The two implementations (`golden` stands alone) give the same lines."""
    header, rows = ("name", "prose", "number"), [("a_long_name_that_is_whole", "some words " * 6, "12")]

    def lines(columns):
        monkeypatch.setenv("COLUMNS", columns)
        if table == "console":
            return console.Table(header, list(rows), names=(0, 2), right=(2,)).lines()
        return tables.table([header, *rows], tables.width(), names=(0, 2), right=(2,))

    assert lines("") == [
        "name                       prose" + " " * 63 + "number",
        "a_long_name_that_is_whole  " + ("some words " * 6) + " " * 6 + "12",
    ]
    narrow = lines("60")
    assert max(map(len, narrow)) == 60 and narrow[1].startswith("a_long_name_that_is_whole  some words")
    assert max(map(len, lines("10"))) == 25 + 2 + 16 + 2 + 6


@pytest.mark.parametrize("module", [console, tables])
def test_width_is_that_of_columns_or_of_the_terminal(module, monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert module.width() == 77
    monkeypatch.setenv("COLUMNS", "wide")
    assert module.width() is None


def test_no_colour_where_it_is_not_wanted(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console.coloured("x", "red") == "\x1b[1;31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.coloured("x", "red") == "x"


def test_cells_move_no_cursor():
    assert console.Table(("a",), [["x\x1b[31m\ry"]]).lines()[1] == "x\ufffd[31m y"


@pytest.mark.parametrize("package", ["paper_recipes", "caffe_compat"])
def test_completion_is_there(package):
    """As the page says: the shell asks the program which words may follow."""
    words = {"paper_recipes": "paper_recipes show rll-sop-m", "caffe_compat": "caffe_compat up"}[package]
    environment = {
        **os.environ,
        f"_{package.upper()}_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", package], cwd=REPO, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"plain,{'rll-sop-m10' if package == 'paper_recipes' else 'upgrade'}"]


def test_the_scripts_are_the_modules():
    text = (REPO / "pyproject.toml").read_text()
    for package in ("paper_recipes", "caffe_compat"):
        module, name = re.search(rf'^{package} = "(.+):(.+)"$', text, re.MULTILINE).groups()
        assert callable(getattr(import_module(module), name))


def test_a_reader_that_has_read_enough_is_no_error():
    command = f"{sys.executable} -m paper_recipes list | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True)
    assert done.stdout.startswith("recipe ") and done.stderr == ""


def test_a_mistake_in_the_program_keeps_its_traceback(monkeypatch):
    @click.group(cls=command_line.Group)
    def group():
        pass

    @group.command()
    def breaks():
        raise AttributeError("a mistake")

    with pytest.raises(AttributeError):
        command_line.main(group, "x", ["breaks"])
