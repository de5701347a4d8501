"""What people install: the wheel and the source archive, built and looked into; the citation, the changelog."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import rggan

ROOT = Path(__file__).parents[1]
PACKAGE = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "rggan").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


def run(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both archives; the wheel is built from the source archive, as `make dist` does it."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Iterator[zipfile.ZipFile]:
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    assert {"rggan/py.typed", "rggan/metrics/weights/steering.safetensors"} <= PACKAGE
    about = f"rggan-{rggan.__version__}.dist-info/"
    names = set(wheel.namelist())
    assert {name for name in names if not name.startswith(about)} == PACKAGE
    assert about + "licenses/LICENSE" in names


@pytest.mark.slow
def test_the_source_archive_builds_and_leaves_pictures_and_rows_out(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert (
        PACKAGE | {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "docs/method.md"} <= names
    )
    assert not {
        name for name in names if re.match(r"(tests|studies|benchmarks|runs|docs/images)/|docs/.*\.jsonl?$", name)
    }
    assert path.stat().st_size < 5e6


@pytest.mark.slow
def test_the_metadata_is_whole_and_the_description_points_nowhere_inside_the_repository(
    dist: Path, wheel: zipfile.ZipFile
) -> None:
    run("-m", "twine", "check", "--strict", *map(str, dist.iterdir()))
    told = metadata(wheel)
    assert told["Name"] == "rggan"
    assert told["Version"] == rggan.__version__
    assert told["License-Expression"] == "Apache-2.0"
    description = str(told.get_payload())
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)[^)]*\)", readme)
    assert links
    assert all(text in description for text in links)
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", description) == []
    assert len(description) > 0.8 * len(readme)


@pytest.mark.slow
def test_an_installed_wheel_runs_away_from_the_repository(dist: Path, tmp_path: Path) -> None:
    (path,) = dist.glob("*.whl")
    site = tmp_path / "site"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(path))
    ask = f"import sys; sys.path.insert(0, {str(site)!r}); import rggan; print(rggan.__version__, rggan.__file__)"
    version, place = run("-I", "-c", ask, cwd=tmp_path).split()
    assert version == rggan.__version__
    assert Path(place).is_relative_to(site)
    command = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from rggan.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    assert run("-I", "-c", command, "--version", cwd=tmp_path).split() == ["rggan", rggan.__version__]
    assert "--seeds" in run("-I", "-c", command, "generate", "--help", cwd=tmp_path)


def test_the_citation_names_this_version_and_the_paper() -> None:
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= cited.keys()
    assert cited["version"] == rggan.__version__
    (paper,) = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Saxena", "Cao", "Xu", "Kulshrestha"]
    readme = (ROOT / "README.md").read_text().replace("\n", " ")
    assert paper["title"] in readme


def test_the_changelog_begins_with_what_is_unreleased_and_knows_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]( - \d{4}-\d\d-\d\d)?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == ("Unreleased", "")
    assert rggan.__version__ in [name for name, date in versions if date]


def test_the_page_on_installing_knows_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "installing.md").read_text()
    table = page[page.index("| extra |") : page.index("## In a container")]
    assert {name for row in re.findall(r"^\| (`.+?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)} == set(
        extras
    )
