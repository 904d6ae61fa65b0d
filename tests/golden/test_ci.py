"""What a maintainer's CI gets: JSON of a stable shape, a badge, exit codes, a wrong mark that fails one test, torch.compile."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from helpers.golden_cli import golden as command
from helpers.programs import needs_compiler

import golden
from golden.badge import facts, svg
from golden.integrity import DATA
from golden.relation import KINDS

SET = "contrastive-deep-metric"
SCHEMA = json.loads((DATA.parent / "report.schema.json").read_text())
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float)}


def violations(value, schema, where="report"):
    """The part of JSON Schema that the report's uses; an unknown keyword is an error, so that none is silently passed over."""
    unknown = set(schema) - {
        *("$schema", "title", "description", "type", "const", "enum"),
        *("required", "properties", "additionalProperties", "items"),
    }
    assert not unknown, unknown
    found = []
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        of_kind = [isinstance(value, TYPES[k]) and not (k == "number" and isinstance(value, bool)) for k in kinds]
        if not any(of_kind):
            return [f"{where}: {value!r} is not {kinds}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{where}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is none of {schema['enum']}")
    if isinstance(value, dict):
        found += [f"{where}: no {name}" for name in schema.get("required", ()) if name not in value]
        known = schema.get("properties", {})
        for name, inner in value.items():
            if name in known:
                found += violations(inner, known[name], f"{where}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{where}: {name} is not described")
    if isinstance(value, list) and "items" in schema:
        found += [v for k, inner in enumerate(value) for v in violations(inner, schema["items"], f"{where}[{k}]")]
    return found


@pytest.mark.parametrize("name", ["Right", "Doubled", "Means", "raises", "not_a_number", "from_similarities"])
def test_the_json_has_the_documented_shape(samples, name):
    loss = getattr(samples, name)
    report = golden.check(loss() if isinstance(loss, type) else loss, SET, cases=["g*"], properties=name == "Right")
    assert violations(json.loads(report.json()), SCHEMA) == []


def test_the_shape_is_checked(samples):
    report = json.loads(golden.check(samples.Right(), SET, cases=["g06*"], properties=False).json())
    wrong = [
        {**report, "format": 2},
        {**report, "more": 1},
        {k: v for k, v in report.items() if k != "passed"},
        {**report, "relation": {**report["relation"], "kind": "nearly"}},
        {**report, "cases": [{**report["cases"][0], "cosine": "1"}]},
        {**report, "passed": 1},
    ]
    assert [len(violations(data, SCHEMA)) for data in wrong] == [1] * len(wrong)
    assert SCHEMA["properties"]["relation"]["properties"]["kind"]["enum"] == list(KINDS)


def test_a_badge(samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = golden.check(samples.Right(), SET, properties=False, diagnosis=False)
    assert facts(good) == {"schemaVersion": 1, "label": "golden", "message": f"19/19 {SET}", "color": "brightgreen"}
    bad = golden.check(samples.raises, SET, properties=False, diagnosis=False)
    assert (facts(bad)["message"], facts(bad)["color"]) == (f"0/19 {SET}", "red")
    doubled = golden.check(samples.Doubled(), SET, properties=False, diagnosis=False, accept=["factor"])
    assert facts(doubled)["color"] == "yellow" and facts(doubled)["message"].endswith("(factor)")
    picture = ET.fromstring(svg(good))
    assert [t.text for t in picture.iter("{http://www.w3.org/2000/svg}text")] == ["golden", f"19/19 {SET}"]
    bad.against = "a<b>&c"
    assert "a<b>&c" in [t.text for t in ET.fromstring(svg(bad)).iter("{http://www.w3.org/2000/svg}text")][1]


def test_exit_codes_and_badge_files(sample_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("--against", SET, "--badge", "b.json", "--badge", "b.svg")
    assert command("check", f"{sample_file}:Right", *arguments).exit_code == 0
    assert json.loads((tmp_path / "b.json").read_text())["message"] == f"19/19 {SET}"
    assert (tmp_path / "b.svg").read_text().startswith("<svg")
    assert command("check", f"{sample_file}:Doubled", *arguments).exit_code == 1
    assert json.loads((tmp_path / "b.json").read_text())["color"] != "brightgreen"
    assert command("check", f"{sample_file}:Doubled", "--against", SET, "--accept", "factor").exit_code == 0
    for wrong, words in (
        (("--badge", "b.png"), "must end in .json or .svg"),
        (("--accept", "nearly"), "accept knows no nearly"),
    ):
        result = command("check", f"{sample_file}:Right", "--against", SET, *wrong)
        assert result.exit_code == 2 and words in result.output


@pytest.mark.slow
@needs_compiler
def test_torch_compile_is_told(samples):
    report = golden.check(samples.Right(), SET, cases=["g16*", "g06*"], compile=True, properties=False)
    assert report.passed and report.compiled_equal, report.text()
    assert report.compiled[0].startswith("bit-identical in") and report.compiled[0].endswith("of 2 cases")
    assert "under torch.compile" in report.text() and violations(json.loads(report.json()), SCHEMA) == []

    def otherwise(x, y):
        return samples.Right()(x, y) * (2 if torch.compiler.is_compiling() else 1)

    report = golden.check(otherwise, SET, cases=["g16*"], compile=True, properties=False, diagnosis=False)
    assert {row.verdict for row in report.rows} == {"pass"} and not report.passed
    assert report.headline.endswith("(1 of 1 cases pass), but not under torch.compile")
    assert any("beyond the tolerance: g16" in line for line in report.compiled), report.compiled


def test_torch_compile_is_for_torch():
    def loss(x, y):
        return 0.0, np.zeros_like(x)

    loss.golden_framework = "numpy"
    with pytest.raises(ValueError, match=r"torch\.compile is for torch losses, this one is numpy"):
        golden.check(loss, SET, compile=True)
