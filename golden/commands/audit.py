"""What do an installed library's losses compute? Every loss that has a mapping, against the sets that it could be."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

from ..audit import AuditError, Finding, audit, libraries
from ..audit_page import page, picture, rows
from ..files import write_atomically
from ..limits import SECONDS, set_limit
from ..tables import table, width
from .common import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("library", nargs="+", help=f"{', '.join(libraries())}, or a mapping's .json file")
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
    return 0
