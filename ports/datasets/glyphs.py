"""The letters: glyph retrieval, real images that need no download.

A class is a letter (a Unicode code point), an image is that letter in one of 16 text faces which matplotlib ships: dark,
at a seeded size, on a sheet of paper that is lit from one side and lies at a seeded place on a white page. The page gives
the white-border crop of the Stanford Online Products pipeline something to cut; the uneven light is what a photograph
has and raw pixels cannot see through (evenly lit, they alone recall 0.6 to 0.8 of 60 letters at 1). On disk it looks like that data set: Ebay_train.txt, Ebay_test.txt,
one folder per super-class (script), one PNG per image. Train and test share no letter and no look-alike of a letter.

The same pixels come out on every machine with the same fonts and the same FreeType inside Pillow; `CONTENT_SHA256` is
their hash with the pinned versions (constraints.txt), and `letters.sha256` has two bytes of each one's. Other versions may
shift single grey levels: `build` and `some` then warn.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ports.datasets import glyph_parts, sop
from ports.datasets.glyph_drawing import FORMAT, digest
from ports.datasets.glyph_letters import FACES, SCRIPTS, charmap, load_letters, script
from ports.datasets.glyph_processes import draw_all
from ports.datasets.split import DatasetError, Split
from ports.locks import alone
from ports.progress import bar as bar_of

MARKER = "glyphs.json"  # written last: a folder that has it is complete
LIST_SHA256 = "d6a87249cfb23a77b609719cf8afed89f66443dfcf84f1cbe7b5c707092374a1"
CONTENT_SHA256 = "c04a2b98260f999811ffe7c136b5ed17e906a43f8bcc9b3a5d74125b499a0883"


class GlyphVersionWarning(UserWarning):
    """The rendered pixels are not those of the pinned Pillow and matplotlib; results may differ in the last digits."""


def letters() -> tuple[list[int], list[int]]:
    """Code points of the training and the test classes: a seeded halving, so that every script is in both."""
    order = sorted(load_letters(), key=lambda c: hashlib.sha256(f"glyphs/1/split/{c:04x}".encode()).digest())
    half = len(order) // 2
    return sorted(order[:half]), sorted(order[half:])


def make_splits(root: Path | None = None) -> dict[str, Split]:
    """Splits "train" and "test" as lists, nothing rendered; classes are numbered from 1 through both, as SOP's are."""
    splits = {}
    first = 1
    for part, codes in zip(("train", "test"), letters()):
        paths, labels, supers = [], [], []
        for label, code in enumerate(codes, first):
            for face in FACES:
                if code in charmap(face):
                    paths.append(f"{script(code)}_final/{code:04x}_{face}.png")
                    labels.append(label)
                    supers.append(1 + SCRIPTS.index(script(code)))
        first += len(codes)
        names = [f"U+{code:04X} {chr(code)}" for code in codes]
        splits[part] = Split(paths, labels, f"glyphs/{part}", root, class_names=names, super_labels=supers)  # type: ignore[arg-type]
    return splits


def _render_all(folder: Path, paths: Sequence[str], progress: bool) -> dict[str, bytes]:
    """Write these images below `folder`; the sha256 of path, size and pixels of each."""
    for name in SCRIPTS:
        (folder / f"{name}_final").mkdir()
    with bar_of(len(paths), "drawing the letters", "img", wanted=progress) as bar:
        return draw_all(folder, paths, bar.update)


def _paths(splits: dict[str, Split]) -> list[str]:
    return [path for split in splits.values() for path in split.paths]


def _combine(digests: dict[str, bytes], splits: dict[str, Split]) -> str:
    return hashlib.sha256(b"".join(digests[path] for path in _paths(splits))).hexdigest()


def _versions() -> dict[str, str | None]:
    import matplotlib
    import PIL
    from PIL import features

    return {
        "pillow": PIL.__version__,
        "freetype": features.version("freetype2"),
        "matplotlib": matplotlib.__version__,
    }


