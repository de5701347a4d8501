"""Saved and loaded; the same seed gives the same picture to one grey level, alone or among others."""

import errno
import json
import os
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import kstest, truncnorm

from rggan import Generator, UserError
from rggan.data.pictures import to_uint8
from rggan.generation.build import build
from rggan.generation.storage import migrate
from rggan.networks.sngan import SNGANGenerator


@pytest.fixture
def generator():
    network = SNGANGenerator(32, 3, 32, classes=0)
    for module in network.modules():  # statistics and gains as after training: no two seeds look alike
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    config = {"name": "sngan", "resolution": [32, 32], "channels": 3, "width": 32, "z_dim": 128, "classes": 0}
    return Generator(network, {"network": config, "classes": []})


@pytest.fixture
def conditional():
    network = SNGANGenerator(16, 1, 8, classes=3)
    torch.nn.init.normal_(network.blocks[0].norm1.gain.weight)
    config = {"name": "sngan", "resolution": [16, 16], "channels": 1, "width": 8, "z_dim": 128, "classes": 3}
    return Generator(network, {"network": config, "classes": ["cat", "dog", "7"]})


def pixels(pictures):
    return [np.asarray(picture) for picture in pictures]


def apart(some, others):
    """The largest difference of two sets of pictures, in grey levels."""
    assert some.shape == others.shape
    return (some.int() - others.int()).abs().max().item()


def test_a_picture_depends_on_its_seed_alone(generator):
    many = generator.images(range(40))
    assert apart(generator.images([17])[0], many[17]) <= 1
    assert apart(generator.images([39, 3, 17]), many[[39, 3, 17]]) <= 1
    assert len({tuple(image.flatten().tolist()) for image in many}) == 40


def sizes_of(generator, monkeypatch):
    """How many pictures the network is asked for at once, as a list that grows."""
    sizes, forward = [], generator.network.forward

    def counted(z, *labels):
        sizes.append(len(z))
        return forward(z, *labels)

    monkeypatch.setattr(generator.network, "forward", counted)
    return sizes


def test_one_picture_is_computed_for_one(generator, monkeypatch):
    sizes = sizes_of(generator, monkeypatch)
    generator.images([3])
    generator.images(range(20))
    assert sizes == [1, 16, 4]


def test_large_pictures_are_computed_few_at_a_time():
    sizes = {32: 16, 256: 16, 512: 4}
    for side, batch in sizes.items():
        network = {"name": "sngan", "resolution": [side, side], "z_dim": 4, "classes": 0}
        assert Generator(torch.nn.Identity(), {"network": network, "classes": []}).batch == batch


def test_pictures_come_as_they_are_made(generator, monkeypatch):
    sizes = sizes_of(generator, monkeypatch)
    stream = generator.stream(range(1000))
    assert sizes == []
    first = next(stream)
    assert sizes == [16]
    assert apart(first, generator.images([0])[0]) <= 1


@pytest.mark.parametrize("words", [(["bird"], {}), ([], {"truncation": 2.0}), ([], {"class_mix": "odd"})])
def test_a_stream_refuses_at_the_call(conditional, words):
    with pytest.raises(UserError):
        conditional.stream([0], *words[0], **words[1])


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
    which = [next(k for k in range(3) if apart(drawn[i], by_class[k][i]) <= 1) for i in seeds]
    assert set(which) == {0, 1, 2}
    with pytest.raises(UserError, match="no class bird; there are cat, dog, 7"):
        conditional.images([0], "bird")
    with pytest.raises(UserError, match="no class 3"):
        conditional.images([0], 3)


def test_an_int_is_an_index_also_where_names_are_numbers(conditional):
    by_index = [conditional.images(range(4), number) for number in range(3)]
    conditional.classes = conditional.config["classes"] = ["1", "2", "0"]
    for number, name in enumerate(conditional.classes):
        assert torch.equal(conditional.images(range(4), number), by_index[number])
        assert torch.equal(conditional.images(range(4), name), by_index[number])
    for label in (3, -1):
        with pytest.raises(UserError, match=f"no class {label}"):
            conditional.images([0], label)


def test_class_for_an_unconditional_generator_is_refused(generator):
    with pytest.raises(UserError, match="without classes"):
        generator.images([0], 0)


