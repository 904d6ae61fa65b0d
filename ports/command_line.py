"""What command lines made with click share: one error prefix, one table of exit codes, `--version`, suggestions, completion.

Every error that a file or an argument causes is one line on stderr, `error: ...`, with exit code 2; `--debug`, wherever it stands,
shows the traceback. No arguments: the help, on stderr, with exit code 2.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click

PROJECT = "dml-ports"
_EXPECTED = (ValueError, OSError, ImportError)


class Group(click.Group):
    """Commands that are named with a suggestion where one was mistyped."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = [name for name, command in self.commands.items() if not command.hidden]
            ctx.fail(unknown_command(args[0], known, ctx.command_path))
        return super().resolve_command(ctx, args)


def unknown_command(name: str, known: Sequence[str], program: str) -> str:
    """The error of a command that there is not."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"no command {name!r}.{hint} `{program} --help` lists them"


def nearest(name: str, known: Sequence[str], count: int = 3) -> list[str]:
    """Names that may have been meant: those that hold the text first, then those spelled alike."""
    holding = [other for other in known if name and name in other]
    return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=count, cutoff=0.5), *holding]))[:count]


def example(text: str) -> str:
    """A command's epilog, kept as it is written."""
    return f"\b\nExample:\n  {text}"


def version(root: Path | None = None) -> str | None:
    """Of the imported sources: the pyproject.toml beside them, else the installed package's metadata; None: neither."""
    project = (root or Path(__file__).resolve().parents[1]) / "pyproject.toml"
    if project.is_file():
        found = re.search(
            rf'^name = "{PROJECT}"\nversion = "([^"]+)"', project.read_text(encoding="utf-8"), re.MULTILINE
        )
        if found:
            return found[1]
    try:
        return metadata.version(PROJECT)
    except metadata.PackageNotFoundError:
        return None


def program(package: str) -> str:
    """How the command line was called: as a module, or by the name of its script."""
    return package if Path(sys.argv[0]).name == package else f"python -m {package}"


def main(
    group: click.Group,
    package: str,
    arguments: Sequence[str] | None = None,
    other: Callable[[Exception], tuple[str, int] | None] = lambda error: None,
) -> int:
    """Run the command line; returns the exit code.

    Args:
        group: its commands.
        package: the package whose command line it is.
        arguments: those of the process where None.
        other: the line and exit code of an error that is none of ValueError, OSError and ImportError; None: a mistake in the
            program, whose traceback is wanted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no ± shows ?
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    name = program(package)
    if not arguments and f"_{package.upper()}_COMPLETE" not in os.environ:
        click.echo(group.get_help(click.Context(group, info_name=name, **group.context_settings)), err=True)
        return 2
    command: Callable[..., Any] = group.main
    try:
        code = command(arguments, prog_name=name, complete_var=f"_{package.upper()}_COMPLETE", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        return int(stop.code or 0)
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except click.ClickException as error:
        return _say(error.format_message(), 2)
    except Exception as error:
        known = (_plain(error), 2) if isinstance(error, _EXPECTED) else other(error)
        if debug or known is None:
            raise
        return _say(*known)
    return code if isinstance(code, int) else 0


def _plain(error: Exception) -> str:
    """Without the number that systems count their errors by."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error))


def _say(text: str, code: int) -> int:
    click.echo(f"error: {' '.join(text.split())}", err=True)
    return code


def with_version(group: click.Group) -> click.Group:
    """`--version` for a group."""
    return click.version_option(version() or "unknown", message=f"{PROJECT} %(version)s")(group)
