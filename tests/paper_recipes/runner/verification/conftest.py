"""What is verified here: a whole run of a tiny recipe, and a copy of it to forge."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers import tiny_run


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DML_PORTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        tiny_run.know(patch)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Pictures and a whole run on them; and a run of another seed. No test writes there."""
    root = tmp_path_factory.mktemp("honest")
    data = tiny_run.make_pictures(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DML_PORTS_CACHE", str(root / "cache"))
        tiny_run.know(patch)
        assert tiny_run.run(root / "run", data) == 0
        assert tiny_run.run(root / "other_seed", data, seed=7) == 0
    return root


@pytest.fixture(scope="module")
def honest(made, known):
    return made


@pytest.fixture
def run(honest, tmp_path):
    """A copy to forge; its record points at the honest run's pictures."""
    return Path(shutil.copytree(honest / "run", tmp_path / "run"))
