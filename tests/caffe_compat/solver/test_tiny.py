"""Solver on the tiny nets that Caffe trained and saved: five float64 steps, snapshots, resuming, mutations.

`train_steps_f64.npz` (recorded from the forks' own Solver<double>): losses, parameters and momentum.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats import prototxt
from caffe_compat.formats.caffemodel import read_caffemodel
from caffe_compat.formats.solverstate import read_solverstate
from caffe_compat.net import load_net
from caffe_compat.net.seeded import seed_weights, seeded_images
from caffe_compat.solver import Solver
from caffe_compat.solver.lr_policy import LearningRate
from caffe_compat.solver.optim import CaffeSGD

TREES = ["rll_cvpr19", "rll_tpami", "osm_aaai19"]
#: An independent implementation stayed within 2e-15 of these runs; DESIGN's bound for trajectories.
TOLERANCE = 1e-9
#: Files that Solver<float> wrote, against the float64 run: 5 float32 steps, recorded difference 2e-6.
TOLERANCE_F32 = 2e-5


def build(tiny: Path, tree: str, *, double: bool = True) -> Solver:
    """The recorded run's start: seeded weights, BatchNorm blobs zero."""
    solver = Solver(tiny / tree / "solver.prototxt", dialect=tree)
    if double:
        solver.net.double()
    seed_weights(solver.net, statistics=False)
    return solver


def batch(iteration: int, labels: np.ndarray) -> dict[str, Any]:
    """Inputs of the 1-based iteration."""
    return {"data": seeded_images((len(labels), 3, 19, 19), seed=99 + iteration), "label": labels}


def trace_of(tiny: Path, tree: str) -> dict[str, np.ndarray]:
    with np.load(tiny / tree / "train_steps_f64.npz") as file:
        return dict(file)


def parameter_error(solver: Solver, trace: dict[str, np.ndarray], iteration: int) -> float:
    """Largest difference of any parameter blob (BatchNorm's included), relative to the blob's largest entry."""
    errors = []
    for b in solver.net.learnable:
        want = trace[f"param{iteration}:{b.layer}:{b.blob}"]
        errors.append(np.abs(b.tensor.detach().numpy() - want).max() / np.abs(want).max())
    return float(max(errors))


def history_error(solver: Solver, trace: dict[str, np.ndarray], iteration: int) -> float:
    """Relative to each blob's largest entry, but to 1e-6 at least: a bias before BatchNorm holds rounding noise only."""
    errors = []
    for i, history in enumerate(solver.optimizer.history):
        want = trace[f"hist{iteration}:{i}"]
        errors.append(np.abs(history.numpy() - want).max() / max(np.abs(want).max(), 1e-6))
    return float(max(errors))


def run(solver: Solver, trace: dict[str, np.ndarray], iterations: range = range(1, 6)) -> dict[str, float]:
    """Step and return the worst loss, parameter and history error."""
    worst = {"loss": 0.0, "parameters": 0.0, "history": 0.0}
    for it in iterations:
        for name, value in solver.step(batch(it, trace["label"])).items():
            want = float(trace[f"iter{it}:{name}"])
            worst["loss"] = max(worst["loss"], abs(value - want) / abs(want))
        if f"hist{it}:0" in trace:
            worst["parameters"] = max(worst["parameters"], parameter_error(solver, trace, it))
            worst["history"] = max(worst["history"], history_error(solver, trace, it))
    return worst


@pytest.mark.parametrize("tree", TREES)
def test_five_recorded_steps(tiny: Path, tree: str) -> None:
    errors = run(build(tiny, tree), trace_of(tiny, tree))
    assert all(error < TOLERANCE for error in errors.values()), errors


def test_tpami_annealing_and_stale_loss(tiny: Path) -> None:
    trace, solver = trace_of(tiny, "rll_tpami"), build(tiny, "rll_tpami")
    logged = []
    for it in range(1, 6):
        loss = solver.net.plan.layers[-1].loss
        now = [loss.negative_threshold, loss.pn_margin, loss.T_p, loss.T_n]
        assert now == trace["last_loss_layer_thr_pn_tp_tn"][it - 1].tolist()  # float32 arithmetic: equal
        solver.step(batch(it, trace["label"]))
        logged.append(solver.logged_loss)
    # What Caffe prints is the loss of the batch before: 0, then losses 1 to 4.
    np.testing.assert_allclose(logged, [0.0] + [float(trace[f"iter{i}:loss"]) for i in range(1, 5)], rtol=TOLERANCE)


