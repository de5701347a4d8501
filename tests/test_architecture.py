"""Imports go down only: who may import whom, read from the source."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rggan
import rggan.pruning
from rggan.networks import FAMILIES
from rggan.pruning import Rule, Schedule

PACKAGE = Path(rggan.__file__).parent
# A module belongs to the first of these names that is a prefix of its own; no floor imports a higher one.
FLOORS = {
    "errors": 0,
    "ranks": 0,
    "bounded": 0,
    "files": 0,
    "memory": 0,
    "ranges": 0,
    "registry": 0,
    "pairs": 1,
    "pretrained": 1,
    "methods": 2,
    "networks": 1,
    "losses": 1,
    "gan": 1,
    "steps": 1,
    "augment": 1,
    "data": 1,
    "config": 2,
    "declared": 2,
    "options": 2,
    "presets": 2,
    "auto": 2,
    "device": 1,
    "generation.sampler": 1,
    "generation.video": 1,
    "generation.walks": 3,
    "generation": 2,
    "run.places": 0,
    "run": 2,
    "pruning": 2,
    "metrics": 2,
    "training.asked": 2,
    "training.screen": 1,
    "training.origin": 3,
    "training.checkpoint": 2,
    "training.progress": 2,
    "training.interrupt": 2,
    "training.ema": 3,
    "training.sparsity": 3,
    "training.callbacks": 3,
    "training.evaluator": 3,
    "training.limits": 3,
    "training.notebook": 3,
    "training.rates": 3,
    "training.rewinding": 3,
    "training.scale": 3,
    "training.signals": 3,
    "training.track": 3,
    "training.trackers": 3,
    "training.hearts": 3,
    "training.together": 3,
    "training.transfer": 3,
    "training.setup": 4,
    "training.needed": 4,
    "training.reading": 4,
    "training.state": 4,
    "training.trainer": 4,
    "training.agreement": 5,
    "training.describe": 5,
    "training.drawing": 5,
    "training.ended": 5,
    "training.instruments": 5,
    "training.estimate": 5,
    "training.keeper": 5,
    "training.loop": 5,
    "training.train": 5,
    "training": 0,  # the package itself: no imports
    "report.plot": 2,
    "report.verdict": 2,
    "report": 5,
    "evaluation": 5,
    "export": 5,
    "cli": 6,
    "__main__": 7,
}
ROOT = ("rggan",)  # the public names: may import everything but the command line


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if name:
            yield name, path


@cache
def walked(text):
    return tuple(ast.walk(ast.parse(text)))


def nodes(path):
    """Of its syntax tree, which several tests look through."""
    return walked(path.read_text())


def floor(name):
    for prefix, level in FLOORS.items():
        if name == prefix or name.startswith(prefix + "."):
            return level
    raise AssertionError(f"{name} has no floor: add it to FLOORS")


def imported(path):
    """The modules of ours that a file imports, anywhere in it, without the leading 'rggan.'."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("rggan.") for alias in node.names if alias.name.startswith("rggan"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "rggan":  # a module of ours, or a public name of the root
                yield from (alias.name if (PACKAGE / f"{alias.name}.py").is_file() else "" for alias in node.names)
            elif node.module and node.module.split(".")[0] == "rggan":
                yield node.module.removeprefix("rggan").lstrip(".")


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_imports_go_down_only(name, path):
    for other in imported(path):
        assert other, f"{name} imports the package root"
        assert floor(other) <= floor(name), f"{name} imports {other}, which stands above it"


