"""PKU VehicleID (Liu et al., CVPR 2016): vehicles under many road cameras, which are not told apart.

    VehicleID_V1.0/
      image/0000001.jpg ...
      train_test_split/train_list.txt  test_list_800.txt  test_list_1600.txt  test_list_2400.txt     image vehicle

Labels are the vehicles' numbers. The three test lists overlap; each is a test set of its own. Their lengths here are those of the
lists of version 1.0 as fast-reid counts them; the figures printed in papers (110,178 images of 13,134 vehicles to train on, tests of
7,332, 12,995 and 20,038 images) are others.
"""

from __future__ import annotations

from pathlib import Path

from ports.datasets.description import Dataset
from ports.datasets.layout import find_root, read_lines, safe_path, to_int
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split

LISTS = {
    "train": "train_list.txt",
    "test": "test_list_2400.txt",
    "test_medium": "test_list_1600.txt",
    "test_small": "test_list_800.txt",
}


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train", "test" (the large test set), "test_medium" and "test_small".

    Raises DatasetError: not that folder, a malformed line (file:line), images that are missing (how many, the first three),
    counts other than 113,346 / 13,164 for training and 19,777 / 2,400, 13,377 / 1,600 and 6,493 / 800 for the tests.
    """
    folder = find_root(root, "VehicleID", *(f"train_test_split/{name}" for name in LISTS.values()))
    splits = {part: _read_list(folder, part, name) for part, name in LISTS.items()}
    return DATASET.finish(folder, splits, check_counts, check_files)


def _read_list(folder: Path, part: str, name: str) -> Split:
    path = folder / "train_test_split" / name
    images, labels = [], []
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) != 2:
            raise DatasetError(f"{path}:{number}: expected 'image vehicle', got {line[:100]!r}")
        images.append(safe_path(f"image/{fields[0]}.jpg", path, number))
        labels.append(to_int(fields[1], path, number, "vehicle"))
    if not images:
        raise DatasetError(f"{path}: no images listed")
    return Split(images, labels, name=f"vehicleid/{part}", root=folder)  # type: ignore[arg-type]


DATASET = Dataset(
    name="vehicleid",
    title="VehicleID",
    read=read,
    counts={
        "train": (113346, 13164),
        "test": (19777, 2400),
        "test_medium": (13377, 1600),
        "test_small": (6493, 800),
    },
    archives="VehicleID_V1.0 as an archive, which the authors send on request",
    folders=r"VehicleID(_V1\.0)?|train_test_split",
    offer=Offer(
        page="https://www.pkuml.org/resources/pku-vehicleid.html",
        files=(Archive("VehicleID_V1.0"),),
        terms="for academic research, sent by its authors on request",
    ),
)
