"""tox plugin: make the environment `shared` before an environment that borrows its Python runs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from tox.plugin import impl
from tox.tox_env.api import ToxEnv

_INPUTS = ("pyproject.toml", "constraints.txt", "tox.ini")


@impl
def tox_before_run_commands(tox_env: ToxEnv) -> None:
    if tox_env.name == "shared":
        return
    root, work = Path(tox_env.core["tox_root"]), Path(tox_env.core["work_dir"])
    digest = hashlib.sha256(b"".join((root / name).read_bytes() for name in _INPUTS)).hexdigest()
    stamp = work / "shared" / "made-from.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print("making the shared environment (torch and friends, once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "tox", "run", "-c", str(root), "-e", "shared", "--notest"], check=True)
    stamp.write_text(digest)
