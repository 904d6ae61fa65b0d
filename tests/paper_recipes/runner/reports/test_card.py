"""`card`: every field is the record's or says that it is not verifiable here; nothing is published of a run that does not hold."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from helpers import full_run, report_run

from paper_recipes import registry
from paper_recipes.runner.cli import cli
from paper_recipes.runner.reports import card
from paper_recipes.runner.run_files import RunError

FILES = ["README.md", ".eval_results/dml_ports.yaml", "CITATION.bib", "CHECKLIST.md"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DML_PORTS_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_a_full_runs_card(tmp_path):
    run = full_run.write(tmp_path / "run")
    done = CliRunner().invoke(cli, ["card", str(run)])
    assert done.exit_code == 0 and done.output.split() == [f"{run}/card/{name}" for name in FILES]
    text = (run / "card" / "README.md").read_text()
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert re.findall(r'    - type: ("R@\d+")\n      value: (\S+)', front) == [
        ('"R@1"', "79.8000"), ('"R@10"', "91.3000"), ('"R@100"', "96.3000"),
    ]  # fmt: skip
    assert "**Reproduced; " in body and "| R@1 | 79.80 | 79.8 ± " in body
    results = (run / "card" / ".eval_results" / "dml_ports.yaml").read_text()
    assert results.count("- dataset:") == 4, "and NMI"
    assert "  value: 79.8000\n" in results
    assert 'date: "not verifiable here"' in results
    assert 'id: "not verifiable here"' in results, "no record has the Hub's name of a data set"
    citation = (run / "card" / "CITATION.bib").read_text()
    assert "eprint = {1903.03238}" in citation and "commit 0123456789abcdef" in citation
    checklist = (run / "card" / "CHECKLIST.md").read_text()
    record = json.loads((run / "run.json").read_text())
    assert f"seed {record['seed']}" in checklist and record["fingerprint"] in checklist
    for open_question in ("Energy and emissions?", "Licence and consent of the data?", "How long did it take?"):
        assert f"| {open_question} | not verifiable here |" in checklist


def test_a_run_that_does_not_hold_gets_none(tmp_path):
    run = full_run.write(tmp_path / "run", verdict="not reproduced")
    with pytest.raises(RunError, match=r"does not hold: result and verdict: .*: no card is written of it"):
        card.write(run)
    assert not (run / "card").exists()


def test_letters_and_own_pictures_are_no_reproduction(tmp_path):
    run = report_run.make(tmp_path / "run")
    (readme, *_) = card.write(run, tmp_path / "elsewhere")
    assert (
        readme.parent == tmp_path / "elsewhere"
        and "this is no reproduction of the paper's number" in readme.read_text()
    )
    assert "The published values are of CUB-200-2011, no measure of this run." in readme.read_text()


def test_a_run_without_an_evaluation_has_no_numbers(tmp_path):
    run = report_run.make(tmp_path / "run", iterations=())
    card.write(run)
    assert (run / "card" / ".eval_results" / "dml_ports.yaml").read_text() == "[]\n"
    assert "None: the run has no evaluation." in (run / "card" / "README.md").read_text()


def test_names_of_data_are_text(tmp_path):
    name = 'x"\n- evil: <img src=x onerror=1> | [a](b)'
    facts = {"images": 8, "classes": 2, "fingerprint": "0" * 64}
    run = report_run.make(tmp_path / "run", data={"name": name, "train": facts, "test": facts})
    card.write(run)
    text = (run / "card" / "README.md").read_text()
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    line = next(line for line in front.splitlines() if line.startswith("      name: ") and "evil" in line)
    assert json.loads(line.removeprefix("      name: ")) == name and "\n- evil" not in front
    assert "<img" not in body.replace("\\<img", "") and registry.get("ms-cub").name in front