# -- mutations: a known wrong port must leave the tolerance


class TorchSGD(CaffeSGD):
    """torch.optim.SGD's convention: gradients in the buffer, the rate outside."""

    def _update_values(self, params, diffs, rates):  # type: ignore[no-untyped-def]
        history = [self._history(p)[0] for p in params]
        for h, d in zip(history, diffs):
            h.mul_(self.momentum).add_(d)
        return [h * rate for h, rate in zip(history, rates)]


def _torch_momentum(solver: Solver) -> None:
    solver.optimizer.__class__ = TorchSGD


def _statistics_not_decayed(solver: Solver) -> None:
    for group, b in zip(solver.optimizer.param_groups, solver.net.learnable):
        if not b.tensor.requires_grad:
            group["lr_mult"] = 0.0


def _no_lr_mult(solver: Solver) -> None:
    for group in solver.optimizer.param_groups:
        group["lr_mult"] = 1.0


def _double_momentum(solver: Solver) -> None:
    solver.optimizer.momentum = 0.9  # type: ignore[attr-defined]  # not float32(0.9)


def _step_one_earlier(solver: Solver) -> None:
    solver.rate.stepvalues = [s - 1 for s in solver.rate.stepvalues]


@pytest.mark.parametrize(
    ("mutate", "first"),
    [
        (_torch_momentum, "parameters"),
        (_statistics_not_decayed, "parameters"),
        (_no_lr_mult, "parameters"),
        (_double_momentum, "history"),
        (_step_one_earlier, "parameters"),
    ],
)
def test_wrong_ports_are_caught(tiny: Path, mutate: Callable[[Solver], None], first: str) -> None:
    solver = build(tiny, "rll_cvpr19")
    mutate(solver)
    assert run(solver, trace_of(tiny, "rll_cvpr19"))[first] > 10 * TOLERANCE


def test_torch_momentum_passes_until_the_rate_steps(tiny: Path) -> None:
    """The rate changes at the third update: parameters agree after two and part at the third, by the first step."""
    trace = trace_of(tiny, "rll_cvpr19")
    ours, theirs = build(tiny, "rll_cvpr19"), build(tiny, "rll_cvpr19")
    _torch_momentum(theirs)
    difference = []
    for it in (1, 2, 3):
        for solver in (ours, theirs):
            solver.step(batch(it, trace["label"]))
        pairs = zip(ours.net.learnable, theirs.net.learnable)
        difference.append(max((a.tensor - b.tensor).abs().max().item() for a, b in pairs))
    assert max(difference[:2]) < TOLERANCE
    assert difference[2] > 1e-4


def test_annealing_every_loss_or_none_is_caught(tiny: Path) -> None:
    solver = build(tiny, "rll_tpami")
    solver.dialect = "rll_cvpr19"  # no annealing
    assert run(solver, trace_of(tiny, "rll_tpami"))["loss"] > 10 * TOLERANCE


# -- snapshots


@pytest.mark.parametrize("suffix", ["", ".h5"])
@pytest.mark.parametrize("tree", TREES)
def test_resuming_from_caffes_own_files(tiny: Path, tmp_path: Path, tree: str, suffix: str) -> None:
    trace = trace_of(tiny, tree)
    if suffix:
        pytest.importorskip("h5py")
        state, solver_file = "tiny_h5_iter_3.solverstate.h5", tmp_path / "solver.prototxt"
        text = (tiny / tree / "solver.prototxt").read_text().replace("train.prototxt", "train_h5.prototxt")
        for source in (tiny / tree).iterdir():
            shutil.copy(source, tmp_path)
        solver_file.write_text(text)
        # The HDF5 net has "_" for "/" in its layer names, which HDF5 would read as groups.
        trace = {k.replace("/", "_"): v for k, v in trace.items()}
    else:
        state, solver_file = "tiny_iter_3.caffemodel.solverstate", tiny / tree / "solver.prototxt"
    solver = Solver(solver_file, dialect=tree)
    solver.restore(solver_file.parent / state)
    assert solver.iter == 3
    assert solver.rate.current_step == 1
    assert parameter_error(solver, trace, 3) < TOLERANCE_F32
    errors = run(solver, trace, range(4, 6))
    if tree == "rll_tpami":
        # The annealed values are not in the file: loss and embedding weights leave the uninterrupted run.
        assert errors["loss"] > 1e-2
        assert errors["parameters"] > 2 * TOLERANCE_F32
    else:
        assert errors["parameters"] < TOLERANCE_F32


