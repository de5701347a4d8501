"""The options of train: in groups for who reads the help, side by side for everybody else."""

import dataclasses

from rggan import TrainConfig
from rggan.cli.main import parse
from rggan.declared import GROUPS


def test_every_option_is_in_one_group_in_the_same_order():
    names = [field.name for kind in GROUPS.values() for field in dataclasses.fields(kind)]
    assert names == [field.name for field in dataclasses.fields(TrainConfig)]
    assert len(set(names)) == len(names)
    assert set(TrainConfig().to_json()) <= set(names)


def test_the_command_line_gives_them_flat():
    config = parse(["train", "digits", "--lr", "0.1", "--networks", "both", "--network", "fastgan", "--mirror", "-n"])
    assert isinstance(config, TrainConfig)
    assert (config.lr, config.networks, config.network) == (0.1, "both", "fastgan")
    assert config.mirror
    assert config.dry_run
