"""Numbers out of any range, and memory that is not there: one sentence, before anything is taken or begun."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import resource
import sys
import time
from typing import get_type_hints

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.autograd.graph import saved_tensors_hooks

from rggan import TrainConfig, UserError, memory, train
from rggan.cli.generate import generate
from rggan.cli.main import COMMANDS, SMALLER, kind, main, parse
from rggan.evaluation.features import collect
from rggan.generation.build import build
from rggan.generation.storage import write_generator
from rggan.metrics import feature_network
from rggan.networks import FAMILIES
from rggan.options import network_arguments
from rggan.ranges import RANGES
from rggan.registry import called
from rggan.training.needed import FLOAT, LEAST, OF_D, OF_G, Needs, largest_batch, values_kept
from rggan.training.trainer import Training
from tests.conftest import folders
from tests.faults.bounds import rggan, run
from tests.faults.fuzz import faults
from tests.faults.numbers import TOO_MUCH, tries, types

SMALL = {"width_g": 4, "width_d": 4, "z_dim": 4, "batch": 4, "score_samples": 4, "max_images": 40, "device": "cpu"}
NETWORK = {"name": "sngan", "resolution": [16, 16], "channels": 1, "width": 2, "z_dim": 2, "classes": 0}


def told(words):
    """(exit code, standard error) of a command line, in this process."""
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    return code, error.getvalue().strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_refuses_what_it_cannot_be(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rggan.cli.demo.library", lambda: None)  # takes seconds to import
    for option, words, absurd in tries(command):
        what = f"{option}={words[-1].partition('=')[2][:12]}"
        begun = time.process_time()
        code, line = told(words)
        assert code == 2, (what, line)
        assert not faults(line), (what, faults(line))
        assert len(line) < 1000, what
        assert not absurd or option in line or option == "--data", (what, line)
        assert time.process_time() - begun < 20, what
    assert os.listdir(tmp_path) == []


def test_options_of_all_commands_that_are_numbers_have_a_range():
    own = {"resolution", "target_g", "target_d", "density_low", "density_high"}  # text too; two that go together
    for command in COMMANDS:
        for name, hint in get_type_hints(kind(command)).items():
            if {int, float} & types(hint) and name not in own:
                assert name in RANGES, f"{command} {name}"


@pytest.mark.parametrize(
    "values",
    [{"batch": 10**5000}, {"keep": -(10**400)}, {"kimg": float("inf")}, {"lr": 10**4301}, {"score_samples": 2**70}],
    ids=lambda values: next(iter(values)),
)
def test_numbers_that_python_does_not_write_are_refused_in_python_too(values):
    with pytest.raises(UserError, match=f"^`{next(iter(values))}` ") as found:
        TrainConfig(**values)
    assert len(str(found.value)) < 200


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    write_generator(build(NETWORK), {"format": 2, "network": NETWORK, "classes": []}, folder)
    return folder


@pytest.mark.parametrize("line", TOO_MUCH)
def test_what_no_memory_is_large_enough_for_is_refused_before_it_is_taken(line, generator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rggan.memory.available", lambda: 20 * 10**9)
    extra = ["--network=sngan", *([] if "--device" in line else ["--device=cpu"])] if line.startswith("train") else []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, sentence = told([word.replace("GENERATOR", str(generator)) for word in line.split()] + extra)
    assert code == 2, sentence
    assert sentence.startswith(f"rggan: {TOO_MUCH[line]}")
    assert not faults(sentence)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes
    assert not [name for name in os.listdir(tmp_path) if name != "runs" or os.listdir(tmp_path / name)]


def needs_of(name, side=32, classes=0, **options):
    config = TrainConfig.of(name, **options)
    network = {"name": name, "resolution": [side, side], "channels": 3, "width": config.width_g}
    network |= {"z_dim": config.z_dim, "classes": classes, **network_arguments(config)}
    return config, network, Needs(config, network)


@pytest.mark.parametrize("name", FAMILIES.builtin)
def test_weights_are_counted_as_they_are(name):
    side = 256 if FAMILIES.get(name).looks_through else 32
    _, network, needs = needs_of(name, side, classes=0, width_g=8, width_d=8, z_dim=24)
    g, d = build(network), FAMILIES.get(name).discriminator((side, side), 3, 8, classes=0)
    trained = sum(p.numel() for p in d.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in d.parameters() if not p.requires_grad)
    assert needs.weights() == OF_G * sum(p.numel() for p in g.parameters()) + OF_D * trained + FLOAT * frozen


@pytest.mark.parametrize("name", FAMILIES.builtin)
@pytest.mark.parametrize("width", [1, 64, 4096])
def test_where_networks_are_not_looked_at_they_would_have_fitted(name, width):
    high = FAMILIES.get(name).sizes.high
    for side, classes in ((high, 0), (high, 1000)):
        if classes and name.startswith("projected"):
            continue
        _, _, needs = needs_of(name, side, classes, width_g=width, width_d=width, z_dim=120)
        if FAMILIES.get(name).looks_through and width == 1:
            continue  # its frozen network has the same size always: some MB
        assert needs.all() <= needs.at_most()


@pytest.mark.parametrize("name", ["sngan", "stylegan2"])
@pytest.mark.parametrize("option", ["width_g", "width_d"])
def test_the_value_that_is_named_fits_and_little_more_would_not(name, option):
    _, _, needs = needs_of(name, **{option: 30_000})
    free = 8 * 10**9
    sentence = needs.sentence(free, needs.all, lambda: None)
    assert sentence.startswith(f"`{option}` 30,000 needs about ")
    most = int(sentence.rpartition(" ")[2].strip(".").replace(",", ""))
    assert needs.all(**{option: most}) <= free < needs.all(**{option: int(1.16 * most)})  # it is told to two digits


def test_values_that_a_network_cannot_have_are_never_proposed():
    _, _, needs = needs_of("biggan", classes=10, width_g=8, width_d=8)
    assert needs.weights(z_dim=1) > needs.weights()  # BigGAN gives each block its share of the latent
    assert set(LEAST) <= set(RANGES)


@pytest.fixture
def training(digits):
    return Training(TrainConfig(**SMALL), digits.take(np.arange(40)), digits.take(np.arange(40)))


@pytest.mark.parametrize("network", ["sngan", "fastgan"])
def test_a_step_keeps_no_less_than_is_said(digits, network):
    from rggan.data import load_images

    images = load_images("digits", 32, max_images=40)
    training = Training(TrainConfig.of(network, **SMALL), images, images)
    said, found = values_kept(training.gan), {}

    def keep(tensor):
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        most = 0
        for step in (training.gradients_of_d, training.gradients_of_g):
            found.clear()
            training.gan.batches.draw()
            step()
            most = max(most, sum(tensor.untyped_storage().nbytes() for tensor in found.values()))
    assert 0 < SMALL["batch"] * said <= most
    assert SMALL["batch"] * said > most / 4  # and it is no idle bound


def test_looking_changes_nothing(training):
    modes = [module.training for network in (training.gan.g, training.gan.d) for module in network.modules()]
    state = {name: value.clone() for name, value in (training.gan.g.state_dict() | training.gan.d.state_dict()).items()}
    random = torch.get_rng_state()
    largest_batch(training.gan, 10**9)
    after = training.gan.g.state_dict() | training.gan.d.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in state.items())
    assert torch.equal(random, torch.get_rng_state())
    assert modes == [m.training for network in (training.gan.g, training.gan.d) for m in network.modules()]


def test_a_batch_whose_gradients_do_not_fit_is_refused(digits, monkeypatch):
    config = TrainConfig(**SMALL | {"batch": 4000})
    small = digits.take(np.arange(40))
    monkeypatch.setattr("rggan.memory.available", lambda: 10 * 10**9)
    Training(config, small, small)
    monkeypatch.setattr("rggan.memory.available", lambda: 40 * 10**6)
    with pytest.raises(
        UserError, match=r"^`batch` 4,000 needs about .* MB of memory, and 40 MB are free: take at most"
    ) as f:
        Training(config, small, small)
    most = int(str(f.value).rpartition(" ")[2].strip(".").replace(",", ""))
    Training(dataclasses.replace(config, batch=most), small, small)


CHEAP = {"machine": "MemTotal: 9000 kB\nMemAvailable: 5000 kB\nSwapFree: 1000 kB\n"}


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A /proc and /sys/fs/cgroup of files."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "own_limits", lambda: iter(()))

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    write({"proc/meminfo": CHEAP["machine"]})
    return write


def test_the_machine_tells_what_is_free(system):
    assert memory.available() == 6_000 * 1024


def test_limits_of_a_container_and_of_what_is_around_it_count(system):
    system(
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "cgroup/outer/inner/memory.max": "max\n",
            "cgroup/outer/memory.max": "3000000\n",
            "cgroup/outer/memory.current": "2500000\n",
            "cgroup/outer/memory.stat": "anon 1500000\nactive_file 400000\ninactive_file 600000\n",
        }
    )
    assert memory.available() == 3_000_000 - 1_500_000 + 1000 * 1024  # what is cached of files does not count
    assert memory.total() == 3_000_000


def test_the_first_version_of_control_groups_is_read_too(system):
    system(
        {
            "proc/self/cgroup": "5:devices:/\n4:memory:/job\n0::/\n",
            "cgroup/memory/job/memory.limit_in_bytes": "2000000\n",
            "cgroup/memory/job/memory.usage_in_bytes": "1900000\n",
            "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        }
    )
    assert memory.available() == 100_000 + 1000 * 1024
    system({"cgroup/memory/job/memory.usage_in_bytes": "9000000\n"})
    assert memory.available() == 0 if memory.available() <= 0 else memory.available() == 1000 * 1024


def test_a_system_that_tells_nothing_has_what_it_has(system, tmp_path):
    (tmp_path / "proc/meminfo").unlink()
    assert memory.available() == memory.total() > 1 << 27


@pytest.mark.parametrize(
    "take",
    [
        lambda: torch.empty(1 << 55, dtype=torch.uint8),
        lambda: torch.empty(1 << 40, 1 << 40),
        lambda: np.empty(1 << 55, dtype=np.uint8),
        lambda: bytearray(1 << 62),
    ],
    ids=["PyTorch", "PyTorch, overflow", "NumPy", "Python"],
)
def test_memory_that_is_not_there_is_known_as_that_by_whatever_asks_for_it(take):
    with pytest.raises((MemoryError, RuntimeError)) as found:
        take()
    assert memory.is_used_up(found.value)
    with pytest.raises(type(found.value)):  # and is no fault of somebody's code
        called("`network` a:B", take)


def test_features_that_do_not_fit_are_refused(digits, monkeypatch):
    monkeypatch.setattr("rggan.memory.available", lambda: 20_000)
    with pytest.raises(UserError, match=r"^`subset` 40 needs .*, and 0 MB are free: take at most 11\.$"):
        collect(feature_network("steering"), digits.take(np.arange(40)), ["whole"], 10_000, "digits")
    assert collect(feature_network("steering"), digits.take(np.arange(40)), ["whole"], 11, "digits")


@pytest.mark.parametrize(
    ("line", "told"), [("--seeds 0-99 --grid", "`seeds` 100 needs"), ("--seeds 0-99 --walk 9", "`walk` 9 needs")]
)
def test_pictures_that_do_not_fit_are_refused(line, told, generator, tmp_path, monkeypatch):
    monkeypatch.setattr("rggan.memory.available", lambda: 40_000)
    config = parse(["generate", str(generator), "--outdir", str(tmp_path / "out"), *line.split()])
    with pytest.raises(UserError, match=f"^{told} about 0 MB of memory"):
        generate(config, Console(quiet=True))
    assert os.listdir(tmp_path) == []


def raising(error):
    def starved(*_, **__):
        raise error

    return starved


NO_MEMORY = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_in_one_sentence_that_the_memory_is_used_up(command, error, monkeypatch):
    place = COMMANDS[command]
    monkeypatch.setattr(f"{place.module}.{place.answer}", raising(error))
    monkeypatch.setattr("rggan.cli.main.parse", lambda words: None)
    code, line = told([command, "nowhere"])
    assert code == 1
    assert line.startswith("rggan: The memory of the ")
    assert not faults(line)
    assert "`" not in line, "an option that is none"
    assert SMALLER.keys() == COMMANDS.keys()


def test_other_errors_are_no_lack_of_memory(monkeypatch):
    monkeypatch.setattr("rggan.cli.plot.plot", raising(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        told(["plot", "nowhere"])


@pytest.mark.slow
@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_training_without_memory_keeps_its_state_and_the_same_command_continues(error, tmp_path, monkeypatch):
    words = ["train", "digits", "--network=sngan", f"--outdir={tmp_path}", "--kimg=0.024", "--snap=0.008"]
    words += [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    step, done = Training.step, []

    def starving(self):
        done.append(self)
        if len(done) == 2:
            raise error
        step(self)

    monkeypatch.setattr(Training, "step", starving)
    code, line = told(words)
    assert code == 1
    assert line == (
        "rggan: The memory is used up at --batch 4, --width-g 4 and --width-d 4; "
        f"{folders(tmp_path)[0]} holds the state of kimg 0.0. With more free memory the same command continues from "
        "there; smaller ones are another run."
    )
    assert told(words) == (0, "")
    assert len(folders(tmp_path)) == 1


def test_a_state_is_not_passed_over_for_want_of_memory(tmp_path, monkeypatch):
    config = TrainConfig(**SMALL, outdir=tmp_path, kimg=0.008)
    train(config)
    monkeypatch.setattr("rggan.training.checkpoint.load", raising(MemoryError()))
    with pytest.raises(memory.OutOfMemory, match="the same command continues"):
        train(dataclasses.replace(config, kimg=0.016, resume=folders(tmp_path)[0]))


def limited(bytes_left):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (bytes_left, bytes_left))

    return limit


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell how much a process has taken")
def test_a_limit_of_the_process_is_looked_at():
    code = "from rggan.memory import available, total; print(available(), total())"
    ended = run([sys.executable, "-c", code], before=limited(3 << 30))
    free, most = map(int, ended.said.split())
    assert 0 < free < most == 3 << 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell how much a process has taken")
def test_a_training_under_a_limit_of_the_process_ends_in_a_sentence(tmp_path):
    words = ["train", "digits", "--network", "sngan", "--device", "cpu", "--width-g", "9000", "--outdir", tmp_path]
    ended = rggan(*words, before=limited(3 << 30))
    assert ended.sentence().startswith("rggan: --width-g 9,000 needs about ")
    assert os.listdir(tmp_path) == []
