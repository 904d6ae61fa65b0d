"""Self-test of the golden sets: at least 25 wrong ports, each caught; the right one never."""

from __future__ import annotations

import pytest
from helpers.paths import REPO

from golden.mutants import (
    BEGIN,
    END,
    SETS,
    SETTINGS_BEGIN,
    SETTINGS_END,
    mutants,
    replace_table,
    rows,
    settings_table,
    table,
)
from golden.sets import load_set

DOC = REPO / "docs" / "golden.md"


def test_there_are_enough_wrong_ports():
    assert len(mutants()) >= 25 and len(set(mutants())) == len(mutants())


@pytest.mark.parametrize("name", SETS)
def test_the_right_port_passes_every_case(name):
    assert {row.verdict for row in rows(load_set(name), None)} == {"pass"}


@pytest.mark.parametrize(("name", "deviation"), [m[:2] for m in mutants()])
def test_a_wrong_port_is_caught(name, deviation):
    """By numbers, not by an error."""
    assert any(row.verdict == "fail" for row in rows(load_set(name), deviation))


def test_the_table_in_the_docs_is_current():
    text = DOC.read_text(encoding="utf-8")
    told = "docs/golden.md is not current: python -m golden mutants --write docs/golden.md"
    assert text.split(BEGIN)[1].split(END)[0].strip() == table().strip(), told
    assert text.split(SETTINGS_BEGIN)[1].split(SETTINGS_END)[0].strip() == settings_table().strip(), told


def test_a_file_without_the_marks_is_not_touched(tmp_path):
    (tmp_path / "a.md").write_text("nothing")
    with pytest.raises(ValueError, match="once each"):
        replace_table(tmp_path / "a.md")
    assert (tmp_path / "a.md").read_text() == "nothing"
