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
            layer.batch_norm = partial(batch_norm, replicas)

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


class _Statistics(torch.autograd.Function):
    """Normalise by mean and variance over the samples of all processes; also returns mean and biased variance (C,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, world: int) -> Any:
        ctx.dims = [0, *range(2, x.ndim)]
        ctx.count = world * x.numel() // x.shape[1]
        mean = x.sum(ctx.dims)
        dist.all_reduce(mean)
        mean /= ctx.count
        variance = (x - _column(mean, x)).square_().sum(ctx.dims)  # in a second pass: E[x^2] - E[x]^2 would cancel
        dist.all_reduce(variance)
        variance /= ctx.count
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, mean, scale, gamma)
        ctx.mark_non_differentiable(mean, variance)
        top = (x - _column(mean, x)).mul_(_column(scale if gamma is None else scale * gamma, x))
        return (top if beta is None else top.add_(_column(beta, x))), mean, variance

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> Any:  # type: ignore[override]
        x, mean, scale, gamma = ctx.saved_tensors
        unit = (x - _column(mean, x)).mul_(_column(scale, x))
        own = torch.stack([dy.sum(ctx.dims), (dy * unit).sum(ctx.dims)])
        sums = own.clone()
        dist.all_reduce(sums)
        sums /= ctx.count
        dx = (dy - _column(sums[0], x)).sub_(unit.mul_(_column(sums[1], x)))
        dx.mul_(_column(scale if gamma is None else scale * gamma, x))
        # gamma's and beta's are of this process's samples: the exchange of gradients adds them up.
        return (
            dx,
            (own[1] if ctx.needs_input_grad[1] else None),
            (own[0] if ctx.needs_input_grad[2] else None),
            None,
            None,
        )


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (x.ndim - 2))


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
) -> Tensor:
    """`torch.batch_norm` with the statistics of all processes' samples, (N, C, ...) each of the same shape."""
    if not training or not replicas.together:
        return torch.batch_norm(x, gamma, beta, mean, variance, training, momentum, eps, cudnn)
    top, own_mean, own_variance = _Statistics.apply(x, gamma, beta, eps, replicas.world)  # type: ignore[misc]
    if mean is not None and variance is not None:
        count = replicas.world * x.numel() // x.shape[1]
        with torch.no_grad():
            mean.mul_(1 - momentum).add_(own_mean, alpha=momentum)
            variance.mul_(1 - momentum).add_(own_variance, alpha=momentum * count / (count - 1))
    return top


class SynchronisedBatchNorm(_BatchNorm):
    """A BatchNorm layer over all processes (torch's own SyncBatchNorm refuses the CPU). State under the same names."""

    def __init__(self, layer: _BatchNorm, replicas: Replicas) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self.load_state_dict(layer.state_dict())
        self.replicas = replicas

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (N, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.replicas.together or self.momentum is None:
            return super().forward(input)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return batch_norm(
            self.replicas,
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            True,
            self.momentum,
            self.eps,
        )


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
