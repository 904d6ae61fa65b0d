"""Solver options on a linear net small enough to work out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from caffe_compat.errors import CaffeFormatError
from caffe_compat.net import load_net
from caffe_compat.solver import Solver
from caffe_compat.solver.optim import CaffeAdaDelta, CaffeAdaGrad, CaffeAdam, CaffeNesterov, CaffeRMSProp, CaffeSGD

NET = """
name: "line" input: "x" input: "y"
input_shape { dim: 2 dim: 1 } input_shape { dim: 2 dim: 1 }
layer { name: "w" type: "InnerProduct" bottom: "x" top: "p"
        inner_product_param { num_output: 1 bias_term: false weight_filler { type: "gaussian" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "y" top: "loss" }
"""
FIXED = 'base_lr: 0.5 lr_policy: "fixed" '


def line(extra: str = "", w: float = 1.0) -> Solver:
    solver = Solver(FIXED + extra + "\n", net=load_net(NET, phase="TRAIN").double())
    with torch.no_grad():
        solver.net.learnable[0].tensor.fill_(w)
    return solver


def data(x: list[float], y: list[float]) -> dict[str, np.ndarray]:
    return {"x": np.array(x)[:, None], "y": np.array(y)[:, None]}


def weight(solver: Solver) -> float:
    return solver.net.learnable[0].tensor.item()


def test_one_step_by_hand() -> None:
    solver = line()
    # p = (1, 2), y = (0, 1): loss = (1 + 1)/(2*2) = 0.5, dw = (1*1 + 1*2)/2 = 1.5, w = 1 - 0.5*1.5
    assert solver.step(data([1, 2], [0, 1])) == {"loss": 0.5}
    assert solver.logged_loss == 0.5
    assert weight(solver) == 0.25
    assert solver.iter == 1


def test_iter_size_averages_gradients_and_losses() -> None:
    solver = line("iter_size: 2")
    # second batch: p - y = (2, 0), dw = 2*2/2 = 2, loss = 4/4 = 1; mean gradient (1.5 + 2)/2 = 1.75
    losses = solver.step([data([1, 2], [0, 1]), data([2, 2], [0, 2])])
    assert losses == {"loss": 0.75}
    assert weight(solver) == 1 - 0.5 * 1.75
    with pytest.raises(ValueError, match="iter_size is 2, got 1"):
        solver.step(data([1, 2], [0, 1]))


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("", CaffeSGD),
        ('type: "Nesterov" momentum: 0.5', CaffeNesterov),
        ('type: "AdaGrad"', CaffeAdaGrad),
        ('type: "RMSProp" rms_decay: 0.5', CaffeRMSProp),
        ('type: "AdaDelta" momentum: 0.95', CaffeAdaDelta),
        ('type: "Adam" momentum: 0.9', CaffeAdam),
        ("solver_type: ADAGRAD", CaffeAdaGrad),
    ],
)
def test_types(text: str, cls: type) -> None:
    solver = line(text)
    assert type(solver.optimizer) is cls
    for _ in range(3):
        solver.step(data([1, 2], [0, 1]))
    assert weight(solver) < 1


def test_rms_decay_default_belongs_to_the_dialect() -> None:
    net = load_net(NET, phase="TRAIN")
    assert Solver(FIXED + 'type: "RMSProp"\n', net=net).optimizer.rms_decay == np.float32(0.99)
    forked = Solver(FIXED + 'type: "RMSProp"\n', net=net, dialect="rll_cvpr19")
    assert forked.optimizer.rms_decay == 0


@pytest.mark.parametrize("kind", ["Adam", "AdaDelta", "Nesterov", "RMSProp"])
def test_every_type_resumes_bit_for_bit(kind: str, tmp_path: Path) -> None:
    text = f'type: "{kind}" ' + ("" if kind == "RMSProp" else "momentum: 0.9")
    whole = line(text)
    for i in range(5):
        if i == 3:
            model, state = whole.save_state(tmp_path / "line")
        whole.step(data([1, 2], [i, 1]))
    assert (model.name, state.name) == ("line_iter_3.caffemodel", "line_iter_3.solverstate")  # stock Caffe's names
    part = line(text, w=9.0)
    part.restore(state)
    for i in (3, 4):
        part.step(data([1, 2], [i, 1]))
    assert weight(part) == weight(whole)


def test_net_is_found_beside_the_solver_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.prototxt").write_text(NET)
    path = tmp_path / "a" / "solver.prototxt"
    path.write_text(FIXED + 'net: "train.prototxt"')
    assert len(Solver(path).net.learnable) == 1
    monkeypatch.chdir(tmp_path / "a")
    assert len(Solver(str(path)).net.learnable) == 1
    path.write_text(FIXED + 'net: "gone.prototxt"')
    with pytest.raises(FileNotFoundError, match=r"gone\.prototxt"):
        Solver(path)
    path.write_text(FIXED + f'net: "{"long" * 2000}"')  # what no file can be called
    with pytest.raises(FileNotFoundError, match=rf"longlong.* is not there .looked for {re.escape(str(path.parent))}"):
        Solver(path)
    path.write_text(FIXED)
    with pytest.raises(CaffeFormatError, match="exactly one of net"):
        Solver(path)


def test_random_seed_fills_the_net(tmp_path: Path) -> None:
    (tmp_path / "train.prototxt").write_text(NET)

    def drawn(seed: int) -> float:
        path = tmp_path / "solver.prototxt"
        path.write_text(FIXED + f'net: "train.prototxt" random_seed: {seed}')
        return weight(Solver(path))

    assert drawn(1) == drawn(1) != drawn(2)


def test_restore_without_its_weights_names_them(tmp_path: Path) -> None:
    solver = line()
    model, state = solver.save_state(tmp_path / "line")
    model.unlink()
    with pytest.raises(FileNotFoundError, match=r"line_iter_0\.caffemodel"):
        solver.restore(state)


def test_errors() -> None:
    with pytest.raises(ValueError, match="'Lion'"):
        line('type: "Lion"')
    with pytest.raises(ValueError, match="snapshot_prefix"):
        line().save_state()
