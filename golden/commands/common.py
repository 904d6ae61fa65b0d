"""What several commands share: the loss on the command line, and usage errors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..frameworks import NAMES, framework_of
from ..limits import SECONDS, set_limit
from ..loading import LoadError, load_loss, parse_keywords


class UsageError(Exception):
    """What the user typed cannot be done; the command exits with 2."""


def loss_arguments(parser: argparse.ArgumentParser) -> None:
    """TARGET, its keywords, --framework and --device."""
    parser.add_argument("target", help="module:Name or file.py:Name")
    parser.add_argument("more", nargs="*", default=[], metavar="NAME=VALUE", help="arguments of the loss")
    parser.add_argument(
        "--kwargs", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="arguments of the loss"
    )
    parser.add_argument("--framework", choices=NAMES, help="what the loss is written in (default: found out)")
    parser.add_argument(
        "--limit", type=float, default=SECONDS, metavar="S", help="seconds that one call may take (default: 60)"
    )
    parser.add_argument("--device", default="cpu", help="of a torch loss (default: cpu)")


def load(options: argparse.Namespace) -> Callable[..., Any]:
    """The loss of these options, on its device. UsageError if it cannot be loaded."""
    try:
        set_limit(options.limit)
        loss = load_loss(options.target, parse_keywords([*options.kwargs, *options.more]))
    except (LoadError, ValueError) as error:
        raise UsageError(str(error)) from error
    to_device(loss, options.device, options.framework)
    return loss


def to_device(loss: Any, device: str, framework: str | None) -> None:
    """Move a torch module. UsageError for a device that is not there, and for one that the loss's framework does not know."""
    if (framework or framework_of(loss)) != "torch":
        if device != "cpu":
            raise UsageError(f"--device {device}: only torch losses are moved, this one is {framework_of(loss)}")
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r}: {str(error).splitlines()[0]}") from error
    if isinstance(loss, torch.nn.Module):
        loss.to(device)
