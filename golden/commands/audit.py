"""What do an installed library's losses compute? Every loss that has a mapping, against the sets that it could be."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

from ..audit import AuditError, Finding, audit, libraries, read
from ..audit_page import page, picture, rows, verdicts
from ..files import write_atomically
from ..limits import SECONDS, set_limit
from ..tables import table, width
from .common import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("library", nargs="*", help=f"{', '.join(libraries())}, or a mapping's .json file")
    parser.add_argument(
        "--also", action="append", default=[], metavar="FILE.json",
        help="findings that --json printed, of a library that another environment has",
    )  # fmt: skip
    parser.add_argument(
        "--compare", metavar="FILE.md", help="does a page's table say the same of these libraries? exit code 1: no"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument(
        "--write", metavar="FILE.md", help="write the page, and its picture beside it (needs matplotlib)"
    )
    parser.add_argument(
        "--limit", type=float, default=SECONDS, metavar="S", help="seconds that one call may take (default: 60)"
    )


def run(options: argparse.Namespace) -> int:
    if options.write and not options.write.endswith(".md"):
        raise UsageError(f"{options.write}: the name must end in .md")
    if not options.library and not options.also:
        raise UsageError(f"which library? There are {', '.join(libraries())}, or a mapping's .json file")
    findings: list[Finding] = []
    try:
        set_limit(options.limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries warn of their own papers' settings, once for each call
            for name in options.library:
                for finding in audit(name):
                    findings.append(finding)
                    if sys.stderr.isatty():
                        print(f"{finding.library}: {finding.loss} / {finding.against}", file=sys.stderr)
            for name in options.also:
                findings += read(name)
    except (AuditError, ValueError) as error:
        raise UsageError(str(error)) from error
    except KeyError as error:
        raise UsageError(str(error.args[0])) from error
    if options.json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        print("\n".join(table(rows(findings), width(), right=(5, 6), names=(0, 1, 2, 3, 5, 6))))
    if options.write:
        target = Path(options.write)
        try:
            drawn = picture(findings)
            write_atomically(target.with_suffix(".svg"), drawn)
            write_atomically(target, page(findings, target.with_suffix(".svg").name).encode())
        except (OSError, ImportError) as error:
            raise UsageError(f"cannot write {target}: {error}") from error
    return _compared(findings, Path(options.compare)) if options.compare else 0


def _compared(findings: list[Finding], path: Path) -> int:
    """Prints where the verdicts of a page are others; 1 if there are any."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    names = {finding.library for finding in findings}
    shown = {row for row in verdicts(text) if row[0] in names}
    found = set(verdicts(page(findings)))
    for row in sorted(shown - found):
        print(f"only in {path}: {', '.join(row)}")
    for row in sorted(found - shown):
        print(f"only found: {', '.join(row)}")
    if shown == found:
        print(f"{len(found)} rows as in {path}")
    return int(shown != found)
