"""The README's Python session is what it says; its test command is what CI calls; documents use the project's words."""

from __future__ import annotations

import doctest
import re

from helpers.paths import REPO

from paper_recipes import registry


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
