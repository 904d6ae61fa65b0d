"""`prepare DATASET`: from the official archives to a verified folder, or a look at one that is there."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import caffe_compat
from ports.datasets import archives
from ports.datasets.split import Split


def prepare(
    dataset: str, archive_files: tuple[Path, ...], root: Path, *, check: bool, password: str | None, mat: bool
) -> None:
    """Unpack and verify, or with `check` (or without archives) read `root` again; `mat` adds the authors' list form."""
    if check or not archive_files:
        splits = archives.check(dataset, root)
    else:
        splits = archives.prepare(dataset, archive_files, root, password=password)
    _show(dataset, root, splits)
    if mat:
        for part, split in splits.items():
            path = root / f"{part}.mat"
            caffe_compat.save_split(split, path)
            click.echo(f"wrote {path}")


def _show(dataset: str, root: Path, splits: dict[str, Split]) -> None:
    table = Table("split", "images", "classes", "sha256 of the list", title=f"{dataset} in {root}: as published")
    for part, facts in archives.summary(splits).items():
        table.add_row(part, f"{facts['images']:,}", f"{facts['classes']:,}", str(facts["list_sha256"]))
    Console().print(table)
