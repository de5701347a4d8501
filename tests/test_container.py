"""The container file: linted, its files there and not left out, nobody's root, the command that is installed."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if not hadolint:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def left_out(name: str) -> bool:
    """Whether .dockerignore keeps a file of the root out: the last line that fits decides."""
    answer = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(name, line.removeprefix("!")):
            answer = not line.startswith("!")
    return answer


def test_what_is_copied_is_there_and_is_all_that_is_sent() -> None:
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M) for name in line.split()}
    assert {"pyproject.toml", "README.md", "LICENSE", "rggan"} <= copied  # what the package is built from
    assert all((ROOT / name).exists() for name in copied)
    assert {path.name for path in ROOT.iterdir() if not left_out(path.name)} == copied


def test_it_runs_the_installed_command_as_nobody_special_with_the_torch_of_the_package() -> None:
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE, re.M)
    assert user not in ("root", "0")
    (command,) = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.M)
    assert json.loads(command)[0] in PROJECT["scripts"]
    (torch,) = (wanted for wanted in PROJECT["dependencies"] if wanted.startswith("torch"))
    assert f'"{torch}"' in DOCKERFILE
    (extras,) = re.findall(r"/source\[([\w,]+)\]", DOCKERFILE)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