@pytest.mark.parametrize("channels", [1, 4])
def test_rectangles_with_any_channels(tmp_path, channels):
    network = {"name": "sngan", "resolution": [16, 40], "channels": channels, "width": 8, "z_dim": 16, "classes": 0}
    generator = Generator(SNGANGenerator((16, 40), channels, 8, z_dim=16), {"network": network, "classes": []})
    generator.save(tmp_path)
    loaded = Generator.from_pretrained(tmp_path)
    assert torch.equal(loaded.images(range(3)), generator.images(range(3)))
    (picture,) = loaded(1)
    assert (picture.size, picture.mode) == ((40, 16), "RGBA" if channels == 4 else "L")


def description(folder):
    """The config in the metadata, which is what is read."""
    with safe_open(folder / "generator.safetensors", "pt") as file:
        return json.loads(file.metadata()["rggan"])


def rewrite(folder, text=None, weights=None, **changes):
    """The saved generator with another config text, other tensors, or changes to the network's description."""
    config = description(folder)
    config["network"] |= changes
    text = json.dumps(config) if text is None else text
    state = load_file(folder / "generator.safetensors") if weights is None else weights
    save_file(state, folder / "generator.safetensors", {"format": "pt", "rggan": text})


def test_the_config_is_in_the_weights_and_copied_for_people(conditional, tmp_path):
    conditional.save(tmp_path)
    config = description(tmp_path)
    assert config == json.loads((tmp_path / "config.json").read_text())
    assert config["format"] == 2
    assert config["classes"] == ["cat", "dog", "7"]
    (tmp_path / "config.json").write_text('{"format": 1, "classes": ["old"]}')  # killed between the two
    for _ in range(2):
        loaded = Generator.from_pretrained(tmp_path)
        assert loaded.config == config
        assert torch.equal(loaded.images(range(9)), conditional.images(range(9)))
        (tmp_path / "config.json").unlink(missing_ok=True)


def as_format_1(folder):
    """As it was written before: the config in config.json alone, one number for the resolution."""
    config = description(folder)
    config["format"] = 1
    config["network"]["resolution"] = config["network"]["resolution"][0]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(load_file(folder / "generator.safetensors"), folder / "generator.safetensors", {"format": "pt"})


def test_format_1_still_loads_and_is_saved_in_the_present_one(conditional, tmp_path):
    conditional.save(tmp_path)
    expected = description(tmp_path)
    as_format_1(tmp_path)
    loaded = Generator.from_pretrained(tmp_path)
    assert torch.equal(loaded.images(range(9)), conditional.images(range(9)))
    assert loaded.config == expected
    loaded.save(tmp_path)
    assert description(tmp_path) == expected


def test_migrating_changes_the_resolution_and_the_format_alone():
    old = {"format": 1, "network": {"resolution": 64, "width": 8}, "classes": [], "trained": {"kimg": 3}}
    new = migrate(old)
    assert new == {**old, "format": 2, "network": {"resolution": [64, 64], "width": 8}}
    assert migrate(new) == new
    assert old["network"]["resolution"] == 64


def test_loading_moves_nobodys_random_numbers(generator, tmp_path):
    generator.save(tmp_path)
    before = torch.get_rng_state()
    Generator.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_loaded_weights_do_not_hang_on_the_file(generator, tmp_path):
    """Another file written over it in place (by `cp`, say) changes nothing that is loaded."""
    generator.save(tmp_path)
    loaded = Generator.from_pretrained(tmp_path)
    path = tmp_path / "generator.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded.images([1]), generator.images([1]))
    assert all(not value.is_meta for value in loaded.network.state_dict().values())


@pytest.mark.parametrize("which", [0, 1])
def test_a_full_disk_leaves_the_generator_that_was_there(generator, conditional, tmp_path, monkeypatch, which):
    """Whichever of the two files cannot be written, what is loaded is one whole generator."""
    generator.save(tmp_path)
    real, calls = os.fsync, []

    def full(descriptor):
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            calls.append(descriptor)
            if len(calls) > which:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        conditional.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "generator.safetensors"]
    expected = [generator, conditional][which]
    assert torch.equal(Generator.from_pretrained(tmp_path).images(range(4)), expected.images(range(4)))


def test_a_folder_that_cannot_be_made_is_told(generator, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write to the folder"):
        generator.save(tmp_path / "file" / "g")


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"nothing at .*nowhere; give a run"):
        Generator.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no generator\.safetensors"):
        Generator.from_pretrained(tmp_path)


