"""A user's own golden record: freeze what a loss computes today, compare with it tomorrow.

A record is NAME.json and NAME.npz in a folder. Its kind is `own_run`: it shows that nothing changed, not that it was right.
"""

from __future__ import annotations

import io
import json
import math
import os
import platform
import zipfile
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Argument, Case, Expected, GoldenSet
from .evaluate import evaluate
from .files import write_atomically
from .frameworks import framework_of

FORMAT = 1
# name -> (classes, samples per class, dimension, kind); seeded by position
_BATTERY = {
    "random_4x3_d8": (4, 3, 8, "random"),
    "cluster_6x4_d16": (6, 4, 16, "cluster"),
    "shuffled_5x3_d8": (5, 3, 8, "shuffled"),
    "uneven_n14_d8": (5, 0, 8, "uneven"),
    "pairs_2x2_d4": (2, 2, 4, "cluster"),
    "scaled_4x3_d8": (4, 3, 8, "scaled"),
}
BATTERY = tuple(_BATTERY)


class RecordError(ValueError):
    """A loss that cannot be frozen, or a record that cannot be read."""


def battery(seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (embeddings (N, D) float32, labels (N,) int64). Unit rows, but for `scaled` (norms around 2)."""
    batches = {}
    for k, (name, (classes, per_class, dim, kind)) in enumerate(_BATTERY.items()):
        rng = np.random.RandomState(1000 * seed + k)
        labels = np.repeat(np.arange(classes), per_class)
        if kind == "uneven":
            labels = np.repeat(np.arange(classes), [2, 3, 4, 3, 2])
        centres = rng.randn(classes, dim)
        noise = rng.randn(len(labels), dim)
        rows = noise if kind == "random" else centres[labels] + 0.7 * noise
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if kind == "shuffled":
            order = rng.permutation(len(labels))
            rows, labels = rows[order], labels[order]
        if kind == "scaled":
            rows *= rng.uniform(1.5, 2.5, (len(labels), 1))
        batches[name] = (rows.astype(np.float32), labels)
    return batches


def _refuse_tf32() -> None:
    """TF32 keeps 10 bits: two machines would not agree on a record made with it."""
    import torch

    switches = {
        "torch.backends.cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "torch.set_float32_matmul_precision": torch.get_float32_matmul_precision() != "highest",
    }
    on = [name for name, value in switches.items() if value]
    if on:
        raise RecordError(
            f"refusing to record with reduced float32 precision: {' and '.join(on)} allow TF32; switch it off"
        )


@contextmanager
def _deterministic() -> Any:
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _versions(framework: str) -> dict[str, str]:
    """Of the framework and of NumPy."""
    return {name: str(import_module(name).__version__) for name in dict.fromkeys((framework, "numpy"))}


def record(
    loss: Callable[..., Any],
    name: str,
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    device: Any = "cpu",
    force: bool = False,
    framework: str | None = None,
) -> Path:
    """Freeze `loss(embeddings, labels)` on a seeded battery of batches, in float64 and float32; returns NAME.json's path.

    Runs each batch twice, a torch loss under deterministic algorithms. RecordError: if TF32 is on, the two runs differ, torch has no
    deterministic implementation of an operation, a value or gradient is not finite, the name is not a plain file name, or the
    record exists (unless `force`).
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise RecordError(f"{name!r} is not a plain file name")
    target = Path(folder) / f"{name}.json"
    if target.exists() and not force:
        raise RecordError(f"{target} exists; a record is replaced only on demand (force)")
    framework = framework or framework_of(loss)
    if framework == "torch":
        _refuse_tf32()
    arrays: dict[str, np.ndarray] = {}
    with _deterministic() if framework == "torch" else nullcontext():
        for case, (rows, labels) in battery(seed).items():
            arguments = [Argument("embeddings", rows, True), Argument("labels", labels)]
            arrays[f"{case}:embeddings"], arrays[f"{case}:labels"] = rows, labels
            for dtype in ("float64", "float32"):
                options: dict[str, Any] = {"dtype": dtype, "device": device, "framework": framework}
                first = evaluate(loss, arguments, **options)
                if first.problem:
                    raise RecordError(f"{case}, {dtype}: {first.problem}")
                second = evaluate(loss, arguments, **options)
                if (
                    second.problem
                    or first.loss != second.loss
                    or not np.array_equal(first.gradients[0], second.gradients[0])
                ):
                    raise RecordError(
                        f"{case}, {dtype}: two runs differ; a loss that draws random numbers must seed them itself"
                    )
                arrays[f"{case}:{dtype}:loss"] = np.asarray(first.loss)
                arrays[f"{case}:{dtype}:gradient"] = first.gradients[0]
    facts = {
        "format": FORMAT, "name": name, "kind": "own_run", "what": f"own record of {name}", "seed": seed, "device": str(device),
        "signature": "embeddings*, labels",
        "environment": {**_versions(framework), "python": platform.python_version(), "machine": platform.machine()},
        "cases": list(_BATTERY),
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(target.with_suffix(".npz"), buffer.getvalue())
    write_atomically(target, (json.dumps(facts, indent=1) + "\n").encode())
    return target


def find_record(path: str | os.PathLike[str]) -> Path:
    """The .json of a record: the file itself, FOLDER/NAME without ending, or a folder with one record."""
    path = Path(path)
    if path.is_dir():
        found = sorted(p for p in path.glob("*.json") if p.with_suffix(".npz").exists())
        if len(found) != 1:
            names = ", ".join(p.stem for p in found) or "none"
            raise FileNotFoundError(f"{path} must hold one record, found {names}; name it as {path}/NAME")
        return found[0]
    target = path if path.suffix == ".json" else path.with_name(path.name + ".json")
    if not target.is_file():
        raise FileNotFoundError(f"no golden set and no record at {path}")
    return target


def load_record(path: str | os.PathLike[str]) -> GoldenSet:
    """Read a record. RecordError, with the file's name, if it is damaged or of another format."""
    target = find_record(path)
    try:
        facts = json.loads(target.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise RecordError(f"{target}: a {type(facts).__name__}, not a record")
        if facts.get("format") != FORMAT or facts.get("kind") != "own_run":
            raise RecordError(
                f"{target}: format {facts.get('format')!r}, kind {facts.get('kind')!r}; expected {FORMAT} and 'own_run'"
            )
        arrays = read_npz(target.with_suffix(".npz"))
        cases = []
        for case in facts["cases"]:
            expected = {
                d: Expected(float(arrays[f"{case}:{d}:loss"]), (arrays[f"{case}:{d}:gradient"],))
                for d in ("float64", "float32")
            }
            arguments = (
                Argument("embeddings", arrays[f"{case}:embeddings"], True),
                Argument("labels", arrays[f"{case}:labels"]),
            )
            cases.append(Case(case, arguments, expected))
        environment = ", ".join(f"{k} {v}" for k, v in facts["environment"].items())
        what, signature = facts["what"], facts["signature"]
    except RecordError:
        raise
    except (
        Exception,
        RecursionError,
    ) as error:  # a record is a stranger's file: zipfile, json and NumPy have many kinds
        raise RecordError(f"{target}: cannot be read as a record ({type(error).__name__}: {error})") from error
    return GoldenSet(str(path), what, signature, {}, "own_run", f"own run ({environment})", "", tuple(cases))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a record. What it claims is held against the file before NumPy allocates it: ten times and 100 MB."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(info.file_size for info in members) > 10 * size + 100_000_000:
            raise RecordError(f"{path}: its members claim more than a file of {size:,} bytes may hold")
        for info in members:
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > info.file_size:
                raise RecordError(
                    f"{path}: {info.filename} claims shape {shape} of {dtype} in {info.file_size:,} bytes"
                )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
