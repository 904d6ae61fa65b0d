"""What the fuzzer knows of one file format."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """seeds: makes good files in an empty folder and returns their contents. reader: reads the file at a path.

    file: where in the folder the file lies. errors: what the reader's documentation promises for a bad file; their text
    must hold the file's name, or the folder's where `names_folder`.
    """

    name: str
    file: str
    make: Callable[[Path], list[bytes]]
    reader: Callable[[Path], object]
    errors: tuple[type[Exception], ...]

    def seeds(self, folder: Path) -> list[bytes]:
        found = self.make(folder)
        assert found and all(found), self.name
        return found

    def read(self, content: bytes, folder: Path) -> None:
        path = folder / self.file
        path.write_bytes(content)
        self.reader(path)

    def names(self, error: Exception, folder: Path) -> bool:
        """Whether the error says which file."""
        return Path(self.file).name.split(".")[0] in str(error) or str(folder) in str(error)

    def warm_up(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for seed in self.seeds(folder):
                self.read(seed, folder)