def used(path, files):
    """Which of these modules (name -> file) a file imports, anywhere in it; a package only for names of its own."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name.removeprefix("rggan.") in files else node.module for name in inner]
        else:
            continue
        names = [name.removeprefix("rggan.") for name in found if name.startswith("rggan.")]
        yield from (name for name in names if name in files)


def circle(files):
    """Names of modules that import each other in a circle; [] if there are none.

    An import inside a function counts, too: there it only hides the circle.
    """
    try:
        TopologicalSorter({name: set(used(path, files)) for name, path in files.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_circle_of_imports_among_files():
    assert circle(dict(modules())) == []


def test_a_circle_is_seen_wherever_its_imports_stand(tmp_path):
    files = {name: tmp_path / f"{name}.py" for name in ("data", "data.one", "data.two", "data.three")}
    contents = {
        "data": "from rggan.data.one import a",
        "data.one": "import rggan.data.two",
        "data.two": "def late():\n    from rggan.data import three",
        "data.three": "from rggan.data.one import a",
    }
    for name, content in contents.items():
        files[name].write_text(content)
    assert set(circle(files)) == {"data.one", "data.two", "data.three"}
    files["data.two"].write_text("from rggan.errors import three")
    assert circle(files) == []


def test_pruning_imports_torch_and_nothing_else_of_ours():
    own = {
        "bisect",
        "contextlib",
        "copy",
        "fnmatch",
        "functools",
        "gc",
        "inspect",
        "itertools",
        "math",
        "re",
        "sys",
        "warnings",
        "weakref",
    }  # Python's
    allowed = {"torch", "rggan.pruning", "__future__", "collections", "dataclasses", "typing", *own}
    for path in (PACKAGE / "pruning").glob("*.py"):
        for node in nodes(path):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert any(name == ok or name.startswith(ok + ".") for ok in allowed), f"{path.name} imports {name}"


def test_networks_know_nothing_of_pruning():
    for path in (PACKAGE / "networks").glob("*.py"):
        assert not any("prun" in name for name in imported(path))


def test_input_forms_know_nothing_of_who_asks_them():
    """A registry names them, which no import shows."""
    for path in (PACKAGE / "data" / "forms").glob("*.py"):
        for name in imported(path):
            known = ("bounded", "errors", "data.form", "data.mapped", "data.picture", "data.tar")
            assert name in known or name.startswith("data.forms."), path.name


FAMILY_FILES = {name: place.partition(":")[0].removeprefix("rggan.") for name, place in FAMILIES.builtin.items()}


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_a_family_is_named_in_its_own_file_and_in_presets_only(name, path):
    """In code: texts, names and imports; what people read may name it."""
    called = [FAMILIES.get(family).generator.__name__.removesuffix("Generator") for family in FAMILIES.builtin]
    for node in nodes(path):
        words = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        words += [node.id] if isinstance(node, ast.Name) else []
        words += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        words += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for word in words:
            own = [family for family, file in FAMILY_FILES.items() if word == family or word == f"rggan.{file}"]
            own += [each for each in called if re.fullmatch(rf"{each}(Generator|Discriminator)", word)]
            assert not own or name == "presets" or name in FAMILY_FILES.values(), f"{name} names {word}"


def test_rules_and_schedules_are_told_apart_in_pruning_only():
    found = {each.__name__ for each in vars(rggan.pruning).values() if isinstance(each, type)}
    kinds = {each for each in found if issubclass(getattr(rggan.pruning, each), Rule | Schedule)}
    assert {"Threshold", "SET", "ScoreSchedule"} <= kinds
    for name, path in modules():
        for node in nodes(path) if not name.startswith("pruning") else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                asked = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
                assert not asked & kinds, f"{name} asks for {asked & kinds}"


def test_at_most_fifteen_public_names():
    assert len(rggan.__all__) <= 15
    assert all(hasattr(rggan, name) for name in rggan.__all__)


def test_files_stay_small():
    for name, path in modules():
        lines = len(path.read_text().splitlines())
        assert lines <= (320 if name.startswith("pruning") else 400), f"{name} has {lines} lines"


def told(node):
    """The texts of a module that are no docstrings, those of an f-string as one, with {} for what it fills in."""
    joined = [each for each in ast.walk(node) if isinstance(each, ast.JoinedStr)]
    inner = {id(part) for each in joined for part in ast.walk(each) if part is not each}
    for each in ast.walk(node):
        if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner.update(id(s.value) for s in each.body if isinstance(s, ast.Expr))
        if isinstance(each, ast.JoinedStr) and id(each) not in inner:  # no format
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in each.values)
    yield from (
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in inner
    )


def test_below_the_command_line_options_go_by_their_python_names():
    """`name` in backticks, which the command line spells --name. A whole command in backticks may have its flags."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        for text in () if place.startswith("cli/") else told(ast.parse(path.read_text())):
            assert not re.search(r"--[a-z{]", re.sub(r"`rggan [^`]*`", "", text)), f"{place}: {text}"


def test_flags_are_found_in_whatever_a_module_says():
    node = ast.parse('"""--a"""\ndef f():\n    """--b"""\n    g(f"--{c} {d}", "--e" "f")\n    h(f"{i:--j}")')
    assert list(told(node)) == ["--{} {}", "{}", "--ef"]


def test_tyro_stays_at_the_command_line():
    """But for declared/, where the help texts are."""
    for name, path in modules():
        if not name.startswith(("cli", "declared")):
            assert not re.search(r"^\s*(import|from) tyro", path.read_text(), re.M), name
