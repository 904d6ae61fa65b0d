"""The letters: counts, disjointness, pinned pixels, and that they are hard enough to be worth learning."""

import hashlib
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from ports.datasets import glyph_drawing, glyph_letters, glyph_processes, glyphs
from ports.datasets.split import DatasetError

PINNED = PIL.__version__ == "12.2.0"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("glyphs") / "set"
    return root, glyphs.build(root, progress=False)


@pytest.fixture(scope="module")
def lists():
    return glyphs.make_splits()


def test_counts(lists):
    assert {part: (len(s), s.num_classes) for part, s in lists.items()} == {"train": (9013, 667), "test": (9040, 668)}
    for split in lists.values():
        assert np.unique(split.labels, return_counts=True)[1].min() >= glyph_letters.MIN_FACES
        assert len(set(split.paths)) == len(split)
    assert glyphs._list_hash(lists) == glyphs.LIST_SHA256


def test_classes_are_disjoint_by_code_point_and_every_script_is_on_both_sides(lists):
    train, test = ({int(Path(p).name.split("_")[0], 16) for p in s.paths} for s in lists.values())
    assert not train & test and train | test == set(glyph_letters.load_letters())
    assert not set(lists["train"].labels) & set(lists["test"].labels)
    assert set(lists["train"].super_labels) == set(lists["test"].super_labels) == set(range(1, 8))


def test_every_class_is_a_letter_and_known_look_alikes_are_one():
    letters = set(glyph_letters.load_letters())
    assert all(unicodedata.category(chr(c)).startswith("L") for c in letters)
    twins_of = (
        "A\u0391\u0410",
        "o\u03bf\u043e\u0585",
        "p\u0440",
        "K\u041a\u039a\u212a",
        "\xc5\u212b",
        "g\u0581",
        "L\u053c",
    )
    for twins in twins_of:
        assert sum(ord(c) in letters for c in twins) == 1, twins


def test_faces_are_text_faces():
    assert len(glyph_letters.FACES) == 16
    assert not any("LastResort" in face for face in glyph_letters.FACES)


@pytest.mark.slow
def test_the_rule_still_gives_the_list():
    assert glyph_letters.select_letters() == glyph_letters.load_letters()


@pytest.mark.slow
def test_build_gives_the_pinned_pixels(built):
    root, splits = built
    if not PINNED:
        pytest.skip(f"pixels are pinned for Pillow 12.2.0, this is {PIL.__version__}")
    assert glyphs.content_hash(root) == glyphs.CONTENT_SHA256  # decoded from disk, not the hash that build wrote
    with Image.open(splits["train"].file(0)) as image:
        assert image.mode == "L" and image.format == "PNG"


@pytest.mark.slow
def test_build_again_only_reads(built):
    root, splits = built
    before = (root / splits["train"].paths[0]).stat().st_mtime_ns
    again = glyphs.build(root, progress=False)
    assert again == splits and (root / splits["train"].paths[0]).stat().st_mtime_ns == before
    assert not [p for p in root.parent.iterdir() if "partial" in p.name]


@pytest.mark.slow
def test_missing_images_are_found_and_named(built):
    root, splits = built
    victim = Path(splits["test"].file(5))
    hidden = victim.with_suffix(".hidden")
    victim.rename(hidden)
    try:
        with pytest.raises(DatasetError, match=f"1 of 9040 images are missing: .*{victim.name}"):
            glyphs.read(root)
    finally:
        hidden.rename(victim)


