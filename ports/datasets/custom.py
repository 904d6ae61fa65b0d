"""Lists of a user's own: CSV tables, and the plain lists that research-ms-loss and Deep_Metric read.

    read_csv("birds.csv")      path,label[,split][,super_label][,camera][,track][,x,y,width,height]
    read_list("train.txt")     images/001/a.jpg,0     or     images/001/a.jpg 0     one image a line

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


def read_list(file: str | Path, *, name: str | None = None, root: str | Path | None = None) -> Split:
    """A plain list, comma, tab or space before the label; the path may hold spaces (the last separator counts)."""
    file = Path(file)
    paths, labels = [], []
    for number, line in read_lines(file):
        # Not simply the last separator of any kind: "a,b c.jpg,0" has its label after the comma.
        path, separator, label = line.rpartition(",")
        if not separator:
            path, _, label = line.replace("\t", " ").rpartition(" ")
        if not path.strip():
            raise DatasetError(f"{file}:{number}: expected 'path,label' or 'path label', got {line!r}")
        paths.append(path.strip())
        labels.append(to_int(label.strip(), file, number, "label"))
    if not paths:
        raise DatasetError(f"{file}: no images listed")
    folder = Path(root) if root is not None else file.resolve().parent
    split = Split(paths, np.array(labels, dtype=np.int64), name or file.stem, folder)
    split.check_inside(file)
    return split


def read_csv(file: str | Path, *, root: str | Path | None = None) -> dict[str, Split]:
    """A CSV table with a header; one split per value of the column `split`, else the single split "all".

    Raises DatasetError with file and line: unknown or missing columns, short rows, numbers that are none.
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
    for line, row in rows:
        if not row["path"] or not row["label"]:
            raise DatasetError(f"{file}:{line}: path and label must not be empty")
    number, names = _labels(file, rows)
    parts: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows:
        parts.setdefault(row.get("split") or "all", []).append((line, row))
    folder = Path(root) if root is not None else file.resolve().parent
    splits = {}
    for part, chosen in parts.items():
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
        splits[part].check_inside(file)
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
