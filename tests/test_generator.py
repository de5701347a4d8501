"""Saved and loaded; the same seed gives the same picture, alone or among others."""

import json

import numpy as np
import pytest
import torch

from rggan import Generator, UserError
from rggan.networks import SNGANGenerator


@pytest.fixture
def generator():
    network = SNGANGenerator(32, 3, 32, classes=0)
    for module in network.modules():  # statistics and gains as after training: no two seeds look alike
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    config = {"name": "sngan", "resolution": 32, "channels": 3, "width": 32, "z_dim": 128, "classes": 0}
    return Generator(network, {"network": config, "classes": []})


@pytest.fixture
def conditional():
    network = SNGANGenerator(16, 1, 8, classes=3)
    torch.nn.init.normal_(network.blocks[0].norm1.gain.weight)
    config = {"name": "sngan", "resolution": 16, "channels": 1, "width": 8, "z_dim": 128, "classes": 3}
    return Generator(network, {"network": config, "classes": ["cat", "dog", "7"]})


def pixels(pictures):
    return [np.asarray(picture) for picture in pictures]


def test_a_picture_depends_on_its_seed_alone(generator):
    many = generator.images(range(40))
    assert torch.equal(generator.images([17])[0], many[17])
    assert torch.equal(generator.images([39, 3, 17]), many[[39, 3, 17]])
    assert len({tuple(image.flatten().tolist()) for image in many}) == 40


def test_call_gives_pictures_of_consecutive_seeds(generator):
    pictures = pixels(generator(3, seed=5))
    assert pictures[0].shape == (32, 32, 3)
    expected = generator.images([5, 6, 7]).permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(a, b) for a, b in zip(pictures, expected, strict=True))
    assert generator(0) == []


@pytest.mark.parametrize("as_file", [False, True])
def test_saved_and_loaded_makes_the_same_pictures(generator, tmp_path, as_file):
    generator.save(tmp_path / "g")
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["config.json", "generator.safetensors"]
    path = tmp_path / "g" / "generator.safetensors" if as_file else tmp_path / "g"
    assert torch.equal(Generator.from_pretrained(path).images(range(5)), generator.images(range(5)))


def test_run_folder_means_its_best_snapshot(generator, conditional, tmp_path):
    generator.save(tmp_path / "best")
    conditional.save(tmp_path / "last")
    assert torch.equal(Generator.from_pretrained(tmp_path).images([1]), generator.images([1]))


def test_channels_last_weights_are_saved_too(generator, tmp_path):
    expected = generator.images([1])
    generator.network.to(memory_format=torch.channels_last)
    generator.save(tmp_path)
    assert torch.equal(Generator.from_pretrained(tmp_path).images([1]), expected)


def test_layout_of_the_network_does_not_show_in_the_pictures(generator):
    expected = generator.images(range(20))
    other = Generator(generator.network.to(memory_format=torch.channels_last), generator.config)
    assert torch.equal(other.images(range(20)), expected)


def test_classes_by_name_and_number(conditional):
    seeds = range(30)
    by_class = [conditional.images(seeds, name) for name in ("cat", 1, "7")]
    assert torch.equal(by_class[1], conditional.images(seeds, "dog"))
    assert torch.equal(by_class[2], conditional.images(seeds, 2))
    drawn = conditional.images(seeds)  # each seed draws its own
    which = [next(k for k in range(3) if torch.equal(drawn[i], by_class[k][i])) for i in seeds]
    assert set(which) == {0, 1, 2}
    with pytest.raises(UserError, match="no class bird; there are cat, dog, 7"):
        conditional.images([0], "bird")
    with pytest.raises(UserError, match="no class 3"):
        conditional.images([0], 3)


def test_class_for_an_unconditional_generator_is_refused(generator):
    with pytest.raises(UserError, match="without classes"):
        generator.images([0], 0)


def damage_weights(folder):
    (folder / "generator.safetensors").write_bytes((folder / "generator.safetensors").read_bytes()[:1000])


def damage_json(folder):
    (folder / "config.json").write_text("{")


def other_width(folder):
    config = json.loads((folder / "config.json").read_text())
    config["network"]["width"] = 16
    (folder / "config.json").write_text(json.dumps(config))


def newer(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 99}))


def other_network(folder):
    config = json.loads((folder / "config.json").read_text())
    config["network"]["name"] = "biggan9"
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_weights, "damaged or foreign"),
        (damage_json, "damaged or foreign"),
        (other_width, "damaged or foreign"),
        (newer, "newer rggan"),
        (other_network, "Unknown network biggan9"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(generator, tmp_path, damage, message):
    generator.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        Generator.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"no generator\.safetensors"):
        Generator.from_pretrained(tmp_path / "nowhere")