def test_one_image_is_a_letter_on_a_lit_sheet_on_a_white_page(lists):
    fonts = {}
    for path in lists["train"].paths[::450] + lists["test"].paths[::450]:
        code, face = Path(path).stem.split("_", 1)
        pixels = np.asarray(glyph_drawing.render(int(code, 16), face, fonts))
        # The sheet is what the SOP pipeline's border crop finds: grey below 250.
        rows, columns = np.nonzero(pixels < 250)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        sheet = pixels[top:bottom, left:right].astype(float)
        margins = (top, left, pixels.shape[0] - bottom, pixels.shape[1] - right)
        assert all(glyph_drawing.MARGIN[0] <= m <= glyph_drawing.MARGIN[1] for m in margins)
        assert (pixels == glyph_drawing.PAGE).sum() == pixels.size - sheet.size
        assert max(sheet.shape) <= glyph_drawing.LONGEST + 2 * glyph_drawing.EDGE[1]
        corners = sheet[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.max() == glyph_drawing.BRIGHT and glyph_drawing.DIM[0] <= corners.min() <= glyph_drawing.DIM[1]
        edge = glyph_drawing.EDGE[0]  # a ring of paper lies around the ink, in an even ramp
        assert np.abs(np.diff(sheet[:edge], n=2, axis=1)).max() <= 2  # rounding of two steps
        ink = sheet / np.maximum(sheet.max(axis=0, keepdims=True), 1)
        assert ink.min() <= 0.75  # strokes are clearly darker than the paper beside them


def test_an_image_does_not_depend_on_what_is_drawn_before_it():
    fonts = {}
    glyph_drawing.render(0x42, "DejaVuSans", fonts)
    assert (
        glyph_drawing.render(0x41, "DejaVuSans", fonts).tobytes() == glyph_drawing.render(0x41, "DejaVuSans").tobytes()
    )


def sample(lists):
    """Every ninth picture: 2,006 of all faces and scripts."""
    return [path for split in lists.values() for path in split.paths][::9]


# Of `sample`'s digests in that order, drawn by one process before there were two.
SAMPLE_SHA256 = "a0841fdf884545b66a62d612e73ab40aba8f884489dbc53a9c752899bc0a6a13"


def combined(digests, paths):
    return hashlib.sha256(b"".join(digests[path] for path in paths)).hexdigest()


@pytest.fixture
def folder(tmp_path):
    for name in glyph_letters.SCRIPTS:
        (tmp_path / f"{name}_final").mkdir()
    return tmp_path


@pytest.mark.parametrize("cores", [1, 2])
def test_one_process_and_two_draw_the_same_bits(folder, lists, monkeypatch, cores):
    if not PINNED:
        pytest.skip(f"pixels are pinned for Pillow 12.2.0, this is {PIL.__version__}")
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(glyph_processes, "_cores", lambda: cores)
    monkeypatch.setattr(
        glyph_processes.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    paths, told = sample(lists), []
    digests = glyph_processes.draw_all(folder, paths, told.append)
    assert len(started) == cores - 1 and sum(told) == len(paths) == len(digests)
    assert combined(digests, paths) == SAMPLE_SHA256
    for path in paths[::40]:
        with Image.open(folder / path) as image:
            assert glyph_drawing.digest(path, image) == digests[path]


def test_a_child_that_is_killed_takes_nothing_with_it(folder, lists, monkeypatch):
    """SIGKILL after its first piece, and one that ends at once: this process draws what it had."""
    monkeypatch.setattr(glyph_processes, "_cores", lambda: 2)
    paths, children, popen = sample(lists)[:1200], [], subprocess.Popen
    monkeypatch.setattr(
        glyph_processes.subprocess, "Popen", lambda *a, **k: children.append(popen(*a, **k)) or children[-1]
    )
    alone = glyph_processes.draw_all(folder, paths[:999], lambda count: None)  # too few for two
    assert not children
    digests = glyph_processes.draw_all(folder, paths, lambda count: children[0].kill())
    assert len(children) == 1 and list(digests) and set(digests) == set(paths)
    assert all(digests[path] == alone[path] for path in alone)
    monkeypatch.setattr(glyph_processes, "_CHILD", "raise SystemExit(1)")
    assert glyph_processes.draw_all(folder, paths, lambda count: None) == digests


def test_an_interrupted_parent_leaves_no_child(tmp_path, monkeypatch):
    """Ctrl-C while both draw, in a whole build: the child is gone, and so is what was drawn."""
    children, popen = [], subprocess.Popen
    monkeypatch.setattr(glyph_processes, "_cores", lambda: 2)
    monkeypatch.setattr(
        glyph_processes.subprocess, "Popen", lambda *a, **k: children.append(popen(*a, **k)) or children[-1]
    )
    real = glyph_drawing.Drawer.draw
    drawn = []

    def stop(self, paths):
        drawn.append(paths)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return real(self, paths)

    monkeypatch.setattr(glyph_drawing.Drawer, "draw", stop)
    with pytest.raises(KeyboardInterrupt):
        glyphs.build(tmp_path / "set", progress=False)
    assert [child.poll() for child in children] == [-signal.SIGKILL] and list(tmp_path.iterdir()) == []


def test_wrong_places_are_refused(tmp_path):
    (tmp_path / "something").mkdir()
    (tmp_path / "something" / "else.txt").write_text("x")
    with pytest.raises(DatasetError, match="holds something else"):
        glyphs.build(tmp_path / "something", progress=False)
    with pytest.raises(DatasetError, match="no complete set of letters"):
        glyphs.read(tmp_path / "nowhere")
    assert (tmp_path / "something" / "else.txt").read_text() == "x"


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(glyph_drawing, "render", stop)
    with pytest.raises(KeyboardInterrupt):
        glyphs.build(tmp_path / "set", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_raw_pixels_do_not_solve_it(lists):
    """Recall@1 of raw pixels after the white-border crop, 60 unseen classes of 11 to 16 images (Pillow's resize).

    Measured: 0.42 here, 0.38 to 0.43 over four draws of 60 classes, 0.40 on those of the rll-sop recipe with its exact
    pipeline. A set of noise gives chance, 0.016; evenly lit letters gave 0.59 to 0.8, next to nothing to learn. The bounds
    are five times the draws' spread (0.025) away from 0.42: the letters have changed when one is crossed.
    """
    split = lists["test"]
    chosen = np.random.RandomState(0).permutation(np.unique(split.labels))[:60]
    part = split.subset(np.isin(split.labels, chosen))
    fonts, features = {}, []
    for path in part.paths:
        code, face = Path(path).stem.split("_", 1)
        image = glyph_drawing.render(int(code, 16), face, fonts)
        rows, columns = np.nonzero(np.asarray(image) < 250)
        box = (columns.min() - 15, rows.min() - 15, columns.max() + 16, rows.max() + 16)
        image = image.crop((max(box[0], 0), max(box[1], 0), min(box[2], image.width), min(box[3], image.height)))
        scale = 256 / max(image.size)
        image = image.resize(tuple(max(1, round(s * scale)) for s in image.size), Image.Resampling.BICUBIC)
        square = Image.new("L", (256, 256), 255)
        square.paste(image, ((256 - image.width) // 2, (256 - image.height) // 2))
        small = square.crop((14, 14, 241, 241)).resize((32, 32), Image.Resampling.BOX)
        features.append(255.0 - np.asarray(small, dtype=np.float64).reshape(-1))
    x = np.stack(features)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    recall = np.mean(part.labels[similarity.argmax(axis=1)] == part.labels)
    assert 0.30 < recall < 0.55, recall


def test_torch_is_not_imported():
    code = "import sys; from ports.datasets import glyphs; glyphs.make_splits(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
