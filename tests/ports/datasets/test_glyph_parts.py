"""Drawing only some of the letters: what is drawn when, and what becomes of a drawing that was stopped."""

import json
import warnings
from pathlib import Path

import PIL
import pytest

from ports.datasets import glyph_drawing, glyph_parts, glyphs
from ports.datasets.glyphs import GlyphVersionWarning
from ports.datasets.split import DatasetError

LETTERS = ([0x41, 0x416], [0x42, 0x417, 0x3B1])


@pytest.fixture
def few(monkeypatch, tmp_path):
    """(folder, all paths, those drawn so far) of a set of five letters, whose pixels are not the pinned set's."""
    monkeypatch.setattr(glyphs, "letters", lambda: LETTERS)
    drawn = []
    real = glyph_drawing.render

    def render(code, face, fonts):
        drawn.append((code, face))
        return real(code, face, fonts)

    monkeypatch.setattr(glyph_drawing, "render", render)
    return tmp_path / "set", glyphs._paths(glyphs.make_splits()), drawn


def names(paths):
    return [glyph_drawing.name_of(path) for path in paths]


@pytest.mark.filterwarnings("ignore::ports.datasets.glyphs.GlyphVersionWarning")
def test_only_what_is_missing_is_drawn_and_the_last_makes_the_set_whole(few, tmp_path):
    root, paths, drawn = few
    splits = glyphs.some(root, paths[:5], progress=False)
    assert sorted(drawn) == sorted(names(paths[:5])) and splits["train"].root == root
    assert all((root / path).is_file() for path in paths[:5]) and not (root / paths[5]).exists()
    with pytest.raises(DatasetError, match="no complete set"):
        glyphs.read(root)
    folder = root.stat().st_ino
    drawn.clear()
    glyphs.some(root, paths[3:9], progress=False)
    assert sorted(drawn) == sorted(names(paths[5:9]))
    drawn.clear()
    glyphs.some(root, paths[:9], progress=False)
    assert drawn == []
    assert glyphs.some(root, paths, progress=False) == glyphs.read(root) == glyphs.make_splits(root)
    assert not (root / glyph_parts.RECORD).exists() and root.stat().st_ino == folder
    glyphs.build(tmp_path / "whole", progress=False)
    assert glyphs.content_hash(root) == glyphs.content_hash(tmp_path / "whole")
    markers = [json.loads((place / glyphs.MARKER).read_text()) for place in (root, tmp_path / "whole")]
    assert markers[0] == markers[1]


@pytest.mark.filterwarnings("ignore::ports.datasets.glyphs.GlyphVersionWarning")
def test_build_adds_the_rest_to_a_part(few):
    root, paths, drawn = few
    glyphs.some(root, paths[:7], progress=False)
    drawn.clear()
    assert glyphs.build(root, progress=False) == glyphs.read(root)
    assert sorted(drawn) == sorted(names(paths[7:])) and (root / glyphs.MARKER).is_file()


@pytest.mark.filterwarnings("ignore::ports.datasets.glyphs.GlyphVersionWarning")
def test_a_stopped_drawing_keeps_what_was_there_and_nothing_half(few, monkeypatch):
    root, paths, drawn = few
    glyphs.some(root, paths[:4], progress=False)
    before = sorted(file.relative_to(root) for file in root.rglob("*") if file.is_file())
    real = glyph_drawing.render

    def stop(code, face, fonts):
        if (code, face) == names(paths)[12]:
            raise KeyboardInterrupt
        return real(code, face, fonts)

    monkeypatch.setattr(glyph_drawing, "render", stop)
    with pytest.raises(KeyboardInterrupt):
        glyphs.some(root, paths[:20], progress=False)
    assert sorted(file.relative_to(root) for file in root.rglob("*") if file.is_file()) == before
    assert [entry.name for entry in root.parent.iterdir()] == ["set"]
    monkeypatch.setattr(glyph_drawing, "render", real)
    drawn.clear()
    glyphs.some(root, paths[:20], progress=False)
    assert sorted(drawn) == sorted(names(paths[4:20]))


@pytest.mark.filterwarnings("ignore::ports.datasets.glyphs.GlyphVersionWarning")
@pytest.mark.parametrize("damage", ["cut off", "gone", "not in the record", "no record", "another format", "no JSON"])
def test_what_does_not_count_is_drawn_again(few, damage):
    root, paths, drawn = few
    glyphs.some(root, paths[:6], progress=False)
    victim, record = root / paths[2], root / glyph_parts.RECORD
    said = json.loads(record.read_text())
    if damage == "cut off":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif damage == "gone":
        victim.unlink()
    elif damage == "not in the record":  # stopped between the pictures and the record
        del said["pictures"][paths[2]]
        record.write_text(json.dumps(said))
    elif damage == "another format":
        record.write_text(json.dumps({**said, "format": -1}))
    elif damage == "no JSON":
        record.write_text("{")
    else:  # somebody else's pictures
        record.unlink()
        with pytest.raises(DatasetError, match="holds something else"):
            glyphs.some(root, paths[:6], progress=False)
        return
    drawn.clear()
    glyphs.some(root, paths[:6], progress=False)
    one = damage in ("cut off", "gone", "not in the record")
    assert sorted(drawn) == sorted(names(paths[2:3] if one else paths[:6]))
    assert sorted(glyph_parts.drawn(root)) == sorted(paths[:6])


@pytest.mark.skipif(PIL.__version__ != "12.2.0", reason="pixels are pinned for Pillow 12.2.0")
def test_the_table_knows_the_pinned_pixels_of_a_part(tmp_path, monkeypatch):
    splits = glyphs.make_splits()
    every = glyphs._paths(splits)
    assert len(glyph_parts._table()) == 2 * len(every)
    paths = every[:: len(every) // 7]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        glyphs.some(tmp_path / "set", paths, progress=False)
    digests = glyph_parts.drawn(tmp_path / "set")
    assert glyph_parts.as_pinned(digests, every)
    assert not glyph_parts.as_pinned({**digests, paths[3]: bytes(32)}, every)
    monkeypatch.setattr(glyph_drawing, "INK", (11, 41))  # another rendering
    with pytest.warns(GlyphVersionWarning):
        glyphs.some(tmp_path / "set", every[1:2], progress=False)


@pytest.mark.slow
def test_the_table_is_that_of_the_pinned_pixels(tmp_path):
    if PIL.__version__ != "12.2.0":
        pytest.skip("pixels are pinned for Pillow 12.2.0")
    splits = glyphs.make_splits()
    paths = glyphs._paths(splits)
    (tmp_path / "set").mkdir()
    digests = glyphs._render_all(tmp_path / "set", paths, False)
    assert glyphs._combine(digests, splits) == glyphs.CONTENT_SHA256
    assert glyph_parts.pack(digests[path] for path in paths) == Path(glyph_parts._TABLE).read_bytes()
