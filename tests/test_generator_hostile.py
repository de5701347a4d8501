"""Generator files that are damaged, foreign or meant to harm: each is refused in one sentence."""

import json
import resource
import struct
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from rggan import Generator, UserError
from rggan.networks.sngan import SNGANGenerator
from tests.test_generator import as_format_1, description, rewrite

pytestmark = pytest.mark.slow  # all together they take seconds


@pytest.fixture
def folder(tmp_path):
    """A saved generator of three classes, to be spoilt."""
    network = {"name": "sngan", "resolution": [16, 16], "channels": 1, "width": 8, "z_dim": 128, "classes": 3}
    config = {"network": network, "classes": ["cat", "dog", "7"]}
    Generator(SNGANGenerator(16, 1, 8, classes=3), config).save(tmp_path)
    return tmp_path


def refused(folder, message="damaged or foreign"):
    with pytest.raises(UserError, match=message) as error:
        Generator.from_pretrained(folder)
    text = str(error.value)
    assert text.isprintable()
    assert len(text) < 600
    return text


@contextmanager
def memory_below(growth):
    """The process's largest memory so far grows by less than so many bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < growth


NUMBERS = [0, -1, 2**31, 10**400, 1.0, float("nan"), float("inf"), True, "8", None, [8], {}]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: str(value)[:8])
@pytest.mark.parametrize("name", ["width", "z_dim", "channels", "classes"])
def test_numbers_that_no_network_has_are_refused(folder, name, value):
    rewrite(folder, **{name: value})
    if (name, value) == ("classes", 0):  # a number that some network has, but not this one
        assert "not those of" in refused(folder)
    else:
        assert f"{name} is not a number from" in refused(folder)


@pytest.mark.parametrize(
    "value",
    [
        [0, 0],
        [-16, 16],
        [16],
        [16, 16, 16],
        [16.0, 16],
        ["16", 16],
        "16",
        None,
        {},
        [10**400, 16],
        [[16], 16],
        [True, True],
        [16, 17],
        [20, 20],
        float("nan"),
        10**400,
    ],
    ids=lambda value: str(value)[:12],
)
def test_resolutions_that_do_not_fit_are_refused(folder, value):
    rewrite(folder, resolution=value)
    refused(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "biggan9"}, "there is no network biggan9"),
        ({"name": "biggan\n\x1b[2J"}, "there is no network biggan"),
        ({"name": ["sngan"]}, "damaged or foreign"),
        ({"channels": 2}, "1, 3 or 4 channels"),
        ({"extra": 1}, "damaged or foreign"),
        ({"width": 16}, r"linear\.weight is F32 \[128, 128\], but its config describes F32 \[256, 128\]"),
        ({"channels": 3}, r"to_rgb\.weight is F32 \[1, 8, 3, 3\]"),
        ({"z_dim": 64}, r"linear\.weight"),
        ({"resolution": [32, 32]}, "not those of the sngan network"),
        ({"resolution": [16, 24]}, r"linear\.weight"),
    ],
)
def test_descriptions_that_do_not_fit_the_weights_are_refused(folder, change, message):
    rewrite(folder, **change)
    refused(folder, message)


@pytest.mark.parametrize(
    "classes", [["cat", "dog"], ["cat", "dog", "7", "8"], ["cat", "dog", 7], ["a", "b", None], "abc", {}, None, 3]
)
def test_class_names_that_do_not_fit_are_refused(folder, classes):
    rewrite(folder, json.dumps(description(folder) | {"classes": classes}))
    assert "names" in refused(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        "{}",
        '{"format": 2}',
        '{"format": "2"}',
        '{"format": NaN}',
        '{"format": true}',
        '{"format": 2, "network": []}',
        '{"format": 2, "network": {}, "classes": []}',
        '{"format": 2, "network": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"format": 2, "network": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
        '{"format": ' + "9" * 5000 + "}",
        "\ufeff{}",
        "\x00",
    ],
    ids=lambda text: f"{text[:24]!a}-{len(text)}",
)
@pytest.mark.parametrize("place", ["metadata", "config.json"])
def test_configs_that_are_none_are_refused(folder, text, place):
    if place == "metadata":
        rewrite(folder, text)
    else:
        as_format_1(folder)
        (folder / "config.json").write_text(text)
    refused(folder)


@pytest.mark.parametrize("format", [True, 1.5, float("nan"), "2", None, [2]])
def test_formats_that_are_no_numbers_are_refused(folder, format):
    rewrite(folder, json.dumps(description(folder) | {"format": format}))
    assert "no format" in refused(folder)


@pytest.mark.parametrize("text", ["null", "[]", "3", '"format"'])
def test_a_config_that_is_no_object_has_no_format(folder, text):
    rewrite(folder, text)
    assert "no format" in refused(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", bytes(100)])
def test_config_json_that_is_no_text_is_refused(folder, content):
    as_format_1(folder)
    (folder / "config.json").write_bytes(content)
    refused(folder)


def test_weights_that_say_nothing_of_themselves_are_refused(folder):
    as_format_1(folder)
    (folder / "config.json").unlink()
    assert "neither its metadata nor a config.json" in refused(folder)


def test_a_config_too_long_to_be_one_is_refused(folder):
    """A valid one, padded; and one of a gigabyte of which no more than the limit is read."""
    rewrite(folder, json.dumps(description(folder)) + " " * (1 << 24))
    assert "more than this reads" in refused(folder)
    as_format_1(folder)
    with (folder / "config.json").open("ab") as stream:
        stream.truncate(1 << 30)
    with memory_below(200e6):
        assert "more than this reads" in refused(folder)


def test_newer_formats_are_refused_by_name(folder):
    rewrite(folder, '{"format": 99, "something": "new"}')
    refused(folder, r"newer rggan \(format 99\)")


def header(content):
    return struct.pack("<Q", len(content)) + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04" + bytes(100),
        bytes(1000),
        header(b"{}"),
        header(b'{"\xff": 1}'),
        header(b'{"a": ' * 5000),
        header(b'{"__metadata__": {"rggan": 3}}'),
        header(b'{"a": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4398046511104]}}'),
        struct.pack("<Q", 2**63) + b"{}",
    ],
)
def test_weights_that_are_none_are_refused(folder, content):
    (folder / "generator.safetensors").write_bytes(content)
    refused(folder)


def test_cut_off_weights_are_refused(folder):
    path = folder / "generator.safetensors"
    content = path.read_bytes()
    for length in (7, 8, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("norm.weight", lambda value: value * float("nan"), "norm.weight has NaN"),
        ("norm.running_var", lambda value: value / 0, "norm.running_var has NaN or infinite"),
        ("norm.weight", lambda value: value.double(), "norm.weight is F64"),
        ("norm.weight", lambda value: value.half(), "norm.weight is F16"),
        ("norm.num_batches_tracked", lambda value: value.float(), "num_batches_tracked is F32"),
        ("norm.num_batches_tracked", lambda value: value[None], r"num_batches_tracked is I64 \[1\]"),
        ("norm.weight", lambda value: value.view(2, 4), r"norm.weight is F32 \[2, 4\]"),
        ("norm.weight", lambda value: value.view(torch.int32), "norm.weight is I32"),
        ("norm.weight", lambda value: None, "tensors are not those"),
        ("more.weight", lambda value: torch.zeros(1), "tensors are not those"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(folder, name, change, message):
    state = load_file(folder / "generator.safetensors")
    changed = change(state.get(name))
    state.pop(name, None)
    rewrite(folder, weights=state if changed is None else {**state, name: changed})
    refused(folder, message)


@pytest.mark.parametrize(("width", "resolution"), [(2048, [64, 64]), (65536, [256, 1024])])
def test_a_claim_of_size_takes_no_memory(folder, width, resolution):
    """The tensors have the names of such a network, so that only their shapes give it away."""
    names = SNGANGenerator(resolution, 1, 8, classes=3).state_dict()
    start = time.perf_counter()
    with memory_below(200e6):
        rewrite(folder, weights={name: torch.zeros(1) for name in names}, width=width, resolution=resolution)
        refused(folder, r"is F32 \[1\], but its config describes")
    assert time.perf_counter() - start < 5
