"""Which recorded program does TARGET equal? Tries every set of (embeddings, labels)."""

from __future__ import annotations

import argparse

from ..checker import identify
from .common import UsageError, load, loss_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    loss_arguments(parser)


def run(options: argparse.Namespace) -> int:
    try:
        reports = identify(load(options), device=options.device, framework=options.framework)
    except TypeError as error:
        raise UsageError(str(error)) from error
    for report in reports:
        good = sum(row.verdict == "pass" for row in report.rows)
        verdict = "equals" if report.passed else ""
        print(f"{verdict:6}  {report.against:24} {good:3} of {len(report.rows):2} cases  {report.what}")
    if any(report.passed for report in reports):
        return 0
    print(f"{options.target} equals none of them; for the reason: check {options.target} --against SET")
    return 1
