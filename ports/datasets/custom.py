"""Lists of a user's own: CSV tables, and the plain lists that research-ms-loss and Deep_Metric read.

    read_csv("birds.csv")      path,label[,split][,super_label][,camera][,track][,x,y,width,height]
    read_list("train.txt")     images/001/a.jpg,0     or     images/001/a.jpg 0     one image a line, one separator a list

Paths are relative to the list's folder unless `root` says otherwise, and may not leave it. Labels are whole numbers, or text in CSV: then
classes are numbered from 1 in alphabetical order over the whole file.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np

from ports.datasets.layout import read_lines, to_int
from ports.datasets.split import DatasetError, Split

COLUMNS = ("path", "label", "split", "super_label", "camera", "track", "x", "y", "width", "height")
BOX = ("x", "y", "width", "height")
# Labels begin at 0, but for the junk of re-identification, pictures that count neither way.
_LEAST_LABEL = {"gallery": -1}


def read_list(
    file: str | Path,
    *,
    name: str | None = None,
    root: str | Path | None = None,
    check_files: bool = False,
    all_classes: bool = False,
) -> Split:
    """A plain list, comma, tab or space before the label; the path may hold spaces (the last separator counts).

    all_classes: labels are 0 to C-1, with an image of each, as lists to train on have them; a test list begins anywhere.

    Raises DatasetError with file and line: no label, one that is no whole number from 0 (with `all_classes`, or not below the
    number of classes), a comma in one line and white space in another, a path that leads out of the root and, with
    `check_files`, an image that is missing.
    """
    file = Path(file)
    paths, labels, lines = [], [], []
    first = ""
    for number, line in read_lines(file):
        separator, path, label = _divided(line)
        if not path.strip():
            raise DatasetError(f"{file}:{number}: expected 'path,label' or 'path label', got {line[:100]!r}")
        labels.append(to_int(label.strip(), file, number, "label"))
        first = first or separator
        if separator != first:
            raise DatasetError(
                f"{file}:{number}: {separator} before the label, the lines above have {first}: {line[:100]!r}"
            )
        if labels[-1] < 0:
            raise DatasetError(f"{file}:{number}: label {labels[-1]} is below 0, where labels begin")
        paths.append(path.strip())
        lines.append(number)
    if not paths:
        raise DatasetError(f"{file}: no images listed")
    if all_classes:
        _check_classes(labels, file, lines)
    folder = Path(root) if root is not None else file.resolve().parent
    split = Split(paths, np.array(labels, dtype=np.int64), name or file.stem, folder)
    _check_paths(split, file, lines, check_files)
    return split


def _check_classes(labels: list[int], file: Path, lines: list[int]) -> None:
    classes = len(set(labels))
    for label, number in zip(labels, lines):
        if label >= classes:
            raise DatasetError(
                f"{file}:{number}: label {label}, but the list has {classes} classes: their labels are 0 to {classes - 1}"
            )


def _divided(line: str) -> tuple[str, str, str]:
    """What stands before the label, the path, the label. Not the last separator of any kind: in "a,b c.jpg,0" it is the
    comma, in "a,b.jpg 0" the space.
    """
    path, comma, label = line.rpartition(",")
    spaced, _, last = line.replace("\t", " ").rpartition(" ")
    if comma and (not spaced or re.fullmatch(r"\s*[+-]?\d+", label) or not re.fullmatch(r"[+-]?\d+", last)):
        return "a comma", path, label
    return "white space", spaced, last


def _check_paths(split: Split, file: Path, lines: list[int], check_files: bool) -> None:
    def where(i: int) -> str:
        return f"{file}:{lines[i]}"

    split.check_inside(where)
    if check_files:
        split.check_files(where)


def read_csv(
    file: str | Path,
    *,
    root: str | Path | None = None,
    parts: tuple[str, ...] | None = None,
    check_files: bool = False,
) -> dict[str, Split]:
    """A CSV table with a header; one split per value of the column `split`, else the single split "all".

    `parts`: the values that the column `split`, which must then be there, may have.

    Raises DatasetError with file and line: unknown or missing columns, short rows, numbers that are none, a path that leads
    out of the root and, with `check_files`, an image that is missing.
    """
    file = Path(file)
    read_first = [line for _, line in read_lines(file)]  # gives the errors for missing and non-text files
    if not read_first:
        raise DatasetError(f"{file}: empty")
    with open(file, newline="", encoding="utf-8-sig") as stream:
        table = csv.DictReader(stream)
        try:
            header = [h.strip() for h in table.fieldnames or []]
        except csv.Error as error:
            raise DatasetError(f"{file}:1: {error}") from None
        table.fieldnames = header
        unknown = [h for h in header if h not in COLUMNS]
        missing = [h for h in ("path", "label") if h not in header]
        if any(h in header for h in BOX):
            missing += [h for h in BOX if h not in header]
        if unknown or missing or len(set(header)) != len(header):
            raise DatasetError(
                f"{file}:1: columns are {', '.join(header)}; wanted: path, label and any of {', '.join(COLUMNS[2:])}"
                + (f"; missing {', '.join(missing)}" if missing else "")
            )
        rows = []
        try:
            for row in table:
                if None in row or None in row.values():
                    raise DatasetError(f"{file}:{table.line_num}: {len(header)} fields expected")
                rows.append((table.line_num, {key: value.strip() for key, value in row.items()}))
        except csv.Error as error:
            raise DatasetError(f"{file}:{table.line_num}: {error}") from None
    if not rows:
        raise DatasetError(f"{file}: a header but no images")
    if parts is not None and "split" not in header:
        raise DatasetError(f"{file}:1: no column split (its values: {', '.join(parts)})")
    for line, row in rows:
        if not row["path"] or not row["label"]:
            raise DatasetError(f"{file}:{line}: path and label must not be empty")
        if parts is not None and row["split"] not in parts:
            raise DatasetError(f"{file}:{line}: split {row['split'][:100]!r} is none of {', '.join(parts)}")
    number, names = _labels(file, rows)
    by_part: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows:
        by_part.setdefault(row.get("split") or "all", []).append((line, row))
    folder = Path(root) if root is not None else file.resolve().parent
    splits = {}
    for part, chosen in by_part.items():
        labels = np.array([number[row["label"]] for _, row in chosen], dtype=np.int64)
        extra = {
            field: np.array([to_int(row[column], file, line, column) for line, row in chosen], dtype=np.int64)
            for field, column in (("super_labels", "super_label"), ("cameras", "camera"), ("tracks", "track"))
            if column in header
        }
        if "x" in header:
            extra["boxes"] = np.array([[_number(row[c], file, line, c) for c in BOX] for line, row in chosen])
        splits[part] = Split(
            [row["path"] for _, row in chosen],
            labels,
            f"{file.stem}/{part}",
            folder,
            class_names=[names[i] for i in np.unique(labels).tolist()] if names else None,
            **extra,
        )
        low = np.flatnonzero(labels < _LEAST_LABEL.get(part, 0))
        if parts is not None and len(low):
            line, row = chosen[low[0]]
            raise DatasetError(f"{file}:{line}: {part} label {row['label']} is below {_LEAST_LABEL.get(part, 0)}")
        _check_paths(splits[part], file, [line for line, _ in chosen], check_files)
    return splits


def _labels(file: Path, rows: list[tuple[int, dict[str, str]]]) -> tuple[dict[str, int], dict[int, str] | None]:
    """Number of each label text; names by number where the labels are text."""
    texts = [row["label"] for _, row in rows]
    if all(re.fullmatch(r"[+-]?\d+", text) for text in texts):
        return {row["label"]: to_int(row["label"], file, line, "label") for line, row in rows}, None
    ordered = sorted(set(texts))
    return {text: i for i, text in enumerate(ordered, 1)}, dict(enumerate(ordered, 1))


def _number(text: str, file: Path, line: int, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{file}:{line}: {what} must be a number, got {text!r}")
    return value
