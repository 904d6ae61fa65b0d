"""The README's Python session is what it says; its test command is what CI calls; documents use the project's words."""

from __future__ import annotations

import doctest
import re

import pytest
import torch
from click.testing import CliRunner
from helpers.paths import REPO

from caffe_compat.tools.cli import cli as caffe_compat
from paper_recipes import registry
from ports.backbones.bn_inception import BNInception


def test_the_session_in_the_readme_gives_that_output():
    failed, tried = doctest.testfile(str(REPO / "README.md"), module_relative=False, verbose=False)
    assert tried > 5 and failed == 0


def test_ci_calls_the_readmes_test_command():
    assert "tox -e tests" in (REPO / "README.md").read_text()
    assert "tox -e tests" in (REPO / ".ci" / "run").read_text()


def test_the_letters_form_is_not_called_embedded():
    """In a project about embeddings that would mislead. Stored keys, options and names of commands are older and stay."""
    files = [
        *REPO.glob("*.md"),
        *REPO.glob("docs/*.md"),
        *REPO.glob("paper_recipes/**/*.py"),
        *REPO.glob("ports/**/*.py"),
    ]
    words = re.compile(r"embedded (form|letters|set|run|scale)\b", re.IGNORECASE)
    found = [
        f"{file.relative_to(REPO)}: {m[0]}" for file in files for m in words.finditer(file.read_text(encoding="utf-8"))
    ]
    assert len(files) > 100 and not found


def test_the_table_of_recipes_says_what_the_recipes_say():
    text = (REPO / "README.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \| (R@1 \S+) \| `--data (\w+) --weights (\S+)` \|$", text, re.MULTILINE)
    assert len(rows) == 8 and f"{len(registry.RECIPES)} of them" in text
    for name, what, published, data, weights in rows:
        recipe, first = registry.get(name), registry.get(name).expected[0]
        assert (what, published) == (recipe.title, f"{first.metric} {first.value:g}")
        assert (data, weights) == (recipe.dataset.upper(), recipe.weights.split()[0])


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_text().splitlines()) <= 150


def commands(start: str) -> list[str]:
    """The lines of the README's story that begins with that command, without the indent of Markdown's block."""
    text = (REPO / "README.md").read_text()
    block = text[text.index(f"    $ {start}") :].split("\n\n")[0]
    return [line.removeprefix("    ") for line in block.splitlines()]


@pytest.mark.parametrize(
    ("start", "page"), [("python -m paper_recipes run", "first-minute.md"), ("python -m golden check", "golden.md")]
)
def test_stories_show_lines_of_the_sessions_that_they_name(start, page):
    session = {line.strip() for line in (REPO / "docs" / page).read_text().splitlines()}
    story = [line.split(" | tail")[0].strip() for line in commands(start)]
    assert len(story) >= 5 and not set(story) - session


def test_the_story_of_weights_is_what_comes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(BNInception().state_dict(), "bn_inception-seeded.pth")
    convert, *said, info, last = commands("python -m caffe_compat convert")
    assert run_compat(convert).splitlines() == said
    assert run_compat(info.removesuffix(" | tail -1")).splitlines()[-1] == last


def run_compat(command: str) -> str:
    result = CliRunner().invoke(caffe_compat, command.removeprefix("$ python -m caffe_compat ").split())
    assert result.exit_code == 0, result.output
    return result.output


def test_every_paper_has_its_entry_to_cite():
    entries = (REPO / "docs" / "citation.md").read_text().split("\n}\n")
    papers = {recipe.source.paper for recipe in map(registry.get, registry.RECIPES)}
    for paper in (one for one in papers if "no paper of its own" not in one):
        title, venue, number = paper.rsplit(", ", 2)
        name, year = venue.split()
        wanted = (f"{{{{{title}}}}}", f"{{{name}}}", f"{{{year}}}", number.removeprefix("arXiv "))
        assert any(all(part in entry for part in wanted) for entry in entries), paper
    cited = (REPO / "CITATION.cff").read_text()
    tool = entries[-2]
    assert "@software" in tool
    assert (re.search('title: "(.*)"', cited)[1], re.search("\\nversion: (.*)", cited)[1]) == (
        re.search("title = {{(.*)}}", tool)[1],
        re.search("version = {(.*)}", tool)[1],
    )
