"""`python -m caffe_compat info|convert|export|diff|draw|upgrade`.

Every failure that a file or an argument causes is one line on stderr with file and position, and exit code 2; `diff`
returns 1 when the net computes something else. `--debug` shows the traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from caffe_compat.preprocessing import PREPROCESSING
from caffe_compat.schema.tables import DIALECTS

PROGRAM = "python -m caffe_compat"


def _pairs(context: Any, parameter: Any, values: tuple[str, ...]) -> dict[str, str | None]:
    rename: dict[str, str | None] = {}
    for value in values:
        old, equals, new = value.partition("=")
        if not equals or not old:
            raise click.BadParameter(f"expected OLD=NEW (or OLD= to drop the field), got {value!r}")
        rename[old] = new or None
    return rename


dialect_option = click.option("--dialect", type=click.Choice(DIALECTS), help="Caffe fork; detected where it can be.")
rename_option = click.option(
    "--rename", multiple=True, callback=_pairs, metavar="OLD=NEW", help="Read a field as another."
)
phase_option = click.option("--phase", type=click.Choice(["TRAIN", "TEST"]), default="TEST", show_default=True)
file_argument = click.Path(exists=True, dir_okay=False, path_type=Path)
out_argument = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Read, convert, check and draw what Caffe and MATLAB wrote."""


@cli.command()
@click.argument("file", type=file_argument)
@dialect_option
@rename_option
@phase_option
def info(file: Path, dialect: str | None, rename: dict[str, str | None], phase: str) -> None:
    """Layers, shapes, parameters and MACs of a prototxt; contents of weights, solver states, means and .mat lists."""
    from rich.console import Console

    from caffe_compat.tools.info import describe  # protobuf

    console = Console(width=None if sys.stdout.isatty() else 160)
    for part in describe(file, dialect=dialect, rename=rename, phase=phase):
        console.print(part, markup=False, highlight=False)


@cli.command()
@click.argument("source", type=file_argument)
@click.argument("target", type=out_argument)
@click.option("--mat-version", default="7", show_default=True, help="Version of a .mat target: 4, 6, 7 or 7.3.")
@click.option("--image-root", type=click.Path(path_type=Path), help="Where the images of a .mat list are here.")
@click.option(
    "--generation", default="new", show_default=True, help='BN vectors of a .pth: "new" (C,) or "old" (1, C).'
)
def convert(source: Path, target: Path, mat_version: str, image_root: Path | None, generation: str) -> None:
    """Convert between formats, by the suffixes of both files.

    \b
    .caffemodel <-> .caffemodel.h5, .npz     .solverstate <-> .solverstate.h5
    .caffemodel <-> .pth, .safetensors       (BN-Inception: googlenet_bn naming <-> PyTorch naming)
    iteration_N.safetensors of a run -> .caffemodel for the authors' nets, .safetensors by plain names
    .binaryproto <-> .npy                    .mat -> .mat of another version
    """
    from caffe_compat.tools.convert import convert as run  # protobuf, and torch for some files

    click.echo(run(source, target, mat_version=mat_version, image_root=image_root, generation=generation))


@cli.command()
@click.argument("prototxt", type=file_argument)
@click.argument("target", type=out_argument)
@click.option(
    "--weights",
    type=file_argument,
    help=".caffemodel of the net, or a run's checkpoint; without it the fillers' values.",
)
@click.option("--size", type=int, help="Height and width of the input where they differ from the prototxt's.")
@click.option("--opset", type=int, default=19, show_default=True)
@click.option(
    "--preprocessing",
    type=click.Choice([*DIALECTS[1:], "pytorch"]),
    help="Whose image pipeline the metadata describe; --dialect's by default.",
)
@dialect_option
def export(prototxt: Path, target: Path, preprocessing: str | None, **options: Any) -> None:
    """Write a deploy net as ONNX, checked against onnxruntime on random inputs."""
    from caffe_compat.tools.export import export as run  # torch

    chosen = PREPROCESSING[preprocessing] if preprocessing else None
    click.echo(run(prototxt, options.pop("weights"), target, preprocessing=chosen, **options))


@cli.command()
@click.argument("prototxt", type=file_argument)
@click.option("--reference", required=True, type=click.Path(exists=True, path_type=Path), help="Recorded blobs.")
@click.option("--weights", type=file_argument, help="Weights of the record; without it its seeded recipe.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]))
@click.option("--device", default="cpu", show_default=True)
@click.option("--stop", is_flag=True, help="Stop at the first wrong layer.")
@dialect_option
@phase_option
def diff(prototxt: Path, reference: Path, **options: Any) -> None:
    """Compare every blob of a net with recorded ones, layer by layer; exit code 1 when one is wrong."""
    from rich.console import Console

    from caffe_compat.tools.diff import diff_net  # torch

    report = diff_net(prototxt, reference, **options)
    Console(width=None if sys.stdout.isatty() else 200).print(report.table())
    if not report.ok:
        raise SystemExit(1)


@cli.command()
@click.argument("prototxt", type=file_argument)
@click.argument("target", type=out_argument)
@dialect_option
@rename_option
@phase_option
def draw(prototxt: Path, target: Path, dialect: str | None, rename: dict[str, str | None], phase: str) -> None:
    """Draw a net as .svg or .png."""
    from caffe_compat.tools.draw import draw_net  # torch

    click.echo(draw_net(prototxt, target, dialect=dialect, rename=rename, phase=phase))


@cli.command()
@click.argument("source", type=file_argument)
@click.argument("target", type=out_argument)
@dialect_option
@rename_option
def upgrade(source: Path, target: Path, dialect: str | None, rename: dict[str, str | None]) -> None:
    """Bring a V0/V1 net, its .caffemodel, or an old solver file to today's form."""
    from caffe_compat.tools.convert import upgrade as run  # protobuf, and torch for some files

    click.echo(run(source, target, dialect=dialect, rename=rename))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments  # wherever it stands
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments:  # click's own answer to that changed between 8.1 and 8.2
        click.echo(cli.get_help(click.Context(cli, info_name=PROGRAM)), err=True)
        return 2
    command: Callable[..., Any] = cli.main
    try:
        command(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        return int(stop.code or 0)
    except click.ClickException as error:
        click.echo(f"error: {' '.join(error.format_message().split())}", err=True)
        return 2
    except (ValueError, OSError, KeyError, ImportError, RuntimeError, ArithmeticError, MemoryError) as error:
        if debug:
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        if isinstance(error, MemoryError):
            text = f"out of memory: {str(error) or 'the file asks for more than there is'}"
        click.echo(f"error: {' '.join(str(text).split())}", err=True)
        return 2
    return 0