def build(root: str | Path, *, progress: bool = True) -> dict[str, Split]:
    """Render the set into `root` (made if need be) unless it is there already; returns its "train" and "test" splits.

    Works in a folder beside `root` and renames it at the end, so `root` is complete or not there. Of several processes one
    draws, the others wait for it. Where `some` has drawn a part there, the rest is added to it and the marker comes last.
    Raises DatasetError where `root` holds something else, OSError where it cannot be written.
    """
    root = Path(root).expanduser().absolute()
    if (splits := _made(root)) is not None:
        return splits
    with _drawing(root, progress):
        if (splits := _made(root)) is not None:  # by the process that we have waited for
            return splits
        if (root / glyph_parts.RECORD).is_file():
            _add(root, _paths(make_splits()), progress)
        else:
            _draw(root, progress)
    return read(root)


def some(root: str | Path, paths: Sequence[str], *, progress: bool = True) -> dict[str, Split]:
    """Draw at least these pictures of the set into `root`, those that are not there yet; the splits of the whole set, of whose
    pictures only these need be there.

    The last ones that were missing make the set whole: `root` is then as `build` leaves it. Of several processes one draws at
    a time. Raises DatasetError where `root` holds something else, OSError where it cannot be written.
    """
    root = Path(root).expanduser().absolute()
    if (splits := _there(root, paths)) is not None:
        return splits
    if (root / MARKER).is_file():  # of a damaged set, or one of an older format
        return build(root, progress=progress)
    with _drawing(root, progress):
        if (splits := _there(root, paths)) is None:  # else by the process that we have waited for
            _add(root, paths, progress)
            splits = _there(root, paths)
    if splits is None:
        raise DatasetError(f"{root}: somebody has taken pictures away while others were drawn")
    return splits


def _there(root: Path, paths: Sequence[str]) -> dict[str, Split] | None:
    """The set's splits if these pictures are in `root`, in a whole set or a part; warns where a part has not the pinned pixels."""
    if (splits := _made(root)) is not None:
        return splits
    drawn = glyph_parts.drawn(root)
    if any(path not in drawn for path in paths):
        return None
    splits = make_splits(root)
    if not glyph_parts.as_pinned(drawn, _paths(splits)):
        _warn(root, _versions())
    return splits


