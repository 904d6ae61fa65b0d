"""`python -m caffe_compat info|convert|export|diff|draw|upgrade`.

Errors, exit codes and `--version` are those of `ports.command_line`; `diff` returns 1 when the net computes something else.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from caffe_compat.preprocessing import PREPROCESSING
from caffe_compat.schema.tables import DIALECTS
from ports import command_line
from ports.console import Table, paragraph

PACKAGE = "caffe_compat"


def example(text: str) -> str:
    """The example that ends a command's help."""
    return command_line.example(f"python -m {PACKAGE} {text}")


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


@command_line.with_version
@click.group(cls=command_line.Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Read, convert, check and draw what Caffe and MATLAB wrote.

    Errors are one line, with exit code 2; --debug anywhere shows the traceback.
    """


@cli.command(
    short_help="Show what is in a net, weights, solver state, mean or list.",
    epilog=example("info deploy.prototxt --dialect rll_cvpr19"),
)
@click.argument("file", type=file_argument)
@dialect_option
@rename_option
@phase_option
@click.option("--json", "as_json", is_flag=True, help="Texts and tables as JSON.")
def info(file: Path, dialect: str | None, rename: dict[str, str | None], phase: str, as_json: bool) -> None:
    """Layers, shapes, parameters and MACs of a prototxt; contents of weights, solver states, means and .mat lists."""
    from caffe_compat.tools.info import describe  # protobuf

    parts = list(describe(file, dialect=dialect, rename=rename, phase=phase))
    if as_json:
        click.echo(json.dumps([part.as_json() if isinstance(part, Table) else part for part in parts], indent=1))
        return
    for part in parts:
        part.print() if isinstance(part, Table) else click.echo(part)


@cli.command(epilog=example("convert googlenet_bn.caffemodel bn_inception.safetensors"))
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


@cli.command(
    short_help="Write a deploy net as ONNX, checked against onnxruntime.",
    epilog=example("export deploy.prototxt net.onnx --weights net.caffemodel"),
)
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


@cli.command(
    short_help="Compare every blob of a net with recorded ones.",
    epilog=example("diff deploy.prototxt --reference recorded/ --dialect rll_cvpr19"),
)
@click.argument("prototxt", type=file_argument)
@click.option("--reference", required=True, type=click.Path(exists=True, path_type=Path), help="Recorded blobs.")
@click.option("--weights", type=file_argument, help="Weights of the record; without it its seeded recipe.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]))
@click.option("--device", default="cpu", show_default=True)
@click.option("--stop", is_flag=True, help="Stop at the first wrong layer.")
@dialect_option
@phase_option
@click.option("--json", "as_json", is_flag=True, help="The rows as JSON.")
def diff(prototxt: Path, reference: Path, as_json: bool, **options: Any) -> None:
    """Compare every blob of a net with recorded ones, layer by layer; exit code 1 when one is wrong."""
    from caffe_compat.tools.diff import diff_net  # torch

    report = diff_net(prototxt, reference, **options)
    table = report.table()
    if as_json:
        click.echo(json.dumps(table.as_json(), indent=1))
    else:
        table.print()
        click.echo(paragraph(str(report)))
    if not report.ok:
        raise SystemExit(1)


@cli.command(epilog=example("draw train.prototxt net.svg --phase TRAIN"))
@click.argument("prototxt", type=file_argument)
@click.argument("target", type=out_argument)
@dialect_option
@rename_option
@phase_option
def draw(prototxt: Path, target: Path, dialect: str | None, rename: dict[str, str | None], phase: str) -> None:
    """Draw a net as .svg or .png."""
    from caffe_compat.tools.draw import draw_net  # torch

    click.echo(draw_net(prototxt, target, dialect=dialect, rename=rename, phase=phase))


@cli.command(
    short_help="Bring old nets, weights and solver files to today's form.",
    epilog=example("upgrade old.prototxt new.prototxt"),
)
@click.argument("source", type=file_argument)
@click.argument("target", type=out_argument)
@dialect_option
@rename_option
def upgrade(source: Path, target: Path, dialect: str | None, rename: dict[str, str | None]) -> None:
    """Bring a V0/V1 net, its .caffemodel, or an old solver file to today's form."""
    from caffe_compat.tools.convert import upgrade as run  # protobuf, and torch for some files

    click.echo(run(source, target, dialect=dialect, rename=rename))


def _one_line(message: Warning | str, *place: Any, **more: Any) -> None:
    """A warning as its words alone: where in the program it arose says nothing at a command line."""
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        return command_line.main(cli, PACKAGE, arguments, other=_of_a_file)


def script() -> NoReturn:
    """Entry point: run and leave with the exit code."""
    sys.exit(main())


def _of_a_file(error: Exception) -> tuple[str, int] | None:
    """What a damaged file can cause besides: every command here is about one."""
    if isinstance(error, MemoryError):
        return f"out of memory: {str(error) or 'the file asks for more than there is'}", 2
    if isinstance(error, (KeyError, RuntimeError, ArithmeticError)):
        return str(error.args[0] if isinstance(error, KeyError) and error.args else error), 2
    return None
