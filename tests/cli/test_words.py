"""Words that a command cannot have: one sentence that names them and what is taken instead, whatever the command."""

import pytest

from rggan import TrainConfig, UserError
from rggan.cli.main import COMMANDS, main


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train pics extra", "`rggan train` takes one PICTURES, and extra stands beside pics"),
        ("train pics --kimg abc", "--kimg takes a number, not abc"),
        ("train pics --kimg=abc", "--kimg takes a number, not abc"),
        ("train pics --batch 1e3", "--batch takes a whole number, not 1e3"),
        ("train pics --max-images many", "--max-images takes a whole number, not many"),
        ("train pics --resize zoom", "--resize takes crop, fit or stretch, not zoom"),
        ("train pics --no-mirror=3", "--no-mirror takes no value, and 3 is given"),
        ("train pics -x", "There is no option -x"),
        ("train pics -- more", "`rggan train` takes one PICTURES, and more stands beside pics"),
        ("check pics --json yes", "`rggan check` takes one DATA, and yes stands beside pics"),
        ("check", "`rggan check` needs DATA"),
        ("generate", "`rggan generate` needs RUN and --outdir"),
        ("generate run", "`rggan generate` needs --outdir"),
        ("generate run --outdir out --walk 2.5", "--walk takes a whole number, not 2.5"),
        ("generate run --outdir out --class-mix odd", "--class-mix takes data or even, not odd"),
        ("evaluate run --samples few", "--samples takes a whole number, not few"),
        ("compare a b -- c d --format pdf", "--format takes text, markdown, latex, csv or json, not pdf"),
        ("show a -x", "There is no option -x"),
        ("plot a --out b c d", "`rggan plot` takes RUN... one after another, and c d stands apart from a"),
    ],
)
def test_words_that_a_command_cannot_have_are_one_sentence(words, sentence, capsys):
    assert main(words.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"rggan: {sentence}; see `rggan {words.split()[0]} --help`.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "train digits --aug dif",
            "--aug takes diff, ada or none, not dif; did you mean diff? See `rggan train --help`.",
        ),
        ("train digits --network sgan", "package.module:OBJECT; did you mean sngan?"),
        ("train digits --cfg atuo", "; did you mean auto?"),
        ("train digits --rule treshold", "; did you mean threshold?"),
        ("compare a b -- c d --format latx", "not latx; did you mean latex? See `rggan compare --help`."),
    ],
)
def test_a_mistyped_value_has_the_nearest_one(words, sentence, capsys):
    assert main(words.split()) == 2
    assert capsys.readouterr().err.endswith(f"{sentence}\n")


def test_a_mistyped_value_has_the_nearest_one_in_python():
    with pytest.raises(UserError, match=r"^`aug` is one of diff, ada, none, not dif; did you mean diff\?$"):
        TrainConfig(aug="dif")


def test_help_is_a_command_too(capsys):
    for words, same in (["help"], ["--help"]), (["help", "plot"], ["plot", "--help"]), (["help", "--help"], ["--help"]):
        assert main(words) == main(same) == 0
        told = capsys.readouterr().out
        assert told[: len(told) // 2] == told[len(told) // 2 :]
        assert told.startswith("usage: rggan")
    assert main(["help", "plto"]) == 2
    assert "no command plto; did you mean plot?" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_draws_a_box(name, capsys):
    assert main([name, "a", "-y"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not set("╭│─") & set(told)
