"""The documentation site: every page is in it, every link leads somewhere, and nothing is asked of other hosts."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("material", reason="needs rggan[docs]")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=quiet, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    done = build(ROOT, site)
    assert done.returncode == 0, done.stderr
    return site


class Page(HTMLParser):
    """What a page loads, and its text outside code."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag in ("pre", "script", "style") else []
        given = dict(attributes)
        self.loads += [given.get(key) or "" for key in ("src", "srcset", "poster", "data") if key in given]
        self.loads += [given.get("href") or ""] if tag == "link" and given.get("rel") != "canonical" else []

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.open.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.text.append(data)


def test_every_page_is_built_asks_no_other_host_and_leaves_no_list_as_text(site: Path) -> None:
    pages = {path.name: Page(path) for path in site.glob("*.html")}
    sources = {path.stem + ".html" for path in (ROOT / "docs").glob("*.md")}
    assert sources | {"index.html", "changelog.html", "contributing.html"} <= pages.keys()
    for name, page in pages.items():
        assert page.loads, name
        assert [place for place in page.loads if re.match(r"(https?:)?//", place)] == [], name
        # GitHub starts a list or a table right below a paragraph; here an empty line has to stand between
        assert re.findall(r"^(?:[-*] |\d+\. |\|).*", "".join(page.text), re.M) == [], name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_no_page_is_in_the_navigation_twice() -> None:
    pages = re.findall(r"^ +- [^:]+: (\S+\.md)", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert len(pages) > 10
    assert len(pages) == len(set(pages))


def test_the_readme_is_the_start_with_links_that_work_there(site: Path) -> None:
    start = (site / "index.html").read_text()
    readme = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(docs/([^)#]+)", readme):
        assert f'"{re.sub(r"[.]md$", ".html", target)}' in start, target


def test_a_page_outside_the_navigation_and_links_that_lead_nowhere_fail(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "docs" / "stray.md").write_text("# Stray\n")
    with (tmp_path / "docs" / "data.md").open("a") as page:
        page.write("\n[a](nowhere.md) [b](running.md#no-such-heading) ![c](images/none.png)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    for told in ("stray.md", "'nowhere.md'", "#no-such-heading", "'images/none.png'"):
        assert told in done.stderr, told


def test_links_are_moved_as_the_hook_says() -> None:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec
    assert spec.loader
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    failed, tried = doctest.testmod(hooks)
    assert tried
    assert not failed
