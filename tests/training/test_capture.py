"""A step is static: recorded once for each plan and replayed, it trains to the same bits as its Python."""

import copy
import dataclasses

import pytest
import torch

import rggan.networks.stylegan2
import rggan.steps
from rggan import TrainConfig, UserError
from rggan.augment.ada import AdaptiveAugment, moved, moved_alike, recoloured
from rggan.data import load_images
from rggan.device import use_bf16
from rggan.networks import FAMILIES
from rggan.pruning import Threshold, host
from rggan.training.capture import Part, Recorder, make_recorder
from rggan.training.trainer import Training
from tests.replay import Replay
from tests.test_steps import NothingIsRead

pytestmark = pytest.mark.slow  # trains

SMALL = {"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 4, "score_samples": 8, "device": "cpu", "precision": "fp32"}
SMALL |= {"d_steps": 2, "mirror": True, "kimg": 1.0}


@pytest.fixture(scope="module")
def images():
    return load_images("digits", 32, max_images=40)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Lazy penalties come soon."""
    monkeypatch.setattr(rggan.steps, "R1_EVERY", 4)
    monkeypatch.setattr(rggan.networks.stylegan2, "PATH_EVERY", 2)


def recorded(run):
    """Every recording of it; from now on its parts are recorded."""
    made = []

    def graph():
        made.append(Replay())
        return made[-1]

    run.recorder = Recorder(graph)
    return made


def leaves(state, place=""):
    if isinstance(state, dict):
        for name, value in state.items():
            yield from leaves(value, f"{place}.{name}")
    elif isinstance(state, list | tuple):
        for name, value in enumerate(state):
            yield from leaves(value, f"{place}.{name}")
    else:
        yield place, state


def assert_same(ours, theirs):
    ours, theirs = dict(leaves(ours)), dict(leaves(theirs))
    assert ours.keys() == theirs.keys()
    for place, value in ours.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, theirs[place]), place
        else:
            assert value == theirs[place], place


CASES = {network: {"network": network, "d_steps": 1} for network in FAMILIES.builtin}
CASES["sngan"]["d_steps"] = 2
CASES["stylegan2"] |= {"path_length": 1.0, "style_mixing": 0.5}
LOOKS_THROUGH = [name for name, record in ((name, FAMILIES.get(name)) for name in CASES) if record.looks_through]
for name in LOOKS_THROUGH:
    CASES[name]["gamma"] = 0.0  # a penalty is differentiated through the whole pretrained network: the others have one
CASES |= {
    "conditional": {"network": "sngan", "cond": True, "dropout_d": 0.2},
    "auto": {"network": "sngan", "target_g": None, "networks": "d", "target_d": "auto", "set_point": -0.9},
    "penalty": {"network": "sngan", "target_g": None, "target_d": None},
    "hard rows": {"network": "sngan", "rule": "hard", "granularity": "row"},
    "rows": {"network": "sngan", "granularity": "row"},
    "published": {"network": "sngan", "rule": "published", "target_g": None, "target_d": None, "penalty": 1e-3},
    "set": {"network": "sngan", "rule": "set"},
    "dense": {"network": "sngan", "rule": "none", "target_g": None, "target_d": None},
    "dynamic": {"network": "sngan", "dynamic_d": 0.25, "kimg": 0.15},
    "regrown": {"network": "sngan", "rule": "hard", "regrow": 0.05},
}


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_step_trains_to_the_same_bits(name, images, monkeypatch):
    own = {"target_g": 0.5, "target_d": 0.3, "gamma": 1.0, "lecam": 0.1, **CASES[name]}
    config = TrainConfig.of(own.pop("network"), **{**SMALL, **own})
    plain, run = (Training(config, images, images) for _ in range(2))
    graphs = recorded(run)
    for number in range(12):
        state = torch.get_rng_state()
        plain.step()
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        with monkeypatch.context() as patch:  # as on a GPU
            patch.setattr(host, "reads_freely", lambda values: False)
            run.step()
        assert torch.equal(torch.get_rng_state(), after), number
    assert_same(run.state_dict(), plain.state_dict())
    assert run.recorder.graphs is not None
    assert sum(graph.replays for graph in graphs) > 16  # of 72 parts
    assert len(graphs) <= 10


@pytest.mark.parametrize("name", [*FAMILIES.builtin, "conditional", "auto", "hard rows", "rows", "dynamic"])
def test_a_whole_step_reads_nothing_back(name, images, monkeypatch):
    """But for what decides: an adaptive density reads its signal every eighth step of D, in `Adaptive.move`."""
    own = {"target_g": 0.5, "target_d": 0.3, "gamma": 1.0, "lecam": 0.1, **CASES[name]}
    run = Training(TrainConfig.of(own.pop("network"), **{**SMALL, **own}), images, images)
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    run.step()  # what is made once
    for _ in range(3):
        with NothingIsRead():
            run.step()
    assert run.losses_are_finite()


def test_recordings_survive_phases_and_states(images, monkeypatch):
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    config = TrainConfig.of("sngan", **SMALL, target_g=0.5, target_d=0.5, fade=0.02)
    plain, run = (Training(config, images, images) for _ in range(2))
    graphs = recorded(run)

    def steps(count):
        state = torch.get_rng_state()
        for _ in range(count):
            plain.step()
        torch.set_rng_state(state)
        for _ in range(count):
            run.step()
        assert_same(run.state_dict(), plain.state_dict())

    def both(change):
        for one in (plain, run):
            change(one)

    steps(5)
    both(lambda one: [pruner.integrate(fade=3) for pruner in one.pruners])
    steps(7)
    both(lambda one: [pruner.prune() for pruner in one.pruners])
    steps(5)
    saved = copy.deepcopy(plain.state_dict())
    steps(3)
    both(lambda one: one.load_state_dict(copy.deepcopy(saved)))
    steps(5)
    assert sum(graph.replays for graph in graphs) > 40
    assert len(run.recorder.recorded) < len(graphs)  # those of other phases were dropped


def test_a_number_of_the_host_in_a_step_would_be_seen():
    seen = []

    def part():
        seen.append(None)
        return torch.ones(2) * len(seen)

    recorder = Recorder(Replay)
    one = Part("counting", part, plan=lambda: ())
    assert [recorder.run(one)[0].item() for _ in range(4)] == [1, 2, 2, 2]


class Failing(Replay):
    """What a driver, or a network that reads a value back, does."""

    def record(self, part):
        super().record(part)
        raise RuntimeError("operation not permitted when stream is capturing\nSearch for cudaError.")


def test_what_cannot_be_recorded_goes_on_without(images):
    config = TrainConfig.of("sngan", **SMALL, target_g=0.5, target_d=0.5)
    run = Training(config, images, images)
    said = []
    run.recorder = Recorder(Reading, say=said.append)
    for _ in range(4):
        run.step()
    assert len(said) == 1
    assert "a training step cannot be recorded (operation not permitted" in said[0]
    assert run.prune_d.steps == [8]
    assert run.steps.steps_d == 8


class Reading(Replay):
    def record(self, part):
        with self:
            torch.ones(1).item()


def test_counts_are_as_before_where_recording_fails(images):
    config = TrainConfig.of("sngan", **SMALL, target_g=0.5, target_d=0.5)
    run = Training(config, images, images)
    run.step()
    run.recorder = Recorder(Failing)
    run.recorder.ran = {(part.name, part.plan()) for part in (run.d_update,)}
    before = run.prune_d.counts()
    run.recorder.record(("key", ()), run.d_update)
    assert run.prune_d.counts() == before
    assert run.recorder.graphs is None


def test_too_little_memory_is_one_sentence():
    class Full(Replay):
        def record(self, part):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    one, said = Part("large", lambda: torch.ones(2), plan=lambda: ()), []
    going_on = Recorder(Full, batch=48, say=said.append)
    for _ in range(3):
        assert torch.equal(going_on.run(one), torch.ones(2))
    assert len(said) == 1
    assert "at `batch` 48 cannot be recorded (CUDA out of memory. Tried to allocate 2.00 GiB)" in said[0]
    recorder = Recorder(Full, batch=48, insist=True)
    recorder.run(one)
    with pytest.raises(
        UserError, match=r"to record a training step at `batch` 48 .*2.00 GiB.*: take a smaller one, or `capture` off"
    ):
        recorder.run(one)


def test_capture_on_needs_a_gpu(images):
    with pytest.raises(UserError, match="`capture` on records training steps for a CUDA GPU, and this run is on cpu"):
        Training(TrainConfig.of("sngan", **SMALL, capture="on"), images, images)
    assert make_recorder("auto", torch.device("cpu"), own=False, batch=4).graphs is None


class Own(Threshold):
    """A rule of somebody's own that inherits a plan."""


def test_a_rule_of_ones_own_is_run(images):
    config = TrainConfig.of("sngan", **SMALL, target_g=0.5, target_d=0.5)
    run = Training(config, images, images, rules={"d": Own(target=0.5)})
    recorded(run)
    for _ in range(4):
        run.step()
    assert {name for name, _ in run.recorder.recorded} == {"gradients of d", "gradients of g", "update of g"}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_adaptive_augmentation_without_looking_is_the_same(p, channels):
    x = torch.randn(12, channels, 10, 10)
    torch.manual_seed(1)
    plain = moved(x, p)
    torch.manual_seed(1)
    alike = moved_alike(x, torch.tensor(p, dtype=torch.float64))
    torch.testing.assert_close(alike, plain, rtol=0, atol=1e-6)
    assert torch.equal(moved_alike(x, torch.tensor(0.0)), x)


def test_a_recorded_augmentation_follows_p():
    x, p = torch.randn(6, 3, 8, 8), torch.tensor(0.1, dtype=torch.float64)
    graph = Replay()
    found = graph.record(lambda: recoloured(moved_alike(x, p), p))
    graph.replay()
    p.fill_(0.9)
    torch.manual_seed(2)
    graph.replay()
    torch.manual_seed(2)
    torch.testing.assert_close(found, AdaptiveAugment(p=0.9)(x), rtol=0, atol=1e-6)


def test_what_a_part_returned_stays_when_it_is_done_again():
    at = torch.zeros(())
    one = Part("counting", lambda: (at.add_(1) * 1, None), plan=lambda: ())
    recorder = Recorder(Replay)
    assert [recorder.run(one)[0] for _ in range(4)] == [1, 2, 3, 4]


def test_steps_that_keep_a_share_are_not_recorded(images, monkeypatch):
    monkeypatch.setattr(host, "reads_freely", lambda values: False)
    config = TrainConfig.of("sngan", **SMALL, target_g=0.5, target_d=0.5)
    run = Training(config, images, images)
    recorded(run)
    run.steps.margin = 0.37
    run.steps.kept = (*run.steps.kept, "margin")
    for _ in range(4):
        run.step()
    assert {name for name, _ in run.recorder.recorded} == {"update of d", "update of g"}
    assert run.steps.margin == 0.37


def test_states_of_a_recorded_run_are_plain(images):
    config = TrainConfig.of("sngan", **SMALL, target_g=0.5, target_d=0.5)
    run = Training(config, images, images)
    recorded(run)
    for _ in range(4):
        run.step()
    other = Training(dataclasses.replace(config), images, images)
    other.load_state_dict(copy.deepcopy(run.state_dict()))
    state = torch.get_rng_state()
    run.step()
    torch.set_rng_state(state)
    other.step()
    assert_same(other.state_dict(), run.state_dict())


def test_a_gpu_without_bf16_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match="`precision` bf16: this GPU does not multiply in bf16; take fp32, or auto"):
        use_bf16("bf16", torch.device("cuda"))
    assert not use_bf16("auto", torch.device("cuda"))
