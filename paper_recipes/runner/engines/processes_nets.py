"""What several processes change in a network: where the batch becomes whole, BatchNorm over processes, gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import caffe_compat
from paper_recipes.runner.engines.processes import Replicas
from ports import batch_norm as exact


def join_solver(solver: caffe_compat.Solver, replicas: Replicas) -> None:
    """Make a Caffe solver one of `replicas`: the same start, gradients exchanged before each update."""
    if replicas.world == 1:
        return
    net = solver.net
    with torch.no_grad():
        replicas.take_root_([blob.data for blobs in net.params.values() for blob in blobs])
    whole = _gather_before_mixing(net, replicas) if replicas.semantics == "global" else []
    alike = {id(parameter) for layer in whole for parameter in layer.parameters()}
    apart = [layer for layer in net if not any(layer is other for other in whole)]
    if alike & {id(parameter) for layer in apart for parameter in layer.parameters()}:
        raise ValueError("--replicas global: a parameter is shared by layers before and after the batch is gathered")
    for layer in apart if replicas.sync_bn else ():
        if layer.layer_type == "BatchNorm":
            layer.batch_norm = partial(batch_norm, replicas)  # type: ignore[assignment]

    def exchange(optimizer: Any, args: Any, kwargs: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        exchange_gradients(
            replicas, [p for p in parameters if id(p) not in alike], [p for p in parameters if id(p) in alike]
        )

    solver.optimizer.register_step_pre_hook(exchange)


def _gather_before_mixing(net: caffe_compat.CaffeNet, replicas: Replicas) -> list[Any]:
    """Let the layers that mix samples see the whole batch; returns them and all that follow them."""
    whole: set[str] = set()  # blobs that hold the whole batch
    layers = []
    for step in net.plan.steps:
        if step.layer.per_sample and not whole & set(step.bottoms):
            continue
        parts = {i for i, name in enumerate(step.bottoms) if name not in whole}
        if parts:
            step.layer.register_forward_pre_hook(partial(_gathered, replicas, parts))
        whole |= {*step.tops, step.fused_top} - {""}
        layers.append(step.layer)
    return layers


def _gathered(replicas: Replicas, parts: set[int], layer: Any, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(replicas.gather(bottom) if i in parts else bottom for i, bottom in enumerate(bottoms))


def exchange_gradients(replicas: Replicas, parameters: list[Any], alike: list[Any]) -> None:
    """Gradients of the run from those of the processes.

    alike: parameters behind the place where the batch is gathered; all processes have computed their whole gradient.
    """
    if replicas.world == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if replicas.semantics == "caffe":
        replicas.mean_([*gradients, *(p.grad for p in alike if p.grad is not None)])
        return
    replicas.sum_(gradients)
    # The same sums on every process; taking the root's keeps them the same on GPUs of different kinds, too.
    replicas.take_root_([p.grad for p in alike if p.grad is not None])


def batch_norm(
    replicas: Replicas,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool = True,
    **options: bool,
) -> Tensor:
    """`ports.batch_norm` with the statistics of all processes' samples, (N, C, ...) each of the same shape."""
    world, sum_ = (replicas.world, dist.all_reduce) if training and replicas.together else (1, None)
    return exact.batch_norm(
        x, gamma, beta, mean, variance, training, momentum, eps, cudnn, world=world, sum_=sum_, **options
    )


class SynchronisedBatchNorm(exact.BatchNorm2d):
    """A BatchNorm layer over all processes (torch's own SyncBatchNorm refuses the CPU). State under the same names."""

    def __init__(self, layer: _BatchNorm, replicas: Replicas) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self.load_state_dict(layer.state_dict())
        self.replicas = replicas

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (N, C, ...)."""

    def normalised(self, x: Tensor, momentum: float) -> Tensor:
        statistics = self.running_mean, self.running_var
        return batch_norm(self.replicas, x, self.weight, self.bias, *statistics, True, momentum, self.eps)


def synchronise(module: nn.Module, replicas: Replicas) -> None:
    """Replace every BatchNorm below `module` by `SynchronisedBatchNorm`."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SynchronisedBatchNorm(child, replicas))
        else:
            synchronise(child, replicas)


def statistics(net: nn.Module) -> list[Tensor]:
    """Running statistics of a PyTorch net's BatchNorm layers."""
    layers = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    return [t for layer in layers for t in (layer.running_mean, layer.running_var) if t is not None]
