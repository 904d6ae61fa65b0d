"""Training-mode batch normalisation whose sums are exact to the last digits, in every memory layout.

torch's CPU kernels add a channel's values up one by one, in float32 where the memory is channels-last and in float64
always. Over 234 000 values of which 80 % (99.9 %) are one constant, as white margins make them, the output is then wrong by
9e-3 (6e-2) standard deviations in float32 and 1e-11 (1e-10) in float64, the gradient more. The authors' Caffe sums with a
BLAS and keeps its digits. Here the same blobs are within 3e-6 (8e-6, one rounding of the largest output) and 9e-15 (6e-14):

1. a guess of the mean, the median of three pixels, is subtracted. What is left is small and exact or nearly so, and where
   most of a channel is one constant it is 0 for that constant, so that the sums are those of the other values alone. A
   guess that turns out to be four deviations off is replaced by the mean, and the pass is repeated;
2. the mean of what is left gives the rest of the mean, which float32 could not hold beside the guess; the mean square
   gives the variance. Over the places of a sample sums are trees (torch's sum), over the samples float64;
3. output = (x - guess) * scale + offset, in which nothing large cancels; the gradient has the same form.

These passes go over a few samples at a time, while a cache holds them. Each thread then sums the samples that it has just
written: a sum over all samples at once is shared out by channel, and on two cores fetching the other's values took ten
times the sum's own time. So neither the threads nor the pieces change a bit. A training step of rll-sop took 1.01 and 1.05 of
torch's kernels' time on two threads (medians of 6 and 12 pairs), 1.03 on one.

torch's CUDA kernels lose digits too: on the blob of 99.9 % the gradient is wrong by 2e-4 of its largest entry in float32 and
2e-13 in float64 (seen on an H200). There the same passes sum in float64, a piece is larger, and the pass of the second guess is
always made: to ask would be to wait. Within 4e-6 and 3e-14 there, and not free: a step of rll-sop took 223 ms on an H200 where
torch's kernels made it 131. (Both seen with sums over whole pieces; sample by sample, with the ReLU and over x's memory, it has not
run on a GPU.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["BatchNorm1d", "BatchNorm2d", "batch_norm"]

_PIECE = {"cpu": 1 << 20, "cuda": 1 << 24}  # values: 4 MB, of which two or three fit the cores' common cache; 64 MB


def batch_norm(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool = True,
    *,
    world: int = 1,
    sum_: Callable[[Tensor], Any] | None = None,
    relu: bool = False,
    overwrite: bool = False,
) -> Tensor:
    """`torch.batch_norm`, argument for argument, with accurate sums when `training`.

    x: (N, C, ...), float32 or float64; other types are torch's own. gamma, beta: (C,) or None.
    mean, variance: (C,) running statistics, updated by `momentum` with the batch's mean and unbiased variance, or None.
    world, sum_: of how many processes the batch is the part of one, all parts being of one shape, and what adds a tensor
        up over them in place. gamma's and beta's gradients stay those of this process's part.

    Not twice differentiable.
    """
    if not training:
        top = torch.batch_norm(x, gamma, beta, mean, variance, False, momentum, eps, cudnn)
        return top.relu_() if relu else top
    if sum_ is None and (x.dtype not in (torch.float32, torch.float64) or torch.compiler.is_compiling()):
        top = torch.batch_norm(x, gamma, beta, mean, variance, True, momentum, eps, False)
        return top.relu_() if relu else top
    top, own_mean, own_variance = _Normalise.apply(  # type: ignore[no-untyped-call]
        x, gamma, beta, eps, world, sum_, relu, overwrite
    )
    if mean is not None and variance is not None:
        count = world * x.numel() // x.shape[1]
        with torch.no_grad():
            mean.mul_(1 - momentum).add_(own_mean, alpha=momentum)
            variance.mul_(1 - momentum).add_(own_variance, alpha=momentum * count / (count - 1))
    return top


class _Normalise(torch.autograd.Function):
    """Returns the output and, float64 (C,), the batch's mean and biased variance."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        eps: float,
        world: int,
        sum_: Callable[[Tensor], Any] | None,
        relu: bool,
        overwrite: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = world * x.numel() // x.shape[1]
        column = (1, -1, *(1,) * (x.ndim - 2))
        guess = _guess(x)
        if sum_ is not None:
            sum_(guess)
            guess /= world
        centred = torch.empty_like(x)
        for attempt in range(2):
            shift = guess.view(column)
            rest, variance = _moments(x, shift, centred, sum_).div_(count)
            variance = torch.addcmul(variance, rest, rest, value=-1).clamp_(min=0)
            far = (rest * rest > 16 * variance).any()  # four deviations off or more; then the mean is the guess
            if attempt or (x.device.type == "cpu" and not far):
                break
            guess = torch.where(far, guess + rest, guess).to(x.dtype)
        deviation = (variance + eps).rsqrt_()
        scale = deviation if gamma is None else deviation * gamma
        offset = -rest * scale if beta is None else torch.addcmul(beta.double(), rest, scale, value=-1)
        top = x if overwrite else centred
        offset, slope = torch.stack([offset, scale]).to(x.dtype).view(2, *column)
        for piece, out in _pieces(centred, top):
            torch.addcmul(offset, piece, slope, out=out)
            if relu:
                out.clamp_(min=0)
        if overwrite:
            ctx.mark_dirty(x)
        ctx.count, ctx.sum_ = count, sum_
        # Either x - guess is kept, or x, from which it is computed again.
        kept = (centred, None) if overwrite else (x, shift)
        ctx.save_for_backward(*kept, rest, deviation, scale, top if relu else None)
        mean = rest + guess
        ctx.mark_non_differentiable(mean, variance)
        return top, mean, variance

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, shift, rest, deviation, scale, top = ctx.saved_tensors
        sums, products = [], []
        dx, buffer = torch.empty_like(x), x.new_empty(0)
        for piece, above, below, out in _pieces(x, dy, dx, dx if top is None else top):
            if top is not None:  # the ReLU's gradient, which waits in dx for the second pass
                above = torch.ops.aten.threshold_backward.grad_input(above, out, 0, grad_input=below)
            sums.append(_sum(above))
            buffer = buffer if buffer.shape == piece.shape else torch.empty_like(piece)
            products.append(_sum(torch.mul(_centred(piece, shift, buffer), above, out=buffer)))
        dbeta = _total(sums)
        along = torch.addcmul(_total(products), rest, dbeta, value=-1).mul_(deviation)
        parameters = [g.to(x.dtype) if n else None for g, n in zip((along, dbeta), ctx.needs_input_grad[1:])]
        if not ctx.needs_input_grad[0]:
            return None, *parameters, *(None,) * 5
        total = torch.stack([along.mul(deviation), dbeta])
        if ctx.sum_ is not None:
            ctx.sum_(total)
        slope, mean = total.div_(ctx.count)
        offset = torch.addcmul(-mean, rest, slope).mul_(scale)
        column = (1, -1, *(1,) * (x.ndim - 2))
        slope, offset, scale = torch.stack([slope, offset, scale]).to(x.dtype).view(3, *column)
        for piece, above, below in _pieces(x, dy if top is None else dx, dx):
            buffer = buffer if buffer.shape == piece.shape else torch.empty_like(piece)
            torch.addcmul(above, _centred(piece, shift, buffer), slope, value=-1, out=below)
            torch.addcmul(offset, below, scale, out=below)
        return dx, *parameters, *(None,) * 5


