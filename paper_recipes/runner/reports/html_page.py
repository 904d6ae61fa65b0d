"""One HTML file that needs nothing beside it: style, pictures and text in it; no script, light and dark, made to be printed."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from markdown_it import MarkdownIt

from paper_recipes.runner.reports.words import shown

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --card: #f6f8fa; --page: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --line: #3d444d; --card: #1c2128; --page: #0d1117 } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 1.2rem 1rem 4rem; color: var(--ink);
  background: var(--page); overflow-wrap: break-word }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .4rem 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
.note, figcaption { color: var(--soft); font-size: .88rem; margin: .3rem 0 }
.verdict { font-size: 1.15rem; font-weight: 600; border-left: .35rem solid; padding: .5rem .8rem; margin: .8rem 0; background: var(--card) }
.good { border-color: #237a3b } .bad { border-color: #b3263a } .open { border-color: #6b7280 }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.7rem, 1fr)); gap: .7rem }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem; background: var(--card) }
.tile b { display: block; white-space: nowrap; font-size: 2.1rem; line-height: 1.15; font-variant-numeric: tabular-nums } .tile small { font-size: 1rem }
.tile span { display: block; font-size: .85rem; color: var(--soft) } .tile .name { font-weight: 600; color: var(--ink) }
.chain { list-style: none; display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; padding: 0 1.4rem 0 0; margin: .6rem 0 }
.chain li { position: relative; border: 0 solid; border-radius: .4rem; color: #fff; font-size: .92rem; max-width: 100% }
.chain li:not(:last-child)::after { content: "→"; position: absolute; right: -1.3rem; top: .3rem; color: var(--soft) }
.chain .good { background: #237a3b } .chain .bad { background: #b3263a } .chain .open { background: #6b7280 }
.chain summary { cursor: pointer; padding: .3rem .7rem } .chain dl { margin: 0; padding: .2rem .7rem .6rem; max-width: 22rem }
.chain dt { font-size: .75rem; opacity: .85 } .chain dd { margin: 0 0 .3rem }
table { border-collapse: collapse; margin: .8rem 0; display: block; overflow-x: auto; max-width: 100% }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; vertical-align: top } th { background: var(--card) }
td { font-variant-numeric: tabular-nums } img { max-width: 100%; height: auto; background: #fff; border-radius: .4rem }
code { background: var(--card); padding: 0 .25em; border-radius: .25em }
blockquote { border-left: .3rem solid #c69026; margin: .8rem 0; padding: .1rem 1rem; background: var(--card) }
@media print { body { max-width: none; font-size: 11pt; padding: 0 } table { display: table; font-size: 9pt }
  img { max-width: min(100%, 14cm); max-height: 21cm } td:last-child { overflow-wrap: anywhere } img, .tile, tr, li, p { break-inside: avoid }
  h2, p:has(+ p > img), p:has(+ table) { break-after: avoid } .chain li, .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""
# No script runs in the page, whatever should get into it; its pictures are in it.
_POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
_PICTURE = re.compile(r'<img src="([\w.-]+\.png)"')


def page(title: str, header: str, markdown: str, folder: Path) -> str:
    """The file's text. `header`: HTML, escaped by whoever made it; `markdown`: the rest; pictures it names lie in `folder`."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = _PICTURE.sub(lambda found: f'<img src="{_data(folder / found[1])}"', body)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_POLICY}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(shown(title))}</title><style>{_STYLE}</style></head><body>{header}{body}</body></html>\n"
    )


def _data(path: Path) -> str:
    if not path.is_file():
        return path.name
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
