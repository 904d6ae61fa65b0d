"""One picture that shows what is in a split: rows of classes, a few images of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ports.datasets.split import DatasetError, Split


def contact_sheet(
    split: Split, path: str | Path, *, rows: int = 12, columns: int = 12, cell: int = 96, seed: int = 0
) -> None:
    """Write a PNG with `rows` random classes (seeded), `columns` images of each, scaled into `cell` pixels a side."""
    from PIL import Image, ImageDraw

    if not len(split):
        raise DatasetError(f"split {split.name!r} is empty")
    classes = np.unique(split.labels)
    chosen = np.sort(np.random.RandomState(seed).permutation(classes)[:rows])
    sheet = Image.new("RGB", (columns * cell, len(chosen) * cell), (200, 200, 210))
    pen = ImageDraw.Draw(sheet)
    for row, label in enumerate(chosen):
        for column, index in enumerate(np.flatnonzero(split.labels == label)[:columns]):
            with Image.open(split.file(int(index))) as image:
                picture = image.convert("RGB")
            picture.thumbnail((cell - 4, cell - 4))
            x, y = column * cell + (cell - picture.width) // 2, row * cell + (cell - picture.height) // 2
            sheet.paste(picture, (x, y))
        pen.text((2, row * cell + 1), str(label), fill=(180, 0, 0))
    sheet.save(path)