@pytest.mark.parametrize("tree", TREES)
def test_own_snapshot_has_caffes_names_and_contents(tiny: Path, tmp_path: Path, tree: str) -> None:
    trace, solver = trace_of(tiny, tree), build(tiny, tree, double=False)
    for it in (1, 2, 3):
        solver.step(batch(it, trace["label"]))
    model, state = solver.save_state(tmp_path / "tiny")
    assert (model.name, state.name) == ("tiny_iter_3.caffemodel", "tiny_iter_3.caffemodel.solverstate")
    theirs, ours = read_solverstate(tiny / tree / state.name), read_solverstate(state)
    assert (ours.iter, ours.current_step, ours.learned_net) == (theirs.iter, theirs.current_step, str(model))
    assert [h.shape for h in ours.history] == [h.shape for h in theirs.history]
    weights, caffes = read_caffemodel(model), read_caffemodel(tiny / tree / model.name)
    assert list(weights) == list(caffes)
    for name in caffes:
        for ours_blob, theirs_blob in zip(weights[name], caffes[name], strict=True):
            # Both are float32 runs of three steps.
            assert np.abs(ours_blob - theirs_blob).max() <= TOLERANCE_F32 * np.abs(theirs_blob).max()


@pytest.mark.parametrize("tree", TREES)
def test_own_resume_is_bit_identical_where_caffes_is(tiny: Path, tmp_path: Path, tree: str) -> None:
    trace, whole = trace_of(tiny, tree), build(tiny, tree)
    for it in range(1, 6):
        whole.step(batch(it, trace["label"]))
        if it == 3:
            _, state = whole.save_state(tmp_path / "t")
    part = Solver(tiny / tree / "solver.prototxt", dialect=tree)
    part.net.double()
    part.restore(state)
    for it in (4, 5):
        part.step(batch(it, trace["label"]))
    same = [torch.equal(a.tensor, b.tensor) for a, b in zip(whole.net.learnable, part.net.learnable)]
    # TPAMI: annealing starts again.
    assert all(same) == (tree != "rll_tpami")


def test_double_after_a_step_keeps_the_history(tiny: Path) -> None:
    trace, solver = trace_of(tiny, "rll_cvpr19"), build(tiny, "rll_cvpr19", double=False)
    solver.step(batch(1, trace["label"]))
    before = [h.double() for h in solver.optimizer.history]
    solver.net.double()
    solver._follow_net()
    assert all(torch.equal(a, b) for a, b in zip(before, solver.optimizer.history))
    solver.step(batch(2, trace["label"]))
    assert solver.optimizer.history[0].dtype == torch.float64


def test_restore_refuses_another_nets_state(tiny: Path) -> None:
    solver = build(tiny, "osm_aaai19")
    with pytest.raises(CaffeFormatError, match="history blobs, this solver has"):
        solver.restore(tiny / "rll_cvpr19" / "tiny_iter_3.caffemodel.solverstate")
    assert solver.iter == 0


def test_multistep_counter_of_the_solver_is_the_policys(tiny: Path) -> None:
    rate = LearningRate(prototxt.read_solver(tiny / "rll_cvpr19" / "solver.prototxt"))
    assert [rate(i) / rate.base_lr for i in range(4)] == [1, 1, 0.5, 0.5]


def test_load_net_and_solver_agree(tiny: Path) -> None:
    net = load_net(tiny / "osm_aaai19" / "train.prototxt", phase="TRAIN", dialect="osm_aaai19")
    solver = Solver(tiny / "osm_aaai19" / "solver.prototxt", net=net)
    assert solver.net is net
    assert solver.dialect == "osm_aaai19"
