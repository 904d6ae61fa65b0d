"""The machine: disk, memory, clock, and numbers that are none."""

from __future__ import annotations

import contextlib
import datetime
import os
import resource
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors import torch as torch_files

from paper_recipes.runner.engines import checkpoint
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from tests.faults.stage import Befalls, Fault, Outcome, Stage, at_step

MOUNTS = False  # whether this process may mount: `__main__` finds out


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path, leave: int) -> None:
    """Take what is free there but `leave` bytes."""
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as filler:
        while (free := shutil.disk_usage(folder).free - leave) > 0:
            filler.write(bytes(min(free, 1 << 16)))


def _full_disk(stage: Stage) -> Outcome:
    """A fourth checkpoint of a megabyte does not fit any more; what it had of the disk is free again afterwards."""
    out = stage.new()
    if not MOUNTS:
        return stage.outcome(stage.run(out, befalls=_no_space), out, how="simulated: the writer says so")

    def fill(patch: pytest.MonkeyPatch) -> None:
        at_step(4, lambda: _fill(out, 100_000))(patch)
        real = torch_files.save_file

        def large(tensors: Any, path: str, metadata: Any) -> None:
            if (out / "filler").exists():
                Path(path).write_bytes(bytes(1 << 20))
            real(tensors, path, metadata=metadata)

        patch.setattr(torch_files, "save_file", large)

    return _on_small_disk(stage, out, fill)


def _no_byte_left(stage: Stage) -> Outcome:
    out = stage.new()
    return _on_small_disk(stage, out, at_step(4, lambda: _fill(out, 0)))


def _on_small_disk(stage: Stage, out: Path, befalls: Befalls) -> Outcome:
    """Room is made for the resume. Checkpoints and a report with its pictures take some megabytes."""
    with mounted(out, "-t", "tmpfs", "-o", "size=12m", "tmpfs"):
        ended = stage.run(out, befalls=befalls)
        (out / "filler").unlink()
        return stage.outcome(ended, out, how="real (a small tmpfs)")


def _no_space(patch: pytest.MonkeyPatch) -> None:
    real = torch_files.save_file

    def full(tensors: Any, path: str, metadata: Any) -> None:
        real(tensors, path, metadata=metadata)
        if int(checkpoint.state_of(Path(path))["iteration"]) == 4:
            raise SafetensorError("I/O error: No space left on device (os error 28)")

    patch.setattr(torch_files, "save_file", full)


def _file_limit(stage: Stage) -> Outcome:
    """`ulimit -f`: no file may be longer than 7,000 bytes, which a checkpoint is."""
    out = stage.new()
    limit = at_step(4, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (7000, resource.RLIM_INFINITY)))
    return stage.outcome(stage.run(out, befalls=limit), out)


def _read_only_out(stage: Stage) -> Outcome:
    out = stage.new()
    if not MOUNTS:
        ended = stage.run(out, befalls=_no_folder)
        return Outcome("simulated: mkdir is refused", ended.code, stage.short(ended.said), "")
    with mounted(out.parent, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        ended = stage.run(out)
        return Outcome("real (a read-only tmpfs)", ended.code, stage.short(ended.said), "")


def _no_folder(patch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *args: Any, **options: Any) -> None:
        raise OSError(30, "Read-only file system", str(self))

    patch.setattr(Path, "mkdir", refused)


def _becomes_read_only(stage: Stage) -> Outcome:
    """As a file system does that has found an error in itself."""
    out = stage.new()

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(out)], check=True)

    with mounted(out, "-t", "tmpfs", "tmpfs"):
        ended = stage.run(out, befalls=at_step(4, lambda: remount("ro")))
        remount("rw")
        return stage.outcome(ended, out)


def _read_only_cache(stage: Stage) -> Outcome:
    out = stage.new()
    with mounted(stage.cache, "--bind", str(stage.cache)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(stage.cache)], check=True)
        ended = stage.run(out)
    outcome = stage.outcome(ended, out, resume=False)
    return Outcome(
        "real (a read-only bind mount)", ended.code, outcome.said, outcome.status, stage.same(out), outcome.left
    )


def _no_memory(stage: Stage) -> Outcome:
    """The address space may not grow any more, and a step wants 256 MB."""
    out = stage.new()

    def grow() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 24), resource.RLIM_INFINITY))
        torch.empty(1 << 26)

    return stage.outcome(stage.run(out, befalls=at_step(4, grow)), out, how="real (a limit of address space)")


def _no_gpu_memory(stage: Stage) -> Outcome:
    out = stage.new()

    def grow() -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of ..."
        )

    return stage.outcome(stage.run(out, befalls=at_step(4, grow)), out, how="simulated: torch's error is raised")


