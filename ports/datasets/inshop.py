"""In-shop Clothes Retrieval of DeepFashion (Liu et al., CVPR 2016): train, query and gallery.

    list_eval_partition.txt (or Eval/list_eval_partition.txt)
      52712
      image_name item_id evaluation_status
      img/WOMEN/Dresses/id_00000002/02_1_front.jpg id_00000002 train
    img/... (or Img/img/...)

Labels are the numbers of the item ids (id_00000002 is 2). Query and gallery hold the same items.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ports.datasets.description import Dataset, Files, Packed
from ports.datasets.layout import find_root, read_lines, safe_path, to_int
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split

LIST = "list_eval_partition.txt"


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train", "query", "gallery".

    Raises DatasetError: not that folder, a malformed line (file:line), a list shorter or longer than its first line
    says, missing images, counts other than the published 25,882 / 14,218 / 12,612.
    """
    try:  # this one first: find_root would take the folder Eval itself for a complete data set
        folder = find_root(root, "In-shop Clothes Retrieval", f"Eval/{LIST}")
        path = folder / "Eval" / LIST
    except DatasetError:
        folder = find_root(root, "In-shop Clothes Retrieval", LIST)
        path = folder / LIST
    images = next((p for p in (folder, folder / "Img") if (p / "img").is_dir()), folder)
    rows: dict[str, list[tuple[str, int]]] = {"train": [], "query": [], "gallery": []}
    announced = None
    for number, line in read_lines(path):
        fields = line.split()
        if number == 1 and len(fields) == 1:
            announced = to_int(line, path, number, "number of images")
            continue
        if fields == ["image_name", "item_id", "evaluation_status"]:
            continue
        if len(fields) != 3:
            raise DatasetError(f"{path}:{number}: expected 'image_name item_id evaluation_status', got {line!r}")
        item = re.fullmatch(r"id_(\d+)", fields[1])
        if item is None:
            raise DatasetError(f"{path}:{number}: item id {fields[1]!r} is not like id_00000002")
        if fields[2] not in rows:
            raise DatasetError(f"{path}:{number}: status {fields[2]!r} is none of train, query, gallery")
        rows[fields[2]].append((safe_path(fields[0], path, number), to_int(item[1], path, number, "item id")))
    total = sum(map(len, rows.values()))
    if announced is not None and total != announced:
        raise DatasetError(f"{path}: its first line announces {announced:,} images, it lists {total:,}")
    splits = {}
    for part, chosen in rows.items():
        labels = np.array([label for _, label in chosen], dtype=np.int64)
        splits[part] = Split([name for name, _ in chosen], labels, f"inshop/{part}", images)
    return DATASET.finish(folder, splits, check_counts, check_files)


def pack(splits: dict[str, Split]) -> Packed:
    """img.zip (without DeepFashion's password) and the list; every other picture of a test class is a query."""
    files: Files = {}
    lines = []
    seen: dict[str, dict[int, int]] = {"train": {}, "query": {}, "gallery": {}}
    for part, split in splits.items():
        turn: dict[int, int] = {}
        for path, label, data in zip(split.paths, split.labels.tolist(), split.contents()):
            turn[label] = turn.get(label, 0) + 1
            status = "train" if part == "train" else ("gallery", "query")[turn[label] % 2]
            seen[status][label] = seen[status].get(label, 0) + 1
            name = f"img/LETTERS/{Path(path).parent.name}/id_{label:08}/{turn[label]:02}_1_front{Path(path).suffix}"
            files[name] = data
            lines.append(f"{name} id_{label:08} {status}")
    text = f"{len(lines)}\nimage_name item_id evaluation_status\n" + "\n".join(lines) + "\n"
    counts = {part: [sum(labels.values()), len(labels)] for part, labels in seen.items()}
    return files, {LIST: text.encode()}, counts


DATASET = Dataset(
    name="inshop",
    title="In-Shop",
    read=read,
    counts={"train": (25882, 3997), "query": (14218, 3985), "gallery": (12612, 3985)},
    archives=f"img.zip (protected by a password that the authors send) and {LIST}",
    folders=r"img|Img|Eval|WOMEN|MEN|id_\d{8}",
    pack=pack,
    offer=Offer(
        page="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        files=(Archive("img.zip"), Archive(LIST)),
        terms="for research that is not commercial, under a signed agreement; the authors then send the zip's password",
    ),
)
