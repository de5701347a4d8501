"""Sentences name options as Python does; the command line names them as it takes them."""

import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from rggan.cli.main import COMMANDS, Flags, kind, main
from rggan.cli.spelling import SpellingConsole, flags, spelled


def test_the_options_of_the_command_come_first_and_those_of_others_are_known():
    assert Flags("generate")["label"] == "class"
    assert Flags("generate")["cond"] == "cond"
    assert Flags("train")["data"] == "data"  # may be named, though it stands by its place
    assert "runs" not in Flags("compare")
    assert dict(Flags("nonsense")) == dict(Flags(""))  # of all


def test_without_a_command_it_says_which_there_are(capsys):
    for words, code in (([], 2), (["--help"], 0)):
        assert main(words) == code
        told = "".join(capsys.readouterr())
        assert all(f"\n  {command} " in told for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_one_that_the_command_shows(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    missing = [
        flag
        for name, flag in flags(kind(command)).items()
        if name != "data" and not re.search(f"--(no-)?{flag}\\b", shown)
    ]
    assert not missing


def test_what_is_printed_is_spelled_and_what_is_kept_is_not(tmp_path, capsys):
    for name in ("a", "b"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / f"{name}.png")
    line = ["check", str(tmp_path), "--sheet", str(tmp_path.parent / "sheet.png"), "--no-measure"]
    assert main(line) == 0
    assert "--fix OUT leaves the copies out" in capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    assert any("--fix OUT leaves the copies out" in each for each in json.loads(capsys.readouterr().out)["advice"])


def test_a_switch_is_named_by_the_side_that_was_given(capsys):
    assert (
        main(["train", "digits", "--network", "sngan", "--finale", "0.2", "--no-finale-dense", "--networks", "d"]) == 2
    )
    assert "--no-finale-dense keeps G sparse" in capsys.readouterr().err


def test_a_console_leaves_alone_what_is_no_text(capsys):
    SpellingConsole({"lr": "lr"}).print("`lr` and", ["`lr`"])
    assert capsys.readouterr().out == "--lr and\n['`lr`']\n"


def test_whole_commands_and_other_names_stay():
    text = "run `rggan evaluate a --reference b`, or see `Pruner`, `kimg`s and `lr=3`"
    assert spelled(text, {"lr": "lr"}) == text


def test_trust_takes_a_place(capsys):
    for command in (["generate", "run", "--outdir", "out"], ["evaluate", "run"], ["compare", "a", "--against", "b"]):
        assert main([*command, "--trust", "my_networks"]) == 2
        assert capsys.readouterr().err == "rggan: --trust takes package.module:OBJECT, not my_networks.\n"


@pytest.mark.slow
def test_a_console_whose_reader_went_away_ends_quietly():
    code = "from rggan.cli.spelling import SpellingConsole as C; c = C({}); [c.print('a' * 99) for _ in range(9999)]"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ended:
        ended.stdout.close()
        told = ended.stderr.read()
    assert (told, ended.returncode) == (b"", 141)