@contextlib.contextmanager
def _drawing(root: Path, progress: bool) -> Iterator[None]:
    """One process at a time, and what killed ones left is gone."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with alone(root.with_name(f".{root.name}.lock"), waiting=lambda: _say_waiting(root, progress)) as held:
        if held:
            for left in root.parent.glob(f".{root.name}.partial-*"):  # of a process that was killed: no other draws now
                shutil.rmtree(left, ignore_errors=True)
        yield


def _add(root: Path, paths: Sequence[str], progress: bool) -> None:
    """Draw what `root` lacks of these; a set that is whole then gets its lists and its marker."""
    splits, there = make_splits(), glyph_parts.drawn(root)
    missing = [path for path in dict.fromkeys(paths) if path not in there]
    if missing:
        with _work_folder(root) as work:
            digests = _render_all(work, missing, progress)
            root.mkdir(exist_ok=True)
            there = glyph_parts.add(root, work, digests)
    if len(there) == sum(map(len, splits.values())):
        _finish(root, splits, there)
        (root / glyph_parts.RECORD).unlink()


@contextlib.contextmanager
def _work_folder(root: Path) -> Iterator[Path]:
    work = root.with_name(f".{root.name}.partial-{secrets.token_hex(4)}")
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _made(root: Path) -> dict[str, Split] | None:
    """The set in `root`; None where it is to be made: nothing is there, or ours that is damaged or of an older format."""
    if (root / MARKER).is_file():
        try:
            return read(root)
        except DatasetError:
            return None
    if root.exists() and (not root.is_dir() or any(root.iterdir())) and not (root / glyph_parts.RECORD).is_file():
        raise DatasetError(f"{root}: holds something else than the letters; name an empty or a new folder")
    return None


def _say_waiting(root: Path, progress: bool) -> None:
    from tqdm import tqdm

    if progress:
        tqdm.write(f"{root}: another process draws the letters; waiting for it", file=sys.stderr)


def _draw(root: Path, progress: bool) -> None:
    splits = make_splits()
    with _work_folder(root) as work:
        _finish(work, splits, _render_all(work, _paths(splits), progress))
        if root.exists():
            shutil.rmtree(root)  # empty, or damaged
        try:
            os.replace(work, root)
        except OSError:
            if not (root / MARKER).is_file():  # else another process was faster, where there are no locks
                raise


def _finish(folder: Path, splits: dict[str, Split], digests: dict[str, bytes]) -> None:
    """The lists of a folder that holds all pictures, and last its marker."""
    sop.write_list(folder / "Ebay_train.txt", splits["train"])
    sop.write_list(folder / "Ebay_test.txt", splits["test"], first_id=1 + len(splits["train"]))
    content = _combine(digests, splits)
    record = {"format": FORMAT, "content_sha256": content, "list_sha256": _list_hash(splits), "bytes": _bytes(folder)}
    new = folder / f".{MARKER}.new"
    new.write_text(json.dumps({**record, **_versions()}, indent=1) + "\n", encoding="ascii")
    os.replace(new, folder / MARKER)


def _bytes(root: Path) -> int:
    """Of all pictures: what a power cut or a full disk cut off is missing in it."""
    return sum(file.stat().st_size for folder in root.glob("*_final") for file in os.scandir(folder))


def read(root: str | Path) -> dict[str, Split]:
    """The splits of a built set. Raises DatasetError where it is absent, damaged (images missing) or another format."""
    root = Path(root).expanduser().absolute()
    if not (root / MARKER).is_file():
        raise DatasetError(f"{root}: no complete set of letters here ({MARKER} is missing); build it first")
    try:
        record = json.loads((root / MARKER).read_text(encoding="ascii"))
    except ValueError as error:
        raise DatasetError(f"{root / MARKER}: {error}") from None
    if record.get("format") != FORMAT:
        raise DatasetError(f"{root / MARKER}: format {record.get('format')}, this program makes and reads {FORMAT}")
    named = make_splits(root)
    splits = {}
    for part in ("train", "test"):
        splits[part] = sop.read_list(root / f"Ebay_{part}.txt", name=f"glyphs/{part}")  # the reader of the real set
        if splits[part].fingerprint() != named[part].fingerprint():
            raise DatasetError(f"{root / f'Ebay_{part}.txt'}: not the list of the letters")
        splits[part].check_files()
    if record.get("bytes") not in (None, found := _bytes(root)):  # None: drawn before they were counted
        raise DatasetError(f"{root}: damaged: its pictures have {found:,} bytes, {record['bytes']:,} were written")
    if record.get("content_sha256") != CONTENT_SHA256:
        _warn(root, record)
    return named


def _warn(root: Path, versions: Mapping[str, Any]) -> None:
    made = ", ".join(f"{k} {versions.get(k)}" for k in ("pillow", "freetype", "matplotlib"))
    warnings.warn(
        f"{root}: the letters were drawn with {made}, whose pixels are not those of the pinned versions; "
        "results may differ slightly from the recorded ones",
        GlyphVersionWarning,
        stacklevel=3,
    )


def _list_hash(splits: dict[str, Split]) -> str:
    return hashlib.sha256("".join(s.fingerprint() for s in splits.values()).encode()).hexdigest()


def content_hash(root: str | Path) -> str:
    """sha256 of paths, sizes and decoded pixels of a built set, read back from disk (about 10 s)."""
    from PIL import Image

    splits = read(root)
    digests = {}
    for split in splits.values():
        for path, file in zip(split.paths, split.files()):
            with Image.open(file) as image:
                image.load()
                digests[path] = digest(path, image)
    return _combine(digests, splits)
