"""The documentation site: files of the root become pages of it, and links lead to the same places there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
PLACES = PAGES | {
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE.txt",
    "examples/first_hour.ipynb": "first_hour.ipynb",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    for name, place in PLACES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return moved(markdown, page.file.src_uri)


def moved(markdown: str, page: str) -> str:
    """A page's text with links as they are on the site; a file that is not part of the site is named instead of linked.

    >>> moved("[a](docs/data.md#b), [the licence](LICENSE)", "index.md")
    '[a](data.md#b), [the licence](LICENSE.txt)'
    >>> moved("[rows](../studies/queue.py), [start](../README.md), [lost](nowhere.md)", "results.md")
    'rows, [start](index.md), [lost](nowhere.md)'
    """
    folder = "" if page in PAGES.values() else "docs"

    def link(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (ROOT / path).exists():
            return match[0]  # mkdocs says so
        if path in PLACES:
            return f"{picture}[{text}]({PLACES[path]}{anchor or ''})"
        if path.startswith("docs/"):
            return f"{picture}[{text}]({path.removeprefix('docs/')}{anchor or ''})"
        return text

    return LINK.sub(link, markdown)
