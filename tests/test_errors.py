"""Bad input: one kind of error, one sentence, and who may catch it."""

import json

import pytest
import torch

from rggan import Pruner, TrainConfig, UserError
from rggan.cli.main import main
from rggan.pruning import Schedule


def test_bad_input_is_a_value_error():
    assert issubclass(UserError, ValueError)
    with pytest.raises(ValueError, match=r"^`kimg` must be above 0, not -1\.$"):
        TrainConfig(kimg=-1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "digits", "--kimg", "-1"], "--kimg must be above 0, not -1.0."),
        (["evaluate", "digits", "--samples", "1"], "--samples must be at least 2, not 1."),
        (["plot", "run", "--out", "a.jpg"], "--out is a picture whose name ends in .png, not a.jpg."),
        (["compare", "run"], "run is no run (a folder of `rggan train` with its config.json)."),
    ],
)
def test_the_parser_puts_no_words_of_its_own_around_it(arguments, sentence, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"rggan: {sentence}\n"


def test_a_file_of_options_says_what_is_wrong_with_one_and_nothing_else(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"kimg": -1}))
    with pytest.raises(UserError, match=r"^`kimg` must be above 0, not -1\.$"):
        TrainConfig.from_json(path)


def test_a_schedule_of_ones_own_may_raise_it():
    class Refuses(Schedule):
        def wants_to_prune(self, score):
            raise UserError("This score is of other images.")

    model = torch.nn.Linear(3, 2)
    schedule = Refuses(Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1)))
    with pytest.raises(UserError, match="This score is of other images"):
        schedule.step(1.0)
