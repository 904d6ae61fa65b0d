"""`prepare DATASET`: from the official archives to a verified folder, or a look at one that is there."""

from __future__ import annotations

from pathlib import Path

import click

import caffe_compat
from paper_recipes.runner.data import letter_archives
from paper_recipes.runner.data.run_data import cache_folder
from ports.console import Table
from ports.datasets import Dataset, archives, describe
from ports.datasets.download import fetch as download_archive
from ports.datasets.split import DatasetError, Split


def prepare(
    dataset: str,
    archive_files: tuple[Path, ...],
    root: Path | None,
    *,
    check: bool,
    password: str | None,
    mat: bool,
    embedded: bool = False,
    download: bool = False,
) -> None:
    """Unpack and verify, or with `check` (or without archives) read `root` again; `mat` adds the authors' list form.

    `embedded`: write the letters into `root` as archives in the data set's layout instead. `download`: fetch the archives
    first, into `root`.archives. Without anything to do, say where the data set is to be had.
    """
    about = describe(dataset)
    nothing_to_do = not (archive_files or check or embedded or download)
    if nothing_to_do and (root is None or not root.exists() or (root.is_dir() and not any(root.iterdir()))):
        for line in _offered(about):
            click.echo(line)
        if root is not None:
            raise DatasetError(f"{root}: nothing is there yet, and no archive was given")
        return
    if root is None:
        raise DatasetError(f"prepare {dataset}: --root says where the data set's folder is, or is to be")
    if download:
        if archive_files or check or embedded:
            raise DatasetError("--download fetches the archives: leave --archive, --check and --embedded out")
        archive_files = _fetched(about, root)
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


def _offered(about: Dataset) -> list[str]:
    """What to get, where, and how to go on."""
    lines = [f"{about.name}: {about.title} comes as {about.archives}"]
    offer = about.offer
    if offer is not None:
        lines += [f"  {line}" for line in offer.lines()]
    where = f"--root {about.name.upper()}"
    if offer is not None and offer.free:
        lines.append(f"next: python -m paper_recipes prepare {about.name} --download {where}")
    given = " ".join(f"--archive {file.name}" for file in offer.files) if offer is not None else "--archive FILE"
    lines.append(f"with the files at hand: python -m paper_recipes prepare {about.name} {given} {where}")
    return lines


def _fetched(about: Dataset, root: Path) -> tuple[Path, ...]:
    """The archives beside `root`, fetched as far as they are not there; none where `root` is prepared already."""
    if (root / archives.MARKER).is_file():
        return ()
    offer = about.offer
    if offer is None or not offer.free:
        closed = [file.name for file in offer.files if not file.url] if offer is not None else [about.archives]
        page = f"; its page: {offer.page}" if offer is not None else ""
        raise DatasetError(f"--download: {', '.join(closed)} of {about.name} is not freely offered{page}")
    folder = root.expanduser().absolute().with_name(f"{root.name}.archives")
    files = tuple(download_archive(file, folder) for file in offer.files)
    for file in files:
        click.echo(f"{file} ({file.stat().st_size:,} bytes); it may go once the folder is prepared")
    return files


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
    header = ("split", "images", "classes", "sha256 of the list")
    rows = [
        [part, f"{facts['images']:,}", f"{facts['classes']:,}", str(facts["list_sha256"])]
        for part, facts in archives.summary(splits).items()
    ]
    Table(header, rows, names=range(4), right=(1, 2), title=f"{dataset} in {root}: {what}").print()
