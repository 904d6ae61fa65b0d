"""docs/differences.md: every figure in it is computed here.

    DML_PORTS_WRITE_DOCS=1 python -m pytest tests/ports/losses/test_differences.py

writes the page; without the variable the page is compared with what is computed now.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.paths import REPO
from torch import Tensor

from ports import losses

PAGE = REPO / "docs" / "differences.md"
WRITE = os.environ.get("DML_PORTS_WRITE_DOCS") == "1"
unit = torch.nn.functional.normalize


def load_module(name: str) -> ModuleType:
    """A file beside this one; the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- part 1: ours beside pytorch-metric-learning ------------------------------------------------------------------

N, CLASSES, DIM = 80, 16, 128


def batch() -> tuple[Tensor, Tensor]:
    """80 = 16 classes x 5 rows of 128 features in loose clusters (cosines of a class around 0.3), float64."""
    r = np.random.RandomState(0)
    labels = np.repeat(np.arange(CLASSES), N // CLASSES)
    features = r.randn(CLASSES, DIM)[labels] + 1.6 * r.randn(N, DIM)
    return torch.tensor(features), torch.tensor(labels)


def tangent_gradient(loss: Callable[[Tensor, Tensor], Tensor], triplets: object = None) -> Tensor:
    """Gradient with respect to features that an L2 layer normalises, as in training."""
    features, labels = batch()
    features.requires_grad_()
    value = loss(unit(features), labels) if triplets is None else loss(unit(features), labels, triplets)
    (gradient,) = torch.autograd.grad(value, features)
    return gradient


def with_weight(loss: torch.nn.Module, name: str, transpose: bool) -> torch.nn.Module:
    proxies = torch.tensor(np.random.RandomState(1).randn(CLASSES, DIM) / DIM**0.5)
    setattr(loss, name, torch.nn.Parameter(proxies.T.contiguous() if transpose else proxies))
    return loss.double()


def some_triplets() -> tuple[Tensor, Tensor, Tensor]:
    i = torch.arange(N)
    return i, i // 5 * 5 + (i + 1) % 5, (i + 23) % N


def with_miner(peer: ModuleType, loss: torch.nn.Module, epsilon: float) -> Callable[[Tensor, Tensor], Tensor]:
    from pytorch_metric_learning.miners import MultiSimilarityMiner

    miner = MultiSimilarityMiner(epsilon=epsilon)
    return lambda x, y: loss(x, y, miner(x, y))


def peer_rows(peer: ModuleType) -> list[tuple[str, str, Tensor, Tensor]]:
    """(ours, theirs, our gradient, their gradient)."""
    g = tangent_gradient
    triplets = some_triplets()
    ms_40 = peer.MultiSimilarityLoss(alpha=2, beta=40, base=0.5)
    return [
        ("MultiSimilarityLoss()", "MultiSimilarityLoss()", g(losses.MultiSimilarityLoss()), g(peer.MultiSimilarityLoss())),
        ("MultiSimilarityLoss()", "MultiSimilarityLoss(2, 40, 0.5) + MultiSimilarityMiner(0.1)",
         g(losses.MultiSimilarityLoss()), g(with_miner(peer, ms_40, 0.1))),
        ("MultiSimilarityLoss(variant='paper')", "MultiSimilarityLoss()",
         g(losses.MultiSimilarityLoss(variant="paper")), g(peer.MultiSimilarityLoss())),
        ("MultiSimilarityLoss(variant='library')", "MultiSimilarityLoss()",
         g(losses.MultiSimilarityLoss(variant="library")), g(peer.MultiSimilarityLoss())),
        ("ContrastiveLoss(cutoff=1-1e-5)", "ContrastiveLoss()",
         g(losses.ContrastiveLoss(cutoff=1 - 1e-5)), g(peer.ContrastiveLoss())),
        ("ContrastiveLoss(variant='paper')", "ContrastiveLoss()",
         g(losses.ContrastiveLoss(variant="paper")), g(peer.ContrastiveLoss())),
        ("ContrastiveLoss(variant='library')", "ContrastiveLoss()",
         g(losses.ContrastiveLoss(variant="library")), g(peer.ContrastiveLoss())),
        ("LiftedStructureLoss(cutoff=1-1e-5)", "LiftedStructureLoss()",
         g(losses.LiftedStructureLoss(cutoff=1 - 1e-5)), g(peer.LiftedStructureLoss())),
        ("LiftedStructureLoss(variant='paper')", "LiftedStructureLoss()",
         g(losses.LiftedStructureLoss(variant="paper")), g(peer.LiftedStructureLoss())),
        ("NCALoss(alpha=16, cutoff=1-1e-5)", "NCALoss(softmax_scale=16)",
         g(losses.NCALoss(cutoff=1 - 1e-5)), g(peer.NCALoss(softmax_scale=16))),
        ("NCALoss(alpha=16, variant='paper')", "NCALoss(softmax_scale=16)",
         g(losses.NCALoss(16, variant="paper")), g(peer.NCALoss(softmax_scale=16))),
        ("BatchAllLoss(0.2)", "TripletMarginLoss(0.2)", g(losses.BatchAllLoss()), g(peer.TripletMarginLoss(0.2))),
        ("BatchAllLoss(0.2, nonzero=True, variant='paper')", "TripletMarginLoss(0.2)",
         g(losses.BatchAllLoss(nonzero=True, variant="paper")), g(peer.TripletMarginLoss(0.2))),
        ("MarginLoss(), same triplets", "MarginLoss(), same triplets",
         g(losses.MarginLoss(), triplets), g(peer.MarginLoss(), triplets)),
        ("NormSoftmaxLoss()", "NormalizedSoftmaxLoss()",
         g(with_weight(losses.NormSoftmaxLoss(CLASSES, DIM), "weight", False)),
         g(with_weight(peer.NormalizedSoftmaxLoss(CLASSES, DIM), "W", True))),
        ("ProxyNCALoss()", "ProxyNCALoss()",
         g(with_weight(losses.ProxyNCALoss(CLASSES, DIM), "weight", False)),
         g(with_weight(peer.ProxyNCALoss(CLASSES, DIM), "proxies", False))),
        ("ProxyNCALoss(variant='library')", "ProxyNCALoss()",
         g(with_weight(losses.ProxyNCALoss(CLASSES, DIM, variant="library"), "weight", False)),
         g(with_weight(peer.ProxyNCALoss(CLASSES, DIM), "proxies", False))),
        ("RankedListLoss()", "RankedListLoss(margin=0.4, Tn=10)",
         g(losses.RankedListLoss()), g(peer.RankedListLoss(margin=0.4, Tn=10))),
    ]  # fmt: skip


def peer_table() -> list[str]:
    peer = pytest.importorskip("pytorch_metric_learning.losses")
    lines = ["| ours | pytorch-metric-learning | gradient cosine | norm ratio |", "|---|---|---|---|"]
    for ours, theirs, a, b in peer_rows(peer):
        cosine = (a * b).sum() / (a.norm() * b.norm())
        lines.append(f"| `{ours}` | `{theirs}` | {cosine.item():.3f} | {(a.norm() / b.norm()).item():.3f} |")
    return lines


# --- part 2: where the originals fail -----------------------------------------------------------------------------

SITUATIONS = {
    "g01": "N <= k", "g02": "N <= k", "g03": "N <= k", "g09": "N <= k", "g13": "N <= k", "g16": "N <= k",
    "g05": "some d > 2", "g14": "some d > 2", "g06": "a class of one", "g07": "one class", "g08": "all different",
    "g10": "nothing mined", "g12": "all different",
}  # fmt: skip
REASONS = {
    "plain_python_number": "returns a Python 0.0, which has no backward",
    "constant_zero_no_graph": "returns a fresh zero without a graph",
    "nan": "NaN",
    "-inf": "-inf",
}


def failure_table(reference: Path) -> list[str]:
    recorded, python = load_module("test_python_recorded"), reference / "python"
    lines = ["| loss (setting) | batch | the original | ours: loss, rows with a gradient |", "|---|---|---|---|"]
    for name in recorded.LOSSES:
        for entry in recorded.entries_of(python, name):
            outcome = entry["outcome"]["f64"]
            if outcome == "ok" or "badlabel" in entry["case"]:
                continue
            arrays = recorded.load_case(python, entry)
            torch.manual_seed(0)
            value, gradients = recorded.run_loss(name, arrays, "")
            rows = int((gradients["embeddings"] != 0).any(1).sum())
            key = entry["case"][:3]
            situation = (
                "N <= k"
                if "nca" in name and "out of bounds for dimension 0 with size 0" not in outcome
                else SITUATIONS[key]
            )
            reason = REASONS.get(outcome) or outcome.removeprefix("crash ").split(":")[0].strip()
            sampled = " (own sampling)" if isinstance(recorded.LOSSES[name](), losses.MarginLoss) else ""
            result = "finite" + sampled if sampled else f"{value.item():.4g}, {rows} of {len(gradients['embeddings'])}"
            lines.append(f"| {name.split('/')[1]} | {situation} ({key}) | {reason} | {result} |")
    return lines


# --- part 3: what a rule of the originals changes -----------------------------------------------------------------


def rule_table(reference: Path) -> list[str]:
    recorded, python = load_module("test_python_recorded"), reference / "python"
    lines = ["| rule | measured on | effect |", "|---|---|---|"]

    def gradient(loss: torch.nn.Module, case: str, dtype: torch.dtype = torch.float64) -> tuple[float, Tensor, Tensor]:
        arrays = np.load(python / "inputs" / f"{case}.npz")
        x = torch.tensor(arrays["embeddings"]).to(dtype).requires_grad_()
        value = loss(x, torch.tensor(arrays["labels"]).long())
        value.backward()
        return value.item(), x.grad.double(), x.detach().double()

    case = "g04_n80_d128_16x5_unit"
    rule = "the self pair is removed by value, s < 1 (by index: s < 1 - 1e-5 on unit rows)"
    for make in (losses.ContrastiveLoss, losses.BinomialDevianceLoss, losses.LiftedStructureLoss):
        value, grad, x = gradient(make(), case)
        clean_value, clean, _ = gradient(make(cutoff=1 - 1e-5), case)
        change = (grad - clean).abs().max() / clean.abs().max()
        tangent = grad - clean - ((grad - clean) * x).sum(1, keepdim=True) * x / x.square().sum(1, keepdim=True)
        lines.append(
            f"| {rule} | {make.__name__}, g04 | loss {100 * (value / clean_value - 1):+.1f} %, gradient entries up to "
            f"{100 * change.item():.0f} % of the largest, {100 * (tangent.norm() / clean.norm()).item():.1f} % behind an L2 layer |"
        )
    ratio = []
    for path in sorted((python / "MalongTech__research-ms-loss" / "margin_beta_class").glob("*.npz")):
        arrays = np.load(path)
        if "loss_today" in arrays:
            ratio.append(float(arrays["loss_today"] / arrays["loss"]))
    lines.append(
        f"| MarginLoss divides by terms (torch 1.1), later torch counts triplets | {len(ratio)} recorded batches | "
        f"loss up to x{max(ratio):.2f} with `count='triplets'` |"
    )
    name, case = "bnu-wangxun__Deep_Metric/nca_train", recorded.DENORMAL[1]
    entry = next(e for e in recorded.entries_of(python, name) if e["case"] == case)
    arrays = recorded.load_case(python, entry)
    _, ours = recorded.run_loss(name, arrays, "_f32")
    truth = arrays["grad_embeddings"]
    theirs = np.abs(arrays["grad_embeddings_f32"] - truth).max()
    here = np.abs(ours["embeddings"].numpy() - truth).max()
    lines.append(
        f"| NCA divides two exponentials; ours subtracts their logarithms | nca_train, g14, float32 | the original's "
        f"gradient is {theirs:.0e} away from its float64 run, ours less than {10 ** np.ceil(np.log10(here)):.0e} |"
    )
    return lines


# --- the page -----------------------------------------------------------------------------------------------------

INTRO = """# Where ours differs

Every figure on this page is computed by `tests/ports/losses/test_differences.py`, which also writes the page
(`DML_PORTS_WRITE_DOCS=1 python -m pytest tests/ports/losses/test_differences.py`). The variants `as_released`,
`paper` and `library` are described in each loss's docstring; a name without `variant=` is `as_released` where a release
exists.
"""
PEER_INTRO = """## Beside pytorch-metric-learning

Gradients with respect to features behind an L2 layer, one batch of 80 = 16 classes x 5, 128 features, float64. Cosine 1
and ratio 1 mean the same training step; a ratio other than 1 at cosine 1 is a learning-rate factor.
"""
FAILURE_INTRO = """## Where the originals fail

Recorded batches on which the original crashes, returns NaN or an infinity, or something that has no backward. Ours is finite
there, and what has no positives (or negatives) gets no gradient from them. The same holds in float32. One row each:
"""
NOTES = """Decided by hand, no figure:

- An anchor without positives or without negatives adds 0 where the original mines (Multi-Similarity, Weight, HardMining,
  Binomial and LiftedStructure with `hard_mining`). Unmined Binomial and LiftedStructure skip an anchor without negatives,
  as released, and let an anchor without positives add its negatives only.
- SemiHard, triplet.py and BatchAll reshape the pairs of the whole batch. Equal class sizes: right. Sizes whose totals divide:
  pairs of different anchors are mixed, and so are ours (`as_released`). All other sizes: the original stops, ours keeps
  each anchor's own pairs.
- NCA with k or fewer partners: the original stops with an IndexError, ours takes all partners as neighbours.
- NormSoftmax with a label out of range: IndexError in the original, a ValueError that quotes the labels here.
- MarginLoss samples with a torch generator, not NumPy's global one; fed with NumPy's stream, the same probabilities draw
  the same triplets. Anchors that cannot form a triplet are left out; 1 - d^2/4 is kept at or above 1e-8.
- Multi-Similarity against an empty memory, and triplet against a memory smaller than the batch (research-xbm): a crash in the
  original, 0 here.
- NCA with two equally least similar positives keeps one of them, as a sort would; which one is not recorded (rounding).
"""


def page(reference: Path) -> str:
    caffe = load_module("differences_caffe")
    parts = [
        INTRO,
        PEER_INTRO,
        "\n".join(peer_table()) + "\n",
        caffe.INTRO,
        "\n".join(caffe.variant_table(tangent_gradient)) + "\n",
        caffe.RULES,
        "\n".join(caffe.rule_table(batch())) + "\n",
        "## What the originals' own rules change\n",
        "\n".join(rule_table(reference)) + "\n",
        FAILURE_INTRO,
        "\n".join(failure_table(reference)) + "\n",
        NOTES,
    ]
    return "\n".join(parts)


NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")


def test_the_page_says_what_is_computed(reference: Path) -> None:
    expected = page(reference)
    if WRITE:
        PAGE.write_text(expected)
    written = PAGE.read_text()
    assert NUMBER.sub("#", written) == NUMBER.sub("#", expected), "run with DML_PORTS_WRITE_DOCS=1"
    # Figures are rounded to three or four digits: another machine may round the last one the other way.
    for old, new in zip(NUMBER.findall(written), NUMBER.findall(expected)):
        assert float(new) == pytest.approx(float(old), rel=2e-2, abs=2e-3), f"{old} on the page, {new} now"


def test_what_must_be_equal_to_the_peer_is() -> None:
    peer = pytest.importorskip("pytorch_metric_learning.losses")
    equal = 0
    for ours, theirs, a, b in peer_rows(peer):
        same = "library" in ours or "Miner" in theirs or "triplets" in ours
        same = same or ours.startswith(("LiftedStructureLoss(variant='paper')", "NCALoss(alpha=16, variant='paper')"))
        same = same or ours.startswith(("NormSoftmaxLoss", "BatchAllLoss(0.2, nonzero"))
        if same:
            # The peer computes some distances with cdist or in another order.
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda m, ours=ours: f"{ours}: {m}")
            equal += 1
    assert equal == 9


