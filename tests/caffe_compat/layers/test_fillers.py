"""Fillers against the distributions of filler.hpp: bounds and moments, and exact values where nothing is random."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from caffe_compat.layers.fillers import AVERAGE, FAN_IN, FAN_OUT, fan, fill

SHAPE = (40, 30, 3, 3)  # fan_in 270, fan_out 360


def filler(kind: str, **kw: object) -> SimpleNamespace:
    base = {
        "type": kind,
        "value": 0.0,
        "min": 0.0,
        "max": 1.0,
        "mean": 0.0,
        "std": 1.0,
        "sparse": -1,
        "variance_norm": 0,
    }
    return SimpleNamespace(**{**base, **kw})


def filled(kind: str, shape: tuple[int, ...] = SHAPE, seed: int = 0, **kw: object) -> torch.Tensor:
    return fill(torch.empty(shape), filler(kind, **kw), torch.Generator().manual_seed(seed))


def test_constant_is_exact() -> None:
    assert (filled("constant", value=0.25) == 0.25).all()


@pytest.mark.parametrize(("norm", "n"), [(FAN_IN, 270.0), (FAN_OUT, 360.0), (AVERAGE, 315.0)])
def test_xavier_and_msra_fans(norm: int, n: float) -> None:
    assert fan(SHAPE, norm) == n
    bound = math.sqrt(3 / n)
    x = filled("xavier", variance_norm=norm)
    # 10800 draws: the largest is within 0.2 % of the bound with probability > 1 - 1e-9, never above it.
    assert 0.998 * bound < x.abs().max() <= bound
    # Standard error of a sample standard deviation over 10800 draws is below 0.7 %; 4 of them.
    assert x.std().item() == pytest.approx(math.sqrt(1 / n), rel=0.028)
    assert filled("msra", variance_norm=norm).std().item() == pytest.approx(math.sqrt(2 / n), rel=0.028)


def test_fan_of_a_vector_is_its_count() -> None:
    assert fan((7,), FAN_IN) == 1
    assert fan((7,), FAN_OUT) == 7


def test_uniform_range() -> None:
    x = filled("uniform", min=-0.5, max=2.0)
    assert x.min() >= -0.5
    assert x.max() <= 2.0
    assert x.mean().item() == pytest.approx(0.75, abs=0.03)  # 4 standard errors of 2.5/sqrt(12*10800)


def test_gaussian_and_its_sparse_form() -> None:
    x = filled("gaussian", mean=1.0, std=0.1)
    assert x.mean().item() == pytest.approx(1.0, abs=0.004)
    assert x.std().item() == pytest.approx(0.1, rel=0.028)
    sparse = filled("gaussian", mean=1.0, std=0.1, sparse=10)
    # 10 of 40 outputs: keep probability 1/4; standard error over 10800 draws 0.0042.
    assert (sparse != 0).float().mean().item() == pytest.approx(0.25, abs=0.017)


def test_positive_unitball_rows_sum_to_one() -> None:
    x = filled("positive_unitball", shape=(5, 8))
    assert (x >= 0).all()
    torch.testing.assert_close(x.sum(1), torch.ones(5))


def test_bilinear_values() -> None:
    # width 4: f = 2, c = 3/4, 1 - |x/2 - 3/4| = 1/4, 3/4, 3/4, 1/4.
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    x = filled("bilinear", shape=(2, 1, 4, 4))
    assert torch.equal(x, torch.outer(ramp, ramp).expand(2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 3\)"):
        filled("bilinear", shape=(2, 1, 4, 3))


def test_one_seed_gives_one_result_in_both_precisions() -> None:
    double = fill(torch.empty(SHAPE, dtype=torch.float64), filler("xavier"), torch.Generator().manual_seed(3))
    assert torch.equal(double.float(), filled("xavier", seed=3))


def test_errors_name_the_filler() -> None:
    with pytest.raises(ValueError, match="'orthogonal'"):
        filled("orthogonal")
    with pytest.raises(ValueError, match="sparse: 3"):
        filled("xavier", sparse=3)
