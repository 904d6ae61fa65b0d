"""tox plugin: an environment for each recipe, and `shared` made before an environment that borrows its Python runs.

The recipes' names come from paper_recipes/fingerprints.json, so a new recipe needs no edit of tox.ini.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tox.config.loader.memory import MemoryLoader
from tox.config.sets import ConfigSet
from tox.plugin import impl
from tox.session.state import State
from tox.tox_env.api import ToxEnv

_ROOT = Path(__file__).resolve().parent
_INPUTS = ("pyproject.toml", "constraints.txt", "tox.ini")
_PREFIX = "reproduce-"
_TPAMI = "rll-tpami"  # a paper of its own, though its recipes' names begin as those of rll
_XBM = "xbm"  # released with ms


def _environments() -> list[str]:
    return [_PREFIX + name for name in json.loads((_ROOT / "paper_recipes" / "fingerprints.json").read_text())]


def _labels(environment: str) -> set[str]:
    """`embedded-all`, and `reproduce-PAPER` where a recipe's name begins with its paper's."""
    name = environment.removeprefix(_PREFIX)
    paper = _TPAMI if name.startswith(_TPAMI) else name.partition("-")[0]
    return {"embedded-all", _PREFIX + ("ms" if paper == _XBM else paper)}


@impl
def tox_extend_envs() -> Iterator[str]:
    yield from _environments()


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:
    for environment in _environments():
        loader = MemoryLoader(
            base=["recipe", "testenv"],
            labels=_labels(environment),
            description=f"replay {environment.removeprefix(_PREFIX)}, a frozen recipe",
        )
        state.conf.memory_seed_loaders[environment].append(loader)


@impl
def tox_before_run_commands(tox_env: ToxEnv) -> None:
    root, work = Path(tox_env.core["tox_root"]), Path(tox_env.core["work_dir"])
    borrowed = str(work / "shared")
    if tox_env.name == "shared" or not any(borrowed in part for c in tox_env.conf["commands"] for part in c.args):
        return  # the commands are run by an environment of their own
    digest = hashlib.sha256(b"".join((root / name).read_bytes() for name in _INPUTS)).hexdigest()
    stamp = work / "shared" / "made-from.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print("making the shared environment (torch and friends, once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "tox", "run", "-c", str(root), "-e", "shared", "--notest"], check=True)
    stamp.write_text(digest)
