"""`golden audit`: mappings are sound, findings are what a check says, the page shows what the command finds now."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from importlib import metadata

import pytest
import torch
from helpers.golden_cli import golden as command
from helpers.paths import REPO

import golden
from golden import folk
from golden.audit import AuditError, audit, build, libraries, mapping, read
from golden.audit_page import page, picture, rows, verdicts
from golden.sets import set_names

PAGE = REPO / "docs" / "audit.md"


def written(tmp_path, losses, library="torch", **more):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"library": library, "losses": losses, **more}))
    return path


@pytest.mark.parametrize("name", libraries())
def test_a_mapping_names_sets_that_there_are(name):
    whole = mapping(name)
    names = [entry["name"] for entry in whole["losses"]]
    assert names and len(set(names)) == len(names) and set(whole) <= {"library", "installed", "runs", "losses"}
    assert {against for entry in whole["losses"] for against in entry["against"]} <= set(set_names())
    allowed = {"name", "call", "as_is", "arguments", "method", "columns", "miner", "adapter", "against", "note"}
    assert all(set(entry) <= allowed for entry in whole["losses"])


def test_an_installed_librarys_losses_are_built():
    for entry in [
        *mapping("pytorch-metric-learning")["losses"],
        *mapping("torch")["losses"],
        *mapping("folk")["losses"],
    ]:
        assert callable(build(entry))


def test_findings_are_what_a_check_says(tmp_path):
    losses = [
        {
            "name": "plain",
            "call": "torch.nn:TripletMarginLoss",
            "arguments": {"margin": 1.0},
            "against": ["triplet-caffe"],
        },
        {"name": "gone", "call": "torch.nn:NoSuchLoss", "against": ["triplet-caffe"]},
        {"name": "other", "call": "torch.nn:CosineEmbeddingLoss", "against": ["ms"]},
    ]
    double, single, gone, *other = audit(written(tmp_path, losses))
    report = golden.check(torch.nn.TripletMarginLoss(1.0), "triplet-caffe", properties=False)
    assert (double.kind, double.passed, double.cases) == ("differs", 0, 1) and double.cosine == report.cosine
    assert "plain instead of squared distances" in double.how and double.version == metadata.version("torch")
    assert (single.dtype, single.kind) == ("float32", "differs")
    assert gone.kind == "error" and "has no attribute 'NoSuchLoss'" in gone.how and gone.cases == 0
    assert {f.kind for f in other} == {"error"} and "missing 1 required positional argument" in other[0].how


def test_what_cannot_be_audited(tmp_path):
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "broken.json").write_text("{")
    for name, words in (
        ("no-such", "no mapping for 'no-such'; there are folk, keras, open-metric-learning"),
        (tmp_path / "empty.json", "a mapping has a 'library' and a list of 'losses'"),
        (tmp_path / "broken.json", "broken.json: "),
        (written(tmp_path, [], library="no-such-library"), "no-such-library is not installed here"),
    ):
        with pytest.raises(AuditError, match=re.escape(words)):
            list(audit(name))
        result = command("audit", name)
        assert result.exit_code == 2 and words in result.output
    assert command("audit", "torch", "--write", "a.txt").exit_code == 2


def test_the_page_and_its_picture(tmp_path):
    result = command("audit", "torch", "--write", tmp_path / "found.md", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert [f["dtype"] for f in found[:2]] == ["float64", "float32"]
    text = (tmp_path / "found.md").read_text()
    assert "![Cosine against norm ratio of the gradients](found.svg)" in text and text.count("| torch ") == 3
    ET.fromstring((tmp_path / "found.svg").read_text())
    findings = list(audit("torch"))
    assert picture(findings) == picture(findings) and "0 of 3 comparisons" in page(findings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch-metric-learning", "torch", "folk"])
def test_the_page_in_the_docs_is_current(name):
    """Of the libraries that the tests' environment has; the others need an environment of their own."""
    shown = [row for row in verdicts(PAGE.read_text()) if row[0] == mapping(name)["library"]]
    assert shown == verdicts(page(list(audit(name)))), "python -m golden audit ... --write docs/audit.md"


def test_findings_of_another_environment(tmp_path):
    """What --json printed elsewhere stands in the table beside what is audited here; --compare tells where a page says otherwise."""
    printed, made = tmp_path / "torch.json", tmp_path / "all.md"
    printed.write_text(command("audit", "torch", "--json").output)
    assert read(printed) == list(audit("torch"))
    result = command("audit", "folk", "--also", printed, "--write", made)
    assert result.exit_code == 0 and {row[0] for row in verdicts(made.read_text())} == {"torch", "folk ports"}
    result = command("audit", "torch", "--compare", made)
    assert result.exit_code == 0 and f"3 rows as in {made}" in result.output
    made.write_text(made.read_text().replace("| differs (0 of 2) |", "| equals (2 of 2) |", 1))
    result = command("audit", "--also", printed, "--compare", made)
    assert (
        result.exit_code == 1 and f"only in {made}: torch, nn.CrossEntropyLoss, unified-weight, equals" in result.output
    )


def test_what_holds_no_findings(tmp_path):
    file = tmp_path / "found.json"
    for text, words in (
        ("{", f"{file} holds no findings of `golden audit --json`"),
        ('[{"library": "torch"}]', "holds no findings"),
        (
            json.dumps([{**next(audit("torch")).as_dict(), "against": "no-such"}]),
            "'no-such', 'float64', 'differs' is no set",
        ),
    ):
        file.write_text(text)
        result = command("audit", "--also", file)
        assert result.exit_code == 2 and words in result.output and len(result.output.splitlines()) == 1
    assert command("audit", "--also", tmp_path / "none.json").exit_code == 2
    assert command("audit", "torch", "--compare", tmp_path / "none.md").exit_code == 2
    assert "which library?" in command("audit").output


def test_the_page_has_every_library():
    shown = {row[0] for row in verdicts(PAGE.read_text())}
    assert shown == {mapping(name)["library"] for name in libraries()}


def test_the_folk_forms_are_what_their_description_says():
    """The words of the description are among the deviations that the diagnosis finds by itself."""
    told = str(golden.diagnose(folk.ranked_list_of_re_identification, "rll-cvpr19"))
    assert "positives are averaged over all of them, not over the active ones" in told
    told = str(golden.diagnose(folk.online_soft_mining_without_a_half, "osm"))
    assert "the Gaussian lacks its 1/2" in told and "(the paper's formula)" in told


def test_rows_have_one_cell_for_each_column():
    made = rows(list(audit("torch")))
    assert len({len(row) for row in made}) == 1 and len(made) == 4
