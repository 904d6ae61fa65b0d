"""The wheel as a stranger's machine has it: outside the repository, in a folder of any name, without git, in any language."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.onnx_files import write_onnx
from helpers.paths import REPO

from paper_recipes.runner.data.run_data import cache_folder

LOSS = "from ports.losses import MultiSimilarityLoss\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with `site`, where the wheel is unpacked and nothing may be written, and `işler`, where the user works."""
    root = tmp_path_factory.mktemp("w") / "ölçü ☃ two words"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root / "wheel")]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True)
    (wheel,) = (root / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "site")
    (root / "işler").mkdir()
    (root / "işler" / "loss.py").write_text(LOSS, encoding="utf-8")
    locale(root, "UTF-8")
    locale(root, "ISO-8859-9")
    for path in (root / "site").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return root


def locale(root: Path, charset: str) -> None:
    """Turkish, whose small I has no dot; without localedef the name alone stands in the environment."""
    if program := shutil.which("localedef"):
        (root / "locale").mkdir(exist_ok=True)
        target = root / "locale" / f"tr_TR.{charset}"
        subprocess.run([program, "-i", "tr_TR", "-f", charset, str(target)], capture_output=True)


def run(place: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """What `python -m ARGUMENTS` says, called in the user's folder with next to no environment."""
    outside = {
        "HOME": str(place / "işler"),
        "PATH": "/nowhere",  # no git
        "PYTHONPATH": str(place / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LOCPATH": str(place / "locale"),
        "DML_PORTS_CACHE": str(cache_folder().absolute()),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=place / "işler", env=outside, capture_output=True, timeout=600
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == code, said
    return said


def content(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


LANGUAGES = {
    "C": {"LC_ALL": "C"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    "tr_TR": {"LC_ALL": "tr_TR.UTF-8"},
    "tr_TR.ISO-8859-9": {"LC_ALL": "tr_TR.ISO-8859-9"},
}


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_commands_that_print(place, language):
    words = LANGUAGES[language]
    where = run(
        place, "timeit", "-n1", "-r1", "import paper_recipes, sys; print(ascii(paper_recipes.__file__))", **words
    )
    assert "/site/paper_recipes/" in where
    assert "rll-sop" in run(place, "paper_recipes", "list", **words)
    assert "fingerprint" in run(place, "paper_recipes", "show", "rll-sop", **words)
    net = shutil.copy(next((REPO / "golden" / "data" / "tiny").rglob("*.prototxt")), place / "işler" / "ağ.prototxt")
    assert "layer" in run(place, "caffe_compat", "info", Path(net).name, **words).lower()
    checked = run(place, "golden", "check", "loss.py:MultiSimilarityLoss", "--against", "ms", **words)
    assert "MultiSimilarityLoss equals ms (23 of 23 cases pass)" in checked
    if (
        language == "ascii"
    ):  # torch takes no file name beyond ASCII then, and `evaluate` registers operations from a file
        return
    missing = run(place, "paper_recipes", "evaluate", "rll-sop", "--model", "değil.pth", code=2, **words)
    assert missing.startswith("error: ") or "\nerror: " in missing


SMALL = "ms-cub+crop=64"  # a twelfth of the pixels: the network is tested elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("language", ["C", "tr_TR.ISO-8859-9"])
def test_a_run_and_its_evaluation(place, language):
    before = content(place / "site")
    words = LANGUAGES[language]
    out = f"sonuç {language}"
    said = run(
        place, "paper_recipes", "run", SMALL, "--smoke", "--iterations", "1", "--threads", "1", "--out", out, **words
    )
    assert "LETTERS form" in said
    record = json.loads((place / "işler" / out / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert "statements hold" in run(place, "paper_recipes", "verify", "--quick", out, **words)
    # onnxruntime takes file names for UTF-8 whatever the locale says, so that one beyond ASCII is found in C alone.
    onnx = "ölçü.onnx" if language == "C" else "model.onnx"
    write_onnx(place / "işler" / onnx, 512, side=64)
    scored = ("paper_recipes", "evaluate", SMALL, "--smoke", "--threads", "1", "--out", f"değer {language}")
    assert "44 queries" in run(place, *scored, "--model", onnx, **words)
    model = os.path.join(out, "checkpoints", "iteration_000001.safetensors")
    assert "44 queries" in run(place, *scored, "--model", model, **words)
    assert content(place / "site") == before, "nothing is written beside the installed files"