def test_same_generator_is_the_same_file(generator, tmp_path):
    """safetensors writes several metadata keys in any order, so there is one."""
    generator.save(tmp_path)
    with safe_open(tmp_path / "generator.safetensors", "pt") as file:
        assert list(file.metadata()) == ["rggan"]


NETWORKS = {"sngan": {}, "stylegan2": {"mapping_layers": 3}, "fastgan": {}, "biggan": {}, "projected": {}}
NETWORKS["projected-stylegan2"] = {"mapping_layers": 1}


def tiny(name, classes=0, resolution=(32, 32), channels=3, z_dim=16, width=4):
    """A generator of each family in which every weight, statistic and buffer matters."""
    network = {"name": name, "resolution": list(resolution), "channels": channels, "width": width, "z_dim": z_dim}
    network |= {"classes": classes, **NETWORKS[name]}
    built = build(network)
    for key, value in built.state_dict().items():
        if key.endswith(("gamma", "strength", "w_average", "bias", "gain.weight", "running_mean")):
            torch.nn.init.normal_(value, std=0.3)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 2)
    return Generator(built, {"network": network, "classes": [f"c{n}" for n in range(classes)]})


@pytest.mark.slow
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_saved_and_loaded_makes_the_same_pictures(name, classes, tmp_path):
    generator = tiny(name, classes, (32, 48))
    generator.save(tmp_path)
    expected = generator.images(range(9))
    assert len({tuple(image.flatten().tolist()) for image in expected}) == 9
    loaded = Generator.from_pretrained(tmp_path)
    assert torch.equal(loaded.images(range(9)), expected)
    assert torch.equal(loaded.images([5], truncation=0.4), generator.images([5], truncation=0.4))
    assert loaded.config["network"] == generator.config["network"]
    if classes:
        assert torch.equal(loaded.images([1, 2], "c2"), generator.images([1, 2], 2))
        assert not torch.equal(loaded.images([1, 2], "c2"), generator.images([1, 2], "c1"))


@pytest.mark.parametrize("batch", [1, 3, 16, *(pytest.param(size, marks=pytest.mark.slow) for size in (2, 7))])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_is_the_same_picture_in_any_batch(name, batch):
    """To one grey level, and rarely not to the bit; wide enough for several ways to multiply."""
    torch.manual_seed(0)
    generator, seeds = tiny(name, classes=3, width=16, z_dim=64), range(30, 46)
    for module in generator.network.modules() if name in ("fastgan", "projected") else ():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training: otherwise it is flat
            module.running_var.uniform_(0.1, 0.3)
    together = generator.images(seeds)
    parts = torch.cat([generator.images(seeds[start : start + batch]) for start in range(0, 16, batch)])
    assert apart(parts, together) <= 1
    assert (parts != together).float().mean() < 1e-2
    assert together.float().std(dim=0).mean() > 5  # and they are various


@pytest.mark.parametrize("name", NETWORKS)
def test_pictures_are_those_of_the_network_itself(name):
    generator = tiny(name, classes=3)
    with torch.no_grad():
        expected = to_uint8(generator.network(*generator.latents(range(16), None)))
    assert torch.equal(generator.images(range(16)), expected)


def test_a_style_depends_on_its_seed_alone():
    """At a width at which matrix products of different sizes are computed in different ways."""
    generator = tiny("stylegan2", z_dim=512)
    many, _ = generator.points(range(40))
    torch.testing.assert_close(generator.points([17])[0][0], many[17], rtol=0, atol=1e-5)
    torch.testing.assert_close(generator.points([39, 3, 17])[0], many[[39, 3, 17]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0, 65, -1, 2.0, True, "2", None, [2], 10**400], ids=str)
def test_mapping_layers_that_no_stylegan2_has_are_refused(tmp_path, value):
    tiny("stylegan2").save(tmp_path)
    rewrite(tmp_path, mapping_layers=value)
    with pytest.raises(UserError, match="mapping_layers is not a number from 1 to 64"):
        Generator.from_pretrained(tmp_path)


