"""Pictures, caches and files of the run that are not what they were."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from paper_recipes.runner.engines import checkpoint
from tests.faults.stage import Fault, Outcome, Stage, at_step


def _picture(stage: Stage, spoil: Callable[[Path], object], *words: str) -> Outcome:
    """Every picture of a class that is trained on is spoilt after the second step, and put back for the resume."""
    data, kept = stage.data, stage.folder / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(data, kept)
    out = stage.new()
    spoilt = at_step(3, lambda: [spoil(path) for path in data.glob("class_*/*.png")])
    ended = stage.run(out, *words, befalls=spoilt)
    while_spoilt = stage.run(out, "--resume")
    assert while_spoilt.code in (2, 4), "a resume on spoilt pictures is refused"
    shutil.copytree(kept, data, dirs_exist_ok=True)
    return stage.outcome(ended, out)


def _delete(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _replace(path: Path) -> None:
    others = sorted(path.parent.parent.glob("*/*.png"))
    path.write_bytes(others[(others.index(path) + 1) % len(others)].read_bytes() + b"\0")


def _damaged_checkpoint(stage: Stage) -> Outcome:
    out = stage.new()
    shutil.copytree(stage.reference, out)
    newest = checkpoint.latest(out / "checkpoints")
    assert newest is not None
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    ended = stage.run(out, "--resume")
    said = next(line for line in ended.out.splitlines() if "damaged" in line)
    outcome = stage.outcome(ended, out, resume=False)
    return Outcome("real", ended.code, stage.short(said), outcome.status, stage.same(out), outcome.left)


def _torn_record(stage: Stage) -> Outcome:
    out = stage.new()
    shutil.copytree(stage.reference, out)
    (out / "run.json").write_text('{"recipe": "ti')
    ended = stage.run(out, "--resume")
    return Outcome("real", ended.code, stage.short(ended.said), "")


def _nothing_to_resume(stage: Stage) -> Outcome:
    out = stage.new()
    ended = stage.run(out, "--resume")
    said = next((line for line in ended.out.splitlines() if line.startswith("--resume")), "")
    outcome = stage.outcome(ended, out, resume=False)
    return Outcome("real", ended.code, stage.short(said), outcome.status, stage.same(out), outcome.left)


def _damaged_memory(stage: Stage) -> Outcome:
    """sha256.sqlite, where the pictures' sha256 are remembered, is no database any more."""
    kept, stage.cache = stage.cache, stage.folder / "damaged cache"
    try:
        stage.cache.mkdir(exist_ok=True)
        (stage.cache / "sha256.sqlite").write_bytes(os.urandom(5000))
        out = stage.new()
        ended = stage.run(out)
        outcome = stage.outcome(ended, out, resume=False)
        return Outcome("real", ended.code, outcome.said, outcome.status, stage.same(out), outcome.left)
    finally:
        stage.cache = kept


def _stale_memory(stage: Stage) -> Outcome:
    """Between two runs a picture changes, not its size and time: the time of its entry still tells."""
    data = stage.folder / "stale"
    shutil.copytree(stage.data, data)
    for path in data.glob("*/*.png"):
        os.utime(path, (1e9, 1e9))
    stage.run(stage.new(), data=data)
    victim = sorted(data.glob("*/*.png"))[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1  # of the last chunk's checksum
    victim.write_bytes(content)
    os.utime(victim, (1e9, 1e9))
    out = stage.new()
    ended = stage.run(out, data=data)
    fresh = hashlib.sha256(content).hexdigest() in (out / "pictures.sha256").read_text()
    outcome = stage.outcome(ended, out, resume=False)
    said = f"the run's list has the sha256 {'of the new picture' if fresh else 'THAT IT HAD'}"
    return Outcome("real", ended.code, said, outcome.status, None, outcome.left)


def _dead_lock(stage: Stage) -> Outcome:
    out = stage.new()
    out.mkdir(parents=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    facts = {"pid": os.getpid(), "boot": boot, "processes": os.readlink("/proc/self/ns/pid"), "born": "1"}
    (out / "run.lock").write_text(json.dumps({**facts, "host": os.uname().nodename, "since": "2026-01-01"}))
    ended = stage.run(out)
    outcome = stage.outcome(ended, out, resume=False)
    return Outcome("real", ended.code, outcome.said, outcome.status, stage.same(out), outcome.left)


def _second_run(stage: Stage) -> Outcome:
    out = stage.new()

    def second() -> None:
        ended = stage.run(out, "--resume")
        print("second", ended.code, ended.said)

    ended = stage.run(out, befalls=at_step(3, second))
    code, said = next(line.split(" ", 2)[1:] for line in ended.out.splitlines() if line.startswith("second"))
    outcome = stage.outcome(ended, out, resume=False)
    same = ended.code == 0 and stage.same(out)
    return Outcome("real", int(code), stage.short(said), outcome.status, same, outcome.left)


_GONE = r"^failed in (the evaluation at )?iteration \d.*png: {}.*; last good checkpoint: .*; go on with: "
FAULTS = [
    Fault(
        "a picture is deleted, with loaders",
        lambda s: _picture(s, _delete, "--workers", "2"),
        4,
        _GONE.format(r"cannot be read \(No such file"),
        "^failed in .*iteration",
    ),
    Fault(
        "a picture is emptied",
        lambda s: _picture(s, _empty),
        4,
        _GONE.format(r"the file is empty"),
        "^failed in .*iteration",
    ),
    Fault(
        "a picture is replaced, with loaders",
        lambda s: _picture(s, _replace, "--workers", "2"),
        4,
        _GONE.format(r"the file has changed: its sha256 is"),
        "^failed in .*iteration",
    ),
    Fault("the newest checkpoint is damaged", _damaged_checkpoint, 0, "damaged: .*going on from", "^finished$"),
    Fault("run.json is torn", _torn_record, 2, r"run\.json: not a run record", "", None),
    Fault("`--resume` where nothing is", _nothing_to_resume, 0, "nothing to go on from", "^finished$"),
    Fault("the memory of sha256 is damaged", _damaged_memory, 0, "", "^finished$"),
    Fault("that memory is stale", _stale_memory, 0, "of the new picture", "^finished$", None),
    Fault("the lock of a dead process", _dead_lock, 0, "", "^finished$"),
    Fault("a second run in the same folder", _second_run, 2, r"a run is writing there \(process", "^finished$"),
]
