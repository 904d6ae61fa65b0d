"""Scores of embeddings, and what a run says of near-ties."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import tiny_run

from paper_recipes.recipe import Evaluation
from paper_recipes.runner import run_files
from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.scoring import scores as scoring
from ports.datasets.split import Split


def split(labels: np.ndarray) -> Split:
    return Split([str(i) for i in range(len(labels))], labels, name="planted", cameras=np.arange(len(labels)) % 3)


@pytest.mark.parametrize("protocol", ["self", "query-gallery", "reid"])
@pytest.mark.parametrize("rule", ["recall_at_k", "ret_metric_recall", "deep_metric_recall"])
def test_near_ties_of_every_rule(protocol, rule):
    """Six directions of four items, two classes in each; every item of one direction is within 1e-7 of the others."""
    x = np.repeat(np.eye(6), 4, axis=0) + 1e-9 * np.random.default_rng(0).normal(size=(24, 6))
    labels = np.arange(24) // 2
    evaluation = Evaluation(protocol, ks=(1, 4), iterations=(), batch_size=1, rule=rule, options={"cameras": True})
    queries, gallery, data = {"fc": x, "apart": np.eye(24)[labels]}, None, Data(split(labels), split(labels), {})
    if protocol != "self":
        gallery = {name: rows[::-1].copy() for name, rows in queries.items()}
        data = Data(split(labels), split(labels), {}, split(labels[::-1]))
    found = scoring.score(queries, gallery, data, evaluation)
    assert found.near["fc"] == {"R@1": 24} and found.queries == 24
    assert found.near_words("fc") == (
        "fc: of 24 queries, 24 at R@1 are decided by less than 1e-6: rounding, so another processor may differ"
    )
    assert "apart" not in found.near and found.near_words("apart") is None


def test_a_run_and_its_lines_say_so(tmp_path, monkeypatch, capsys):
    """A network that gives the same embedding for every picture."""
    tiny_run.know(monkeypatch)
    embed_data = scoring.embed_data

    def collapsed(*args, **options):
        queries, gallery = embed_data(*args, **options)
        return {name: x if "raw" in name else np.ones_like(x) for name, x in queries.items()}, gallery

    monkeypatch.setattr(scoring, "embed_data", collapsed)
    assert tiny_run.run(tmp_path / "run", tiny_run.make_pictures(tmp_path / "pictures"), report=False) == 0
    said = "fc: of 12 queries, 12 at R@1"
    assert capsys.readouterr().out.count(said) == 7
    assert all(row["near"]["fc"]["R@1"] == 12 for row in run_files.read(tmp_path / "run", "evaluations"))