def test_mapping_layers_are_stylegan2s_and_required_there(generator, tmp_path):
    tiny("stylegan2").save(tmp_path / "style")
    rewrite(tmp_path / "style", mapping_layers=2)
    with pytest.raises(UserError, match="tensors are not those"):
        Generator.from_pretrained(tmp_path / "style")
    config = description(tmp_path / "style")
    del config["network"]["mapping_layers"]
    rewrite(tmp_path / "style", json.dumps(config))
    with pytest.raises(UserError, match="mapping_layers"):
        Generator.from_pretrained(tmp_path / "style")
    generator.save(tmp_path / "sngan")
    rewrite(tmp_path / "sngan", mapping_layers=2)
    with pytest.raises(UserError, match="no sngan network has mapping_layers"):
        Generator.from_pretrained(tmp_path / "sngan")


@pytest.mark.parametrize("name", NETWORKS)
def test_truncation_of_one_is_none(name):
    generator = tiny(name, classes=3)
    assert torch.equal(generator.images(range(20), truncation=1.0), generator.images(range(20)))
    assert torch.equal(generator.images(range(20), "c1", truncation=1), generator.images(range(20), "c1"))
    assert not torch.equal(generator.images(range(20), truncation=0.5), generator.images(range(20)))
    assert apart(generator.images([17], truncation=0.5)[0], generator.images(range(20), truncation=0.5)[17]) <= 1


def test_stylegan2_truncation_leads_to_the_average_style():
    generator = tiny("stylegan2", classes=3)
    network = generator.network
    average = network.mapping.w_average
    none = generator.images(range(20), truncation=0)
    with torch.no_grad():
        alone = to_uint8(network.synthesis(average.expand(1, network.style_count, -1).contiguous()))
    assert apart(none, alone.expand(20, -1, -1, -1)) <= 1
    styles, labels = generator.points(range(5), truncation=0.7)
    full, again = generator.points(range(5))
    assert torch.equal(labels, again)
    torch.testing.assert_close(styles, average + 0.7 * (full - average))


@pytest.mark.parametrize("name", ["sngan", "fastgan", "biggan"])
def test_truncated_latents_keep_what_lies_within_the_limit(name):
    generator = tiny(name, classes=3)
    z, labels = generator.latents(range(200), None)
    cut, same = generator.latents(range(200), None, truncation=0.5)
    assert torch.equal(labels, same)
    beyond = z.abs() > 1.0
    assert 0.28 < beyond.float().mean() < 0.36  # of normals: 0.317
    assert torch.equal(cut[~beyond], z[~beyond])
    assert cut.abs().max() <= 1.0
    assert (cut[beyond] != z[beyond]).all()
    assert cut[beyond].unique().numel() == beyond.sum()


def test_truncated_latents_are_normal_within_the_limit():
    """Against scipy's truncated normal; pure chance would fail this with p < 0.001, and the seeds are fixed."""
    z, _ = tiny("sngan", z_dim=512).latents(range(40), None, truncation=0.6)
    assert kstest(z.flatten().numpy(), truncnorm(-1.2, 1.2).cdf).pvalue > 0.001


@pytest.mark.parametrize("truncation", [0.05, 1e-6, 1e-300])
def test_a_tiny_truncation_takes_no_longer(truncation):
    z, _ = tiny("sngan").latents(range(20), None, truncation)
    assert z.isfinite().all()
    assert z.abs().max() <= 2 * truncation * (1 + 1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_truncation_out_of_range_is_refused(name):
    generator = tiny(name)
    for truncation in (-0.1, 1.01, float("nan"), float("inf"), *([] if name.endswith("stylegan2") else [0])):
        with pytest.raises(UserError, match="The truncation "):
            generator.images([0], truncation=truncation)


@pytest.mark.parametrize("seed", ["a", -1, 1.5, None, 2**63])
def test_what_is_no_seed_is_one_sentence(generator, seed):
    sentence = re.escape(f"A seed is a whole number from 0 to 2**63 - 1, not {seed!r}.")
    for call in (
        lambda: generator(2, seed=seed),
        lambda: generator.images([0, seed]),
        lambda: generator.stream([seed]),
    ):
        with pytest.raises(UserError, match=f"^{sentence}$"):
            call()


def test_counts_and_seeds_that_are_none_are_one_sentence(generator):
    for count in (-1, "two", 1.5):
        with pytest.raises(UserError, match=re.escape(f"from 0 on, not {count!r}.")):
            generator(count)
    with pytest.raises(UserError, match=r"several numbers, like range\(8\)"):
        generator.images(5)
    assert generator(0) == []
    assert len(generator.images(np.arange(3))) == 3
