"""Several processes on one run: who they are, and what they tell each other.

torchrun starts the processes; what they compute together has two names, and a run must say which:

    "caffe"   As the releases' multi-GPU training does: each process has a batch of its own, as large as the recipe's, with
              its own loss and BatchNorm statistics. Gradients are averaged, and the root's statistics are kept.
    "global"  The recipe's one batch, cut into equal parts. Embeddings are gathered, and the loss is that of the whole batch.
              BatchNorm sees one part, or with `sync_bn` the whole batch; then it computes what a single process does.

Numbers of the host (losses, decisions) go through gloo, tensors through gloo on CPUs and NCCL on GPUs.
"""

from __future__ import annotations

import datetime
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

SEMANTICS = ("caffe", "global")
# A process that ends is noticed by torchrun at once; this is only for one that hangs.
_TIMEOUT = datetime.timedelta(hours=1)


class ReplicaError(ValueError):
    """Processes that were not started as a run needs them: what is wrong and what to do."""


class Replicas:
    """The processes of a run, seen from one of them. `Replicas()` is a run of one process, where nothing is exchanged.

    semantics: one of SEMANTICS, or "" for a run without torchrun. rank 0 is the root: it writes the files.
    """

    def __init__(self, semantics: str = "", rank: int = 0, world: int = 1, *, sync_bn: bool = False) -> None:
        self.semantics, self.rank, self.world, self.sync_bn = semantics, rank, world, sync_bn
        self.together = world > 1

    @property
    def root(self) -> bool:
        return self.rank == 0

    def describe(self) -> dict[str, Any] | None:
        """For the record and the checkpoints (JSON types); None: one process."""
        if self.world == 1:
            return None
        return {"semantics": self.semantics, "processes": self.world, "sync_bn": self.sync_bn}

    def __deepcopy__(self, memo: Any) -> Replicas:
        return self  # a copied net still belongs to the same processes

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Inside, each process computes alone: for work that all of them do alike."""
        before, self.together = self.together, False
        try:
            yield
        finally:
            self.together = before

    # -- tensors, in place

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        self._flat(tensors, lambda flat: dist.all_reduce(flat))

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Sum, then times 1 / processes (parallel.cpp: allreduce, then scal)."""
        self._flat(tensors, lambda flat: (dist.all_reduce(flat), flat.mul_(1.0 / self.world)))

    def take_root_(self, tensors: Sequence[Tensor]) -> None:
        """Everybody gets the root's values."""
        self._flat(tensors, lambda flat: dist.broadcast(flat, 0))

    @torch.no_grad()
    def _flat(self, tensors: Sequence[Tensor], exchange: Any) -> None:
        """One exchange per type of number: many small ones would cost a round trip each."""
        if self.world == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            chosen = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in chosen])
            exchange(flat)
            for tensor, part in zip(chosen, flat.split([tensor.numel() for tensor in chosen])):
                tensor.copy_(part.view(tensor.shape))

    def gather(self, part: Tensor) -> Tensor:
        """(n, ...) of each process as (n * world, ...) in the order of the ranks.

        Backward hands each process the gradient of its own part alone: every process computes the same loss from the
        whole, so adding up the parameters' gradients over the processes counts each path once.
        """
        return _Gather.apply(part, self) if self.together else part  # type: ignore[no-any-return]

    # -- numbers and decisions of the host

    def add(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes, exact for counts."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def mean_losses(self, losses: dict[str, float]) -> dict[str, float]:
        """ "caffe": the mean over the processes' own losses. "global": they all have the same one."""
        if self.semantics != "caffe":
            return losses
        return {name: value / self.world for name, value in zip(losses, self.add(list(losses.values())))}

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return self.add([float(flag)])[0] > 0

    def from_root(self, value: Any = None) -> Any:
        """The root's `value`, for everybody."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def share(self, count: int) -> int:
        """How many of `count` things of a batch one process has."""
        return count // self.world if self.semantics == "global" and self.together else count


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, replicas: Replicas) -> Tensor:
        ctx.rank, ctx.size = replicas.rank, len(part)
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(replicas.world)]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient[ctx.rank * ctx.size : (ctx.rank + 1) * ctx.size], None


def launched() -> int:
    """How many processes torchrun (or another launcher that sets its variables) started; 0: none of that."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() else 0


def check(semantics: str | None, sync_bn: bool) -> None:
    """Refuse what cannot be meant, before any work is done."""
    if launched() > 1 and semantics is None:
        raise ReplicaError(
            f"{launched()} processes were started without saying what they compute together: add --replicas caffe (a batch "
            "of the recipe's size each, gradients averaged, as the releases do on several GPUs) or --replicas global "
            "(the recipe's one batch in parts, one loss over all of it)"
        )
    if semantics is not None and not launched():
        raise ReplicaError(
            f"--replicas {semantics} needs several processes: torchrun --nproc-per-node N -m paper_recipes run NAME "
            f"--replicas {semantics}"
        )
    if sync_bn and semantics != "global":
        raise ReplicaError("--sync-bn belongs to --replicas global: BatchNorm over the parts of one batch")


def device_for(asked: str | None) -> torch.device:
    """`asked`, or CUDA where there is one; of several processes on a machine each takes its own GPU."""
    device = torch.device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))
    if launched() <= 1 or device.type != "cuda":
        return device
    if device.index is not None:
        raise ReplicaError(f"--device {device}: of several processes each takes the GPU of its own number; say cuda")
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise ReplicaError(f"process {local} of this machine has no GPU: there are {count}; start {count} processes")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextmanager
def joined(semantics: str | None, *, sync_bn: bool = False, device: torch.device) -> Iterator[Replicas]:
    """The processes that torchrun started, as long as the block runs; `Replicas()` without torchrun."""
    world = launched()
    if semantics is None or world <= 1:
        yield Replicas(semantics or "")
        return
    # Its functions have the group of all processes as a default, taken when the module is first imported: with the first optimiser,
    # by torch itself. If there is a group by then, it outlives `destroy_process_group`, and so do gloo's threads, one of which may
    # still want the interpreter when that ends: "terminate called without an active exception", SIGABRT after a whole run.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Replicas(semantics, dist.get_rank(), world, sync_bn=sync_bn)
    except RuntimeError as error:
        if (what := lost(error)) is None:
            raise
        raise ReplicaError(f"process {dist.get_rank()}: {what}") from error
    finally:
        dist.destroy_process_group()


def lost(error: RuntimeError) -> str | None:
    """That another process does not answer any more, in words; None for any other error."""
    if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
        return None
    return f"another process of this run is gone ({str(error).strip().splitlines()[0]})"
