"""A record names the program that ran, and never the repository that happens to lie around it."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from helpers.programs import GIT

from paper_recipes import registry
from paper_recipes.runner.training import provenance, record
from ports import command_line

REPO = Path(__file__).resolve().parents[4]


def git(folder: Path, *args: str) -> str:
    if GIT is None:
        pytest.skip("needs git")
    who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    done = subprocess.run([GIT, "-C", str(folder), *who, *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def install(folder: Path) -> Path:
    """The packages as a wheel puts them into a site-packages: small stand-ins, no pyproject.toml beside them."""
    for package in provenance.PACKAGES:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"# {package}\n")
    return folder


@pytest.fixture
def foreign(tmp_path):
    """Somebody else's repository with one commit."""
    git(tmp_path, "init", "-q")
    (tmp_path / "theirs.py").write_text("x = 1\n")
    git(tmp_path, "add", "theirs.py")
    git(tmp_path, "commit", "-qm", "theirs")
    return tmp_path


def test_a_foreign_repository_around_an_installed_package_is_not_its_own(foreign):
    site = install(foreign / ".venv" / "lib" / "site-packages")
    assert provenance.git_state(site) == {"git_sha": None, "git_dirty": None}
    # What the question would be answered with by `rev-parse` alone.
    assert len(git(site, "rev-parse", "HEAD")) == 40


def test_the_repository_that_tracks_the_files_is(foreign):
    install(foreign)
    assert provenance.git_state(foreign)["git_sha"] is None  # in the work tree, but not tracked
    git(foreign, "add", ".")
    git(foreign, "commit", "-qm", "ours")
    assert provenance.git_state(foreign) == {"git_sha": git(foreign, "rev-parse", "HEAD"), "git_dirty": False}
    (foreign / "ports" / "__init__.py").write_text("# changed\n")
    assert provenance.git_state(foreign)["git_dirty"] is True


def test_no_repository_and_a_callers_git_dir(foreign, tmp_path_factory, monkeypatch):
    site = install(tmp_path_factory.mktemp("alone"))
    monkeypatch.setenv("GIT_DIR", str(foreign / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(foreign))
    assert provenance.git_state(site) == {"git_sha": None, "git_dirty": None}


def test_every_source_file_is_in_the_hash(tmp_path):
    site = install(tmp_path / "a")
    first = provenance.source_sha256(site)
    moved = shutil.copytree(site, tmp_path / "b")
    assert provenance.source_sha256(moved) == first and len(first) == 64  # names and contents, not the place
    (moved / "golden" / "__init__.py").write_text("# golden \n")
    more = shutil.copytree(site, tmp_path / "c")
    (more / "ports" / "extra.py").write_text("")
    provenance.source_sha256.cache_clear()
    assert len({first, provenance.source_sha256(moved), provenance.source_sha256(more)}) == 3


def test_the_version_is_that_of_the_imported_sources(tmp_path):
    text = (REPO / "pyproject.toml").read_text()
    assert command_line.version() == re.search(r'\[project\][^\[]*?\nversion = "(.*?)"', text)[1]
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\nversion = "9.9"\n')
    try:
        installed = metadata.version("dml-ports")
    except metadata.PackageNotFoundError:
        installed = None
    assert command_line.version(tmp_path) == installed


def test_the_record_has_it_all():
    found = record.run_record(registry.get("ms-cub"), form="full", seed=1, device="cpu", data={}, weights=None)
    assert found["project_version"] == command_line.version() and found["source_sha256"] == provenance.source_sha256()
    assert {"git_sha", "git_dirty"} <= found.keys()
    assert found["versions"]["numpy"] == metadata.version("numpy") and found["versions"]["click"]
    assert len(found["versions"]) == len({provenance.plain(d.metadata["Name"]) for d in metadata.distributions()})
