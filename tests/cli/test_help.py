"""What help shows: every option once, on one line for train, with the meanings of its values; the page of options."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rggan import TrainConfig
from rggan.cli.help import help_of, options_of, page
from rggan.cli.main import COMMANDS, kind, main
from rggan.cli.spelling import flags
from rggan.cli.train import TrainOptions
from rggan.declared import GROUPS
from rggan.methods import RULES, SCHEDULES
from rggan.networks import FAMILIES
from rggan.presets import PRESETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("columns", [79, 119])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_shown_once_and_no_line_is_torn(command, columns):
    shown = help_of(command, kind(command), GROUPS if command == "train" else None, columns)
    assert max(map(len, shown.splitlines())) <= columns
    heads = [line for line in shown.splitlines() if re.match(r"  -", line)]
    found = re.findall(r"^  (?:-\w, )?--([\w-]+)", shown, re.M)
    own = {flag for name, flag in flags(kind(command)).items() if name != "data"}
    assert sorted(each.removeprefix("no-") for each in found) == sorted(own)
    assert len(heads) == len(own)
    if command == "train":
        values = sum(len(option.values) for option in options_of(TrainOptions))
        indented = [line for line in shown.splitlines() if line.startswith("  ")]
        assert len(indented) == len(own) + values  # a line for each


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described(command):
    assert [option.flag for option in options_of(kind(command)) if len(option.line) < 10] == []


def test_groups_are_in_order_and_what_is_often_used_comes_early():
    shown = help_of("train", TrainOptions, GROUPS, 79)
    assert re.findall(r"^(\w+):$", shown, re.M) == list(GROUPS)
    assert "--no-dry-run" not in shown
    early = "\n".join(shown.splitlines()[:29])
    assert all(f"--{option} " in early for option in ("resolution", "outdir", "resume", "device", "seed", "dry-run"))


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("--rule", [*RULES.builtin, "none"]),
        ("--schedule", list(SCHEDULES.builtin)),
        ("--network", list(FAMILIES.builtin)),
        ("--cfg", list(PRESETS)),
        ("--aug", ["diff", "ada", "none"]),
    ],
)
def test_each_value_has_its_meaning(option, names):
    found = {each.flag: each for group in GROUPS.values() for each in options_of(group)}[option]
    assert sorted(value for value, _ in found.values) == sorted(names)
    assert all(len(meaning.split()) > 1 for _, meaning in found.values)


def test_the_page_of_options_is_made_of_the_same_declarations():
    """python -m rggan.cli.help > docs/options.md"""
    text = (ROOT / "docs" / "options.md").read_text()
    assert text == page(TrainOptions, GROUPS)
    for field in dataclasses.fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')}" in text or f"--no-{field.name.replace('_', '-')}" in text, field.name


def test_help_stands_anywhere(capsys):
    for words in (["train", "--help"], ["train", "pictures", "--kimg", "5", "-h"], ["plot", "-h"]):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith(f"usage: rggan {words[0]} ")


LIBRARIES = ("torch", "matplotlib", "sklearn", "scipy", "numpy", "PIL")
OF_OTHERS = ("scipy", "torch.distributed.fsdp", "torch.distributed.tensor", "sklearn")  # each takes a second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], LIBRARIES),
        (["--version"], LIBRARIES),
        (["trian"], LIBRARIES),
        (["train", "--help"], OF_OTHERS),
        (["check", "nowhere"], (*OF_OTHERS, "matplotlib")),
    ],
)
def test_only_what_a_command_needs_is_imported(words, heavy):
    code = (
        f"import sys; from rggan.cli.main import main; main({words}); print([m for m in sys.modules if m in {heavy}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
