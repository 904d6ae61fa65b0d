"""Names that would be markup, formulas or other directions are shown in reports, and do nothing there."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from paper_recipes import registry
from paper_recipes.runner.reports import compare, figures, leaderboard, page, seen, words

RECIPE = registry.get("ms-cub+seed=3")
HOSTILE = [
    "own <img src=x onerror=\"document.title='ran'\">",
    "<script>document.title='ran'</script>",
    "</td></tr></table><svg onload=document.title='ran'>",
    "[a](javascript:document.title='ran') ![b](http://127.0.0.1/x.png) <http://a.b>",
    "**bold** _it_ `code` ~~no~~ $\\frac{$ | cell\n\n# heading\n\n- list",
    "`</code><b>` | x",
    "&lt;b&gt; &#60;b&#62; \\<b> \\",
    "\u05d0\u05d1\u05d2 \u202egnp.exe \udcff \x1b[31m \x00",
    '" onmouseover="x" \'',
    "[red]x[/] [/foo] [link=http://a.b]y",
    "- item",
    "1. one",
    "> quote",
    "# heading",
    "    code __init__ a__b__ _c_ d_e",
]


def record(hostile: str) -> dict:
    """A run record in which everything that is not a number or a table is `hostile`."""
    facts = {"images": 8, "classes": 2, "fingerprint": hostile}
    return {
        "recipe": RECIPE.name,
        "form": "own",
        "fingerprint": hostile,
        "seed": hostile,
        "device": hostile,
        "git_sha": hostile,
        "git_dirty": True,
        "project_version": hostile,
        "source_sha256": hostile,
        "versions": {"torch": hostile},
        "environment": {"python": hostile, "x" + hostile: 1},
        "data": {
            "name": hostile,
            "root": hostile,
            "train": facts,
            "test": facts,
            "class_names": {"0": hostile, "1": hostile},
        },
        "weights": {"file": hostile},
        "history": [{"event": "start", "iteration": 0, "at": hostile, "options": {"data": hostile}}],
        "status": f"failed in iteration 2: {hostile}",
        "diverged": {"line": hostile},
        "iterations": hostile,
        "batch": hostile,
    }


def make_run(out: Path, hostile: str) -> Path:
    out.mkdir()
    (out / "run.json").write_text(json.dumps(record(hostile)))
    nets = {name: {"R@1": 50.0, "R@2": 60.0} for name in (*RECIPE.embeddings, f"net {hostile}")}
    row = {"iteration": 0, "metrics": nets, "hits": {}, "queries": 8}
    (out / "evaluations.jsonl").write_text(json.dumps(row) + "\n")
    (out / "steps.jsonl").write_text(json.dumps({"iteration": 1, "lr": 1.0, "losses": {f"loss {hostile}": 1.0}}) + "\n")
    pixels = out / "a picture's name <b>.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(pixels)
    near = [{"file": str(pixels), "label": 1, "cosine": 0.5}]
    grid = {"iteration": 0, "rows": [{"query": str(pixels), "label": 0, "neighbours": near}]}
    (out / "neighbours.json").write_text(json.dumps(grid))
    page.write(out, [{"link": "weights", "reference": hostile, "verdict": hostile}])
    return out


class Structure(HTMLParser):
    """Elements with their attributes, and the text that is seen."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple] = []
        self.seen = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        # The names stand in the pictures, whose bytes differ; their words are text.
        known = {"src": lambda value: value[:22], "alt": lambda value: ""}
        self.elements.append((tag, *((key, known.get(key, str)(value)) for key, value in attributes)))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("/" + tag,))

    def handle_data(self, data: str) -> None:
        self.seen += data


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain") / "run", "harmless")


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_a_page_has_the_elements_of_a_page_of_harmless_names(plain, tmp_path, hostile):
    """In the HTML that we write, and in that which a viewer makes of our Markdown who lets HTML through."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib's of a missing glyph
        run = make_run(tmp_path / "run", hostile)
    viewer = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    for read in (
        lambda out: (out / "report.html").read_text(),
        lambda out: viewer.render((out / "report.md").read_text()),
    ):
        ours, theirs = Structure(read(run)), Structure(read(plain))
        assert ours.elements == theirs.elements
        assert words.shown(hostile).strip() in ours.seen, "the text is shown"


def test_the_check_sees_what_it_is_for(plain, tmp_path, monkeypatch):
    """Without the escaping, nearly all of these names are found."""
    monkeypatch.setattr(page, "_draw", lambda *args: ["losses.png", "recall.png", "retrieval.png"])
    monkeypatch.setattr(page, "text", words.shown)
    monkeypatch.setattr(seen, "text", words.shown)
    monkeypatch.setattr(seen, "draw", lambda *args: seen.Seen(["chain.png", "retrieval.png"], []))
    monkeypatch.setattr(words, "text", words.shown)
    viewer = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    expected = Structure(viewer.render((plain / "report.md").read_text())).elements
    missed = []
    for number, hostile in enumerate(HOSTILE):
        run = make_run(tmp_path / str(number), hostile)
        if Structure(viewer.render((run / "report.md").read_text())).elements == expected:
            missed.append(number)
    assert missed == [8, 9]  # quotes and marks of terminals are none of Markdown


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_no_script_runs_in_a_browser(tmp_path):
    def dom(file: Path) -> str:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
        done = subprocess.run([*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-1000:]
        return done.stdout

    run = make_run(tmp_path / "run", " ".join(words.shown(name) for name in HOSTILE))
    assert f"<title>{html.escape(RECIPE.title)}</title>" in dom(run / "report.html")
    control = tmp_path / "control.html"
    control.write_text(f"<!doctype html><title>quiet</title><body>{HOSTILE[0]}")
    assert "<title>ran</title>" in dom(control), "a page without escaping is seen to run it"


def test_other_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "_draw", lambda *args: [])
    for number, hostile in enumerate(HOSTILE):
        run = make_run(tmp_path / str(number), hostile)
        rows = compare.lines([run])
        assert len(rows[0].data.splitlines()) >= 1
        markdown = compare.as_text(*compare.table(rows), "markdown")
        assert len(markdown.splitlines()) == 2 + len(rows)
        assert "<" not in markdown.replace(r"\<", "")
        compare.plot(rows, tmp_path / "plot.png")
        compare.as_text(*compare.table(rows), "latex").encode()
    leaderboard.show(tmp_path)
    assert words.latex(r"a_b\c{d}^~$1 & 50%#") == (
        r"a\_b\textbackslash{}c\{d\}\textasciicircum{}\textasciitilde{}\$1 \& 50\%\#"
    )


def test_names_without_markup_are_left_as_they_are():
    for name in ("own folder my_folder", "sampler.classes_per_batch 60 -> 2", "2026-11-26T07:00:00+00:00", "a (b), c!"):
        assert words.text(name) == name
    assert words.text("-x") == r"\-x" and words.text("1. x") == r"1\. x" and words.text("34.09") == "34.09"


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("plain Ж é", "plain Ж é"),
        (r"$\frac{$ and $5", r"\$\frac{\$ and \$5"),
        ("中 U+10FFFF \U0010ffff", "\ufffd U+10FFFF \ufffd"),
        ("a\tb\nc\x00d\ue000", "a b c\ufffdd\ufffd"),
        ("שלום", "םולש"),
        ("cat שלום עולם 12 dog", "cat םלוע םולש 12 dog"),
        ("(שלום 12.5 עולם)", "(םלוע 12.5 םולש)"),
        ("שָׁלוֹם", "ם" + "וֹ" + "ל" + "שָׁ"),
        ("x" * 60, "x" * 39 + "…"),
        (7, "7"),
    ],
)
def test_what_matplotlib_is_given(name, drawn, monkeypatch):
    monkeypatch.setattr(words, "_turns_around", lambda: False)  # as before 3.11
    assert words.drawn(name) == drawn


def test_a_matplotlib_that_turns_words_around_gets_them_as_they_are(monkeypatch):
    monkeypatch.setattr(words, "_turns_around", lambda: True)
    assert words.drawn("cat שלום 12 $") == r"cat שלום 12 \$"
    assert words.drawn("中") == "\ufffd"


def test_a_formula_is_no_formula_in_a_picture(tmp_path):
    """What kills a figure when it is given as it is."""
    with pytest.raises(ValueError, match="Expected"):
        figures.plt.figure().suptitle(r"$\frac{$")
        figures.plt.savefig(tmp_path / "dead.png")
    figures.plt.close("all")
    figures.recall_over_k(tmp_path / "k.png", [(r"$\frac{$ (x)", [(1, 50.0), (10, 60.0)], False)])
