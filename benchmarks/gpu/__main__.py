"""`python -m benchmarks.gpu --out FOLDER`: what a GPU can prove about this project, the most valuable first.

Each part runs in a process of its own under its own time limit; after each one FOLDER/results.json is written anew, so that
whatever ends this program, what was found is kept. A part that fails is recorded with its error, and the next one starts.
Without a CUDA device (or with --toy) the parts run at toy size on the CPU: that shows that they work, and measures nothing.

    python -m benchmarks.gpu --out FOLDER --budget 540        all parts that fit
    python -m benchmarks.gpu --out FOLDER --parts tests,bits  these
    python -m benchmarks.gpu --take FOLDER                    its figures into benchmarks/results.json and RESULTS.md
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click

from benchmarks.gpu import children, results, schedule
from benchmarks.gpu.setting import Setting


def _parts(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str]:
    names = list(schedule.PARTS) if value is None else value.split(",")
    for name in names:
        if name not in schedule.PARTS:
            raise click.BadParameter(f"there is no part {name!r}. There are: {', '.join(schedule.PARTS)}")
    return [name for name in schedule.PARTS if name in names]


@click.command(help=__doc__ and __doc__.split("\n\n")[0])
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of results.json and the logs.")
@click.option("--parts", callback=_parts, metavar="A,B", help=f"Of: {', '.join(schedule.PARTS)}. [default: all]")
@click.option(
    "--toy", is_flag=True, help="Smallest sizes on the CPU; so it is by itself where there is no CUDA device."
)
@click.option("--budget", type=click.IntRange(min=1), default=540, show_default=True, help="Seconds for all parts.")
@click.option(
    "--steps", type=click.IntRange(min=3), default=30, show_default=True, help="Of the runs that must be equal."
)
@click.option(
    "--take", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Put that folder's figures in."
)
def main(out: Path | None, parts: list[str], toy: bool, budget: int, steps: int, take: Path | None) -> None:
    if take is not None:
        try:
            click.echo(results.take(take))
        except results.NothingToTake as error:
            raise click.UsageError(str(error)) from error
        return
    if out is None:
        raise click.UsageError("--out FOLDER is needed: where results.json is written")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part that runs is ended, too
    sys.exit(0 if run(out, parts, toy=toy, budget=budget, steps=steps) else 1)


def run(out: Path, parts: list[str], *, toy: bool, budget: float, steps: int) -> bool:
    """Whether every part ran to its end and every row that can be judged holds."""
    started = time.monotonic()
    device = results.device()
    if device == "cpu" or toy:
        why = "--toy" if toy else "no CUDA device"
        click.echo(f"{why}: toy sizes on the CPU. Untried, since only a GPU can try it: {', '.join(parts)}.")
        toy, device, steps = True, "cpu", min(steps, 3)
    out.mkdir(parents=True, exist_ok=True)
    try:
        record = results.begin(out, toy=toy)
    except ValueError as error:  # something else lies under that name
        raise click.UsageError(str(error)) from error
    for name in parts:
        left = budget - (time.monotonic() - started)
        if not schedule.fits(name, left, toy=toy):
            expected = schedule.MARGIN if toy else schedule.PARTS[name].expected
            outcome = children.Outcome(
                "skipped", error=f"about {expected} s needed, {max(left, 0):.0f} s left of {budget:.0f}"
            )
        else:
            click.echo(f"== {name}: {schedule.PARTS[name].what}")
            limit = schedule.TOY_SECONDS if toy else schedule.PARTS[name].limit
            seconds = min(limit, left - schedule.MARGIN)
            outcome = children.run(name, Setting(toy, device, str(out.resolve()), steps, seconds))
        results.add(out, record, name, outcome)
        for line in results.lines(name, outcome):
            click.echo(line)
    return results.all_well(record, parts)


if __name__ == "__main__":
    main()
