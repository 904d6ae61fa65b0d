"""`python -m tests.faults`: does to a small run what can befall one, and says in a table what came of it; exit code 1 if
one ended otherwise than it must.

As root it works in a mount namespace of its own, where disks are full and read-only for real.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # runs are forks of this process: it may have no threads

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "tests")]

from tests.faults import data, machine, signals  # noqa: E402 - found by the line above
from tests.faults.stage import Fault, Outcome, Stage  # noqa: E402

BEGIN, END = "<!-- python -m tests.faults --docs -->", "<!-- end -->"


def may_mount() -> bool:
    """Alone in a mount namespace as root, which `main` sees to."""
    return os.environ.get("FAULTS_MAY_MOUNT") == "1"


def table(rows: list[tuple[Fault, Outcome, str]]) -> str:
    lines = [
        "| what happens | done | exit | what it says | status in run.json | `--resume` |",
        "|---|---|---:|---|---|---|",
    ]
    for fault, got, wrong in rows:
        resumed = {True: "same bits", False: "OTHER BITS", None: "-"}[got.resumed]
        status = "what it says" if got.status and got.said.startswith(got.status) else got.status or "-"
        said = got.said if fault.said else "-"
        cells = [fault.name, got.how, str(got.code), said, status, f"{resumed}{wrong and f' WRONG: {wrong}'}"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def put_into(page: Path, text: str) -> None:
    """Between the two marks of the page."""
    before, _, after = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, rest = after.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", metavar="WORDS", default="", help="faults whose name holds these words")
    parser.add_argument("--json", type=Path, help="write the outcomes here too")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    if os.geteuid() == 0 and not may_mount():
        again = ["unshare", "--mount", sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0:
            return subprocess.run(again, env={**os.environ, "FAULTS_MAY_MOUNT": "1"}, check=False).returncode
    machine.MOUNTS = may_mount()
    faults = [*signals.FAULTS, *data.FAULTS, *machine.FAULTS, *(machine.WITH_MOUNTS if machine.MOUNTS else [])]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        for fault in faults:
            if options.only in fault.name:
                got = fault.act(stage)
                rows.append((fault, got, fault.wrong(got)))
                print(f"{fault.name}: {rows[-1][2] or 'as it must'}", file=sys.stderr, flush=True)
    print(table(rows))
    if options.docs:
        put_into(REPO / "docs" / "reliability.md", table(rows))
    if options.json:
        found = {fault.name: {"code": got.code, "said": got.said, "wrong": wrong} for fault, got, wrong in rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(wrong for _, _, wrong in rows))


if __name__ == "__main__":
    sys.exit(main())
