"""The file of sample losses, loaded as a module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).with_name("sample_losses.py")


@pytest.fixture(scope="session")
def samples():
    spec = importlib.util.spec_from_file_location("golden_sample_losses", SAMPLES)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # torch.compile looks a module up by its name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sample_file() -> Path:
    return SAMPLES
