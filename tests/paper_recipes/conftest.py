"""Fixtures of the tests that run a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder that one module's runs share for their pictures."""
    return tmp_path_factory.mktemp("pictures")
