"""`prepare DATASET`: from the official archives to a verified folder, or a look at one that is there."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import caffe_compat
from paper_recipes.runner.data import letter_archives
from paper_recipes.runner.data.run_data import cache_folder
from ports.datasets import archives
from ports.datasets.split import DatasetError, Split


def prepare(
    dataset: str,
    archive_files: tuple[Path, ...],
    root: Path,
    *,
    check: bool,
    password: str | None,
    mat: bool,
    embedded: bool = False,
) -> None:
    """Unpack and verify, or with `check` (or without archives) read `root` again; `mat` adds the authors' list form.

    `embedded`: write the letters into `root` as archives in the data set's layout instead.
    """
    if embedded:
        if archive_files or check or mat or password:
            raise DatasetError("--embedded only writes archives into --root; prepare them with a second call")
        _make_embedded(dataset, root)
        return
    if check or not archive_files:
        letters = letter_archives.marker_of(root) is not None
        splits = archives.check(dataset, root, check_counts=not letters)
    else:
        splits = _unpack(dataset, archive_files, root, password)
        letters = letter_archives.marker_of(root) is not None
    if letters:
        letter_archives.check_counts(dataset, root, splits)
    _show(dataset, root, splits, "letters, not the data set" if letters else "as published")
    if mat:
        for part, split in splits.items():
            path = root / f"{part}.mat"
            caffe_compat.save_split(split, path)
            click.echo(f"wrote {path}")


def _unpack(dataset: str, files: tuple[Path, ...], root: Path, password: str | None) -> dict[str, Split]:
    try:
        return archives.prepare(dataset, files, root, password=password)
    except DatasetError:
        # The published counts are not met, as they must not be where the archive holds letters. What was unpacked stays.
        work = root.expanduser().absolute()
        if not any(letter_archives.marker_of(place) for place in (work, work.with_name(f"{work.name}.partial"))):
            raise
    return archives.prepare(dataset, files, root, password=password, check_counts=False)


def _make_embedded(dataset: str, folder: Path) -> None:
    written = letter_archives.make(dataset, folder, cache_folder() / "glyphs")
    for path in written:
        click.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    given = " ".join(f"--archive {path}" for path in written)
    click.echo(f"next: python -m paper_recipes prepare {dataset} {given} --root {dataset.upper()}")


def _show(dataset: str, root: Path, splits: dict[str, Split], what: str) -> None:
    table = Table("split", "images", "classes", "sha256 of the list", title=f"{dataset} in {root}: {what}")
    for part, facts in archives.summary(splits).items():
        table.add_row(part, f"{facts['images']:,}", f"{facts['classes']:,}", str(facts["list_sha256"]))
    Console().print(table)
