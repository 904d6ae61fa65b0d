"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import process_state
from helpers.paths import REFERENCE

# readline, which pytest loads, sets it in the C environment, and so for the workers of `-n`: output would have a width.
os.environ.pop("COLUMNS", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """Around fixtures of any scope: a run in a module's fixture sets threads and determinism, too."""
    before = process_state.state()
    process_state.seed()
    try:
        return (yield)
    finally:
        process_state.restore(before)


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with the recorded outputs of the authors' programs; a stranger's clone has only `golden/data`."""
    if REFERENCE.is_dir():
        return REFERENCE
    if os.environ.get("DML_PORTS_REQUIRE_REFERENCE") == "1":
        pytest.fail(f"DML_PORTS_REQUIRE_REFERENCE=1, but there is no {REFERENCE}")
    pytest.skip(f"needs the recorded reference outputs (no {REFERENCE}; set DML_PORTS_REFERENCE)")


@pytest.fixture
def tf32():
    """`tf32(False)` switches it off (or on) for the test. Set back by hand: torch's switches are no attributes to `monkeypatch`."""
    import torch

    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [switch.allow_tf32 for switch in switches]

    def to(value: bool) -> None:
        for switch in switches:
            switch.allow_tf32 = value

    yield to
    for switch, value in zip(switches, before):
        switch.allow_tf32 = value


@pytest.fixture
def cuda():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")