def test_equals_the_peers_recorded_runs(reference: Path) -> None:
    """`library` against pytorch-metric-learning's recorded float64 runs, without the package."""
    python = reference / "python"
    entries = json.loads((python / "manifest.json").read_text())["entries"]
    recorded = load_module("test_python_recorded")
    probes = np.load(python / "inputs" / "probes.npz")
    variants = {
        "ms_default": lambda: losses.MultiSimilarityLoss(variant="library"),
        "contrastive_default": lambda: losses.ContrastiveLoss(variant="library"),
    }
    checked = 0
    for entry in entries:
        if "KevinMusgrave" not in entry["repo"] or entry.get("config") not in variants:
            continue
        if not recorded.usable(entry, "f64") or "dup" in entry["case"]:
            continue
        arrays = recorded.load_case(python, entry)
        x = torch.tensor(arrays["embeddings"]).double().requires_grad_()
        value = variants[entry["config"]]()(x, torch.tensor(arrays["labels"]).long())
        value.backward()
        assert value.item() == pytest.approx(float(arrays["loss"]), rel=1e-9), entry["path"]
        for what, got, expected, scale in recorded.recorded_views("embeddings", x.grad.numpy(), arrays, "", probes):
            np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-8 * scale, err_msg=f"{entry['path']} {what}")
        checked += 1
    assert checked >= 20
