"""What a piece of work does to a device: every operation, every wait of the host, every byte that is held.

The work runs on torch's meta device, whose tensors have shapes, types and a device but no numbers. It stands for a GPU: our code
asks only whether a tensor is on the CPU (a test holds that), so that it takes the same way here as there.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

REPO = Path(__file__).resolve().parents[2]
_FOLDERS = tuple(f"{REPO}/{package}/" for package in ("ports", "caffe_compat", "paper_recipes"))
_BLOCK = 512  # torch's CUDA allocator hands out multiples of so many bytes
# The host reads one number, or a size that depends on numbers.
_READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::unique_dim", "aten::_unique2"}
# Operations that may have a CPU tensor beside one of the device: copies, and an index or a number of one element.
_CROSSES = {"aten::copy_", "aten::_to_copy", "aten::_copy_from", "aten::set_"}


class Recorder(TorchDispatchMode):
    """Inside it, the work of this thread is recorded.

    operations: (name, detail) -> how often; detail is the argument on which torch's rules depend, or "".
    places: (name, detail) -> the lines of ours that called it, "backward" where autograd did.
    waits: the line of ours -> how often the host waited for the device there.
    strays: what was computed on the CPU beside the device, with the line of ours.
    live, peak: bytes of the device's tensors now, and the most so far.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.operations: Counter[tuple[str, str]] = Counter()
        self.places: dict[tuple[str, str], set[str]] = {}
        self.waits: Counter[str] = Counter()
        self.strays: Counter[str] = Counter()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __enter__(self) -> Recorder:
        """With deterministic algorithms asked for, as a run asks: torch takes other ways then, of which some end in other operations."""
        self._before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        return super().__enter__()  # type: ignore[return-value]

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        torch.use_deterministic_algorithms(self._before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        here = [tensor for tensor in inputs if tensor.device.type == self.device]
        if here:
            key = (name, detail(name, func, args, kwargs))
            self.operations[key] += 1
            self.places.setdefault(key, set()).add(line_of_ours())
        if here and name not in _CROSSES and any(t.device.type != self.device and t.dim() > 0 for t in inputs):
            self.strays[f"{name} with a CPU tensor, {line_of_ours()}"] += 1
        made = self._read(name, here, kwargs)
        if made is None:
            made = func(*args, **kwargs)
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == self.device:
                self._hold(leaf)
        return made

    def _read(self, name: str, here: list[torch.Tensor], kwargs: dict[str, Any]) -> Any:
        """What the host reads from the device, made up. None: it reads nothing."""
        to_host = name == "aten::_to_copy" and kwargs.get("device") is not None and kwargs["device"].type == "cpu"
        if not here or not (name in _READS or to_host):
            return None
        self.waits[line_of_ours()] += 1
        tensor = here[0]
        if name == "aten::_local_scalar_dense":
            # No check of ours fails at these: no label is out of range, no row is bad, a loss is a number.
            return 1.0 if tensor.dtype.is_floating_point else 0 if tensor.dtype != torch.bool else False
        if to_host:
            return torch.ones(tensor.shape, dtype=kwargs.get("dtype") or tensor.dtype)
        if name == "aten::nonzero":
            return torch.empty(max(1, tensor.numel() // 2), tensor.dim(), dtype=torch.int64, device=self.device)
        raise NotImplementedError(
            f"{name}: how large its result is depends on numbers that a meta tensor does not have"
        )

    def _hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = -(-storage.nbytes() // _BLOCK) * _BLOCK
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def forget(self) -> None:
        """Start anew with the counts; what is held stays, and is the peak so far."""
        for table in (self.operations, self.places, self.waits, self.strays):
            table.clear()
        self.peak = self.live


def detail(name: str, func: Any, args: Any, kwargs: Any) -> str:
    """The argument that decides whether torch has a deterministic way; "" where none does."""
    given = {a.name: value for a, value in zip(func._schema.arguments, args)} | kwargs
    if name in ("aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::put_"):
        return f"accumulate={bool(given.get('accumulate', False))}"
    if name.startswith("aten::scatter_reduce") or "reduce" in given:
        return f"reduce={given.get('reduce')}"
    if name in ("aten::cumsum", "aten::cumsum_"):
        kind = given.get("dtype") or given["self"].dtype
        return "floating" if kind.is_floating_point or kind.is_complex else "whole numbers"
    if name == "aten::bincount":
        return "weights" if given.get("weights") is not None else "no weights"
    return ""


def line_of_ours() -> str:
    """The innermost line of our packages on the stack, as file:function; "backward" where autograd runs without one."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_FOLDERS):
            if torch._C._current_graph_task_id() != -1 and frame.f_code.co_name != "backward":
                return "backward"  # of torch's own: the line is that which called autograd
            return f"{file.removeprefix(f'{REPO}/')}:{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"
