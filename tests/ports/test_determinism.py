"""Streams by purpose, deterministic switches, and what the record says of the machine."""

from __future__ import annotations

import json
import os
import random

import numpy as np
import pytest
import torch

from ports import determinism


@pytest.fixture(autouse=True)
def threads_and_strictness_again(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""))
    before = torch.get_num_threads()
    yield
    monkeypatch.undo()
    determinism.configure(0, threads=before)


def draws(*key) -> list[int]:
    return determinism.stream(*key).integers(2**40, size=4).tolist()


def test_a_stream_is_a_function_of_seed_purpose_and_counter():
    assert draws(1, "sampler") == draws(1, "sampler")
    keys = [(seed, purpose, *counter) for seed in (1, 2) for purpose in determinism._PURPOSES for counter in ((), (1,), (2,), (1, 1), (0, 1))]  # fmt: skip
    assert len({tuple(draws(*key)) for key in keys}) == len(keys)
    assert draws(1, "other", 5) == draws(1, "other", 5, 0)  # as documented: NumPy pads with zeros


def test_another_stream_for_one_purpose_shifts_no_other(monkeypatch):
    """The mutation: a single generator for all of them would give the sampler other batches here."""
    before = {purpose: draws(3, purpose) for purpose in determinism._PURPOSES}
    determinism.stream(3, "augmentation").standard_normal(1000)  # drawing more of one
    monkeypatch.setitem(determinism._PURPOSES, "augmentation", 99)  # or another one altogether
    after = {purpose: draws(3, purpose) for purpose in determinism._PURPOSES}
    assert {purpose for purpose in before if before[purpose] != after[purpose]} == {"augmentation"}


def test_configure_seeds_every_generator():
    numbers = []
    for _ in range(2):
        determinism.configure(7)
        numbers.append((random.random(), np.random.random(), float(torch.rand(()))))  # noqa: NPY002
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("strict", [True, False])
def test_switches_and_record(strict):
    determinism.configure(7, strict=strict, threads=1)
    assert torch.are_deterministic_algorithms_enabled() is strict
    assert torch.backends.cudnn.deterministic is strict and torch.backends.cudnn.benchmark is not strict
    record = json.loads(json.dumps(determinism.environment()))
    assert record["threads"] == 1 and record["deterministic"] is strict and record["tf32"] is not strict
    assert {"python", "torch", "numpy", "platform", "processor", "cublas_workspace_config"} <= record.keys()


def test_cublas_is_set_before_cuda_starts_or_the_mend_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    determinism.configure(7)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    determinism.configure(7)  # set in time
    for wrong in ("", ":4096:2"):
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", wrong)
        with pytest.raises(RuntimeError, match=r"set CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts"):
            determinism.configure(7)
        determinism.configure(7, strict=False)


def test_cudnn_can_be_left_out():
    try:
        determinism.configure(7, cudnn=False)
        assert torch.backends.cudnn.enabled is False
    finally:
        determinism.configure(7)
    assert torch.backends.cudnn.enabled is True and "cudnn_enabled" in determinism.environment()