def _centred(x: Tensor, shift: Tensor | None, buffer: Tensor) -> Tensor:
    """x - shift, in `buffer`; x itself where it is that already."""
    return x if shift is None else torch.sub(x, shift, out=buffer)


def _guess(x: Tensor) -> Tensor:
    """(C,): the median of the first pixel, the middle one and the last one, which is the margin's value where most are."""
    places = zip(*((0, size // 2, size - 1) for size in (len(x), *x.shape[2:])))
    one, two, three = (x[(sample, slice(None), *pixel)] for sample, *pixel in places)
    return torch.maximum(torch.minimum(one, two), torch.minimum(torch.maximum(one, two), three))


def _moments(x: Tensor, shift: Tensor, centred: Tensor, sum_: Callable[[Tensor], Any] | None) -> Tensor:
    """Writes x - shift into `centred`; returns the sums (2, C) of that and of its square, float64, over all processes."""
    sums, squares = [], []
    square = x.new_empty(0)
    for piece, out in _pieces(x, centred):
        sums.append(_sum(torch.sub(piece, shift, out=out)))
        square = square if square.shape == piece.shape else torch.empty_like(piece)
        squares.append(_sum(torch.mul(out, out, out=square)))
    total = torch.stack([_total(sums), _total(squares)])
    if sum_ is not None:
        sum_(total)
    return total


def _pieces(*blobs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Blobs of one shape (N, C, ...) in parts of some samples: about `_PIECE` values, and one sample for every thread at least."""
    x = blobs[0]
    cpu = x.device.type == "cpu"
    samples = max(_PIECE["cpu" if cpu else "cuda"] * len(x) // x.numel(), torch.get_num_threads() if cpu else 1)
    return iter([blobs]) if samples >= len(x) else zip(*(blob.split(samples) for blob in blobs))


def _sum(x: Tensor) -> Tensor:
    """(N, C): over all places of a sample. torch's sum is a tree on the CPU; of its order on CUDA nothing is known, and float64 needs none."""
    if x.ndim == 2:
        return x
    return x.sum([*range(2, x.ndim)], dtype=x.dtype if x.device.type == "cpu" else torch.float64)


def _total(sums: list[Tensor]) -> Tensor:
    """The sums of all samples, added up in float64: (C,)."""
    return (sums[0] if len(sums) == 1 else torch.cat(sums)).sum(0, dtype=torch.float64)


class _Exact(nn.modules.batchnorm._BatchNorm):
    """torch's module with this file's sums in training mode; parameters, buffers and evaluation mode are torch's."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the plain mean over the batches
                momentum = 1 / float(self.num_batches_tracked)
        return self.normalised(input, momentum)

    def normalised(self, x: Tensor, momentum: float) -> Tensor:
        """Training mode, running statistics updated by `momentum`."""
        if x.numel() == x.shape[1]:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
        return batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var, True, momentum, self.eps)


class BatchNorm1d(_Exact, nn.BatchNorm1d):
    """(N, C) or (N, C, L)."""


class BatchNorm2d(_Exact, nn.BatchNorm2d):
    """(N, C, H, W)."""