def _nan(stage: Stage) -> Outcome:
    out = stage.new()

    def spoil(patch: pytest.MonkeyPatch) -> None:
        step = CaffeEngine.step

        def spoilt(self: Any, images: Any, labels: Any) -> Any:
            if self.solver.iter + 1 == 4:
                with torch.no_grad():
                    self.solver.net.params["fc"][0][0] = torch.nan
            return step(self, images, labels)

        patch.setattr(CaffeEngine, "step", spoilt)

    return stage.outcome(stage.run(out, befalls=spoil), out)


def _clock(stage: Stage) -> Outcome:
    """Stopped at noon in Tokyo, resumed a year earlier in New York."""
    out = stage.new()

    def at(zone: str, shift: float) -> Callable[[pytest.MonkeyPatch], None]:
        def befalls(patch: pytest.MonkeyPatch) -> None:
            now = time.time
            patch.setenv("TZ", zone)
            time.tzset()
            patch.setattr(time, "time", lambda: now() + shift)
            shifted = type(
                "datetime",
                (datetime.datetime,),
                {"now": classmethod(lambda cls, tz=None: cls.fromtimestamp(time.time(), tz))},
            )
            from paper_recipes.runner import run_lock
            from paper_recipes.runner.training import history, record

            for module in (run_lock, history, record):
                patch.setattr(module, "datetime", shifted)
            at_step(4, lambda: shift or os.kill(os.getpid(), 15))(patch)

        return befalls

    first = stage.run(out, befalls=at("Asia/Tokyo", 0))
    assert first.code == 130
    ended = stage.run(out, "--resume", befalls=at("America/New_York", -365.0 * 86400))
    outcome = stage.outcome(ended, out, resume=False)
    how = "simulated: Python's clock is put back; the time zone is real"
    return Outcome(how, ended.code, outcome.said, outcome.status, stage.same(out), outcome.left)


def _umask(stage: Stage) -> Outcome:
    out = stage.new()
    ended = stage.run(out, befalls=lambda patch: os.umask(0o027) and None)
    modes = {stat.filemode(path.stat().st_mode) for path in [out, *out.rglob("*")]}
    outcome = stage.outcome(ended, out, resume=False)
    return Outcome("real", ended.code, " ".join(sorted(modes)), outcome.status, stage.same(out), outcome.left)


_FAILED = r"^failed in {}[^:]*: {}.*; last good checkpoint: .*iteration_000003\.safetensors; go on with: "
FAULTS = [
    Fault(
        "the disk is full when a checkpoint is written",
        _full_disk,
        4,
        _FAILED.format("the checkpoint of iteration 4", r"cannot write .*No space left on device"),
        "^failed in the checkpoint of iteration 4",
    ),
    Fault(
        "a limit of file sizes",
        _file_limit,
        4,
        _FAILED.format("the checkpoint of iteration 4", "cannot write .*File too large"),
        "^failed in the checkpoint of iteration 4",
    ),
    Fault("the output is read-only", _read_only_out, 2, "^error: .*Read-only file system", "", None),
    Fault(
        "out of memory", _no_memory, 4, _FAILED.format("iteration 4", "out of memory; try"), "^failed in iteration 4"
    ),
    Fault(
        "out of memory on the GPU",
        _no_gpu_memory,
        4,
        _FAILED.format("iteration 4", r"out of memory on the GPU \(2\.50 GiB more were wanted\); try"),
        "^failed in iteration 4",
    ),
    Fault(
        "a weight becomes NaN",
        _nan,
        3,
        r"^diverged at iteration 4: .*last good checkpoint: .*000003",
        "^diverged at iteration 4",
    ),
    Fault("clock and time zone change", _clock, 0, "", "^finished$"),
    Fault("a umask of 027", _umask, 0, "^-rw-r----- drwxr-x---$", "^finished$"),
]
#: What cannot be done to anybody who may not mount.
WITH_MOUNTS = [
    Fault(
        "the disk is full to the last byte",
        _no_byte_left,
        4,
        r"No space left on device.*last good checkpoint: .*iteration_000003\.safetensors; go on with: ",
        "^failed in|^ended without a word",
    ),
    Fault(
        "the output becomes read-only",
        _becomes_read_only,
        4,
        r"Read-only file system.*last good checkpoint: .*iteration_000003\.safetensors; go on with: ",
        "^ended without a word",
    ),
    Fault("a complete cache is read-only", _read_only_cache, 0, "", "^finished$"),
]
