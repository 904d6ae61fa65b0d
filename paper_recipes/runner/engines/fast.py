"""`--fast`: what may change a result's digits for speed, besides `ports.determinism.configure(strict=False)`."""

from __future__ import annotations

import torch
from torch import nn


def compile_in_place(net: nn.Module) -> None:
    """Give the network channels-last memory and compiled kernels.

    The first step takes minutes for a deep net. Where there is no compiler, torch says so and goes on without.
    """
    torch._dynamo.config.suppress_errors = True
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.compile()
