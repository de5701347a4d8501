"""The studies are a package beside the installed one: they import it, it does not import them."""

import ast
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import rggan
import studies
from studies.__main__ import STUDIES as STUDIES_BY_NAME
from studies.__main__ import stages_of

STUDIES = Path(studies.__file__).parent


@pytest.mark.slow
def test_rggan_imports_no_study():
    for path in Path(rggan.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "studies" for name in names), path


@pytest.mark.slow
def test_every_module_imports_from_any_folder(tmp_path):
    names = sorted(f"studies.{path.stem}" for path in STUDIES.glob("*.py") if path.stem != "__init__")
    assert "studies.capacity" in names
    environment = {**os.environ, "PYTHONPATH": str(STUDIES.parent)}
    command = [sys.executable, "-c", "import " + ", ".join(names)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_shell_files_call_modules_that_exist():
    for path in (STUDIES.parent / "runs").glob("*.sh"):
        words = path.read_text().split()
        for name in (word for before, word in pairwise(words) if before == "-m"):
            place = STUDIES.parent / name.replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), (path.name, name)


def test_shell_files_name_studies_stages_and_results_that_exist():
    seen = set()
    for path in (STUDIES.parent / "runs").glob("*.sh"):
        text = path.read_text()
        for study, rows in re.findall(r"study=\((\w+) .*--rows (\S+)\)", text):
            assert (STUDIES.parent / rows).is_file(), rows
            seen.add(study)
            stages = set(stages_of(study, Path("pictures")))
            for names in re.findall(r'work "\$\{study\[@\]\}" ([\w ]+)', text):
                assert set(names.split()) <= stages, (path.name, names)
    assert seen == set(STUDIES_BY_NAME)
