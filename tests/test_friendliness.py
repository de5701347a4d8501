"""The table of what comes with it: whole, and each "yes" of rggan's leads to the place that says how."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "friendliness.md"
LINK = re.compile(r"\[yes\]\(([^)#]+)(?:#([^)]+))?\)")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().split("\n\n")[2].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def slugs(text: str) -> set[str]:
    """Names of a page's headings in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_cell_is_filled_and_every_repository_is_named_with_what_was_read() -> None:
    head, _, *body = rows()
    assert head[1] == "rggan"
    assert len(body) == 20
    assert all(len(row) == len(head) and all(row) for row in body)
    read = re.findall(r"^\| (\S+/\S+) \| .*commit [0-9a-f]{7} of \d{4}-\d\d-\d\d \|$", PAGE.read_text(), re.M)
    assert len(read) == len(head) - 2


def test_rggan_has_each_and_links_to_a_heading_that_is_there() -> None:
    for row in rows()[2:]:
        links = LINK.findall(row[1])
        assert links, row
        for target, anchor in links:
            page = PAGE.parent / target
            assert page.exists(), row
            assert not anchor or anchor in slugs(page.read_text()), row
