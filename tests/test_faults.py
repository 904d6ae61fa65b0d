"""What can befall a run: one line, its exit code, a true status, and the same bits after `--resume`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.paths import REPO, environment

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="faults are made the Linux way")


@pytest.mark.slow
def test_every_fault_ends_as_it_must(tmp_path):
    out = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--json", str(out)],
        cwd=REPO,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-2000:]}"
    found = json.loads(out.read_text())
    assert len(found) >= 27 and {facts["code"] for facts in found.values()} == {-9, 0, 2, 3, 4, 130}


def test_what_is_not_as_it_must_be_is_noticed():
    sys.path.insert(0, str(REPO))
    try:
        from tests.faults.stage import Ended, Fault, Outcome
    finally:
        sys.path.remove(str(REPO))
    fault = Fault("x", lambda stage: None, 4, "^failed in .*full", "^failed")
    good = Outcome("real", 4, "failed in iteration 3: the disk is full", "failed in iteration 3", True)
    assert fault.wrong(good) == ""
    for changes, words in (
        ({"code": 1}, "exit code 1, not 4"),
        ({"said": "Traceback"}, "it said 'Traceback'"),
        ({"status": "running"}, "its status is 'running'"),
        ({"resumed": False}, "resumed to the same bits: False"),
        ({"left": (".iteration_000003.safetensors.0badcafe",)}, "left behind: .iteration"),
    ):
        assert words in fault.wrong(replace(good, **changes))
    bar = "tiny:  50%|#####     | 3/6 [00:01<00:01,  2.00step/s]"
    assert Ended(4, "a line\n", f"failed in iteration 3\nwarning\n{bar}\r{bar}").said == "failed in iteration 3"
    assert Ended(0, f"done\n{bar}\n", "").said == "done"
