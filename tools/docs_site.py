"""Hooks of mkdocs.yml: what a page links to outside of docs/ (../FILE) becomes a page or picture of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(\.\./([\w./-]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the files that are linked to; one that is not there is left, for mkdocs to complain of."""
    from mkdocs.structure.files import File

    linked = {name for page in Path(config["docs_dir"]).glob("*.md") for name in _LINK.findall(page.read_text("utf-8"))}
    for name in sorted(linked):
        if (ROOT / name).is_file():
            files.append(File.generated(config, f"outside/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The links as the site has them."""
    return _LINK.sub(lambda found: f"](outside/{found[1]})" if (ROOT / found[1]).is_file() else found[0], markdown)
