"""A density that follows a signal: it holds the set point, keeps its bounds, resumes exactly, agrees over processes."""

import copy
import json
import math
import os
import random

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from rggan.pruning import Adaptive, DensityPath, Magnitude, Pruner, Ramp, RigL, Static, Threshold
from tests.conftest import train_steps


def signs(share, count=64):
    """Outputs whose mean sign is 2 share - 1."""
    return torch.where(torch.arange(count) < round(share * count), 1.0, -1.0)


def follow(target, plant, steps):
    """The plant says r_t as a function of the density; outputs of 64 images a step."""
    for _ in range(steps):
        target.observe(signs((plant(target.density) + 1) / 2))
    return target.density


@pytest.mark.parametrize("set_point", [0.2, 0.5, 0.8])
def test_the_set_point_is_held_on_a_simulated_discriminator(set_point):
    """r_t rises with the logarithm of the density, from 0 at 0.01 to 1 at 1: the set point s belongs to 100^(s - 1)."""
    target = Adaptive(set_point=set_point, kimg=1.0, dead_band=0.02, low=0.005)
    found = follow(target, lambda density: 1 + math.log(density) / math.log(100), 400)
    assert found == pytest.approx(100 ** (set_point - 1), rel=0.4)
    assert target.value == pytest.approx(set_point, abs=0.1)


def test_the_density_comes_back_when_d_no_longer_overfits():
    target = Adaptive(set_point=0.5, kimg=1.0, low=0.05)
    assert follow(target, lambda density: 0.9, 200) == pytest.approx(0.05)
    assert follow(target, lambda density: 0.1, 400) == 1.0
    assert target.rests


def test_a_factor_of_two_takes_the_kimg_that_it_should():
    target = Adaptive(set_point=0.5, kimg=0.64, every=1)
    for halvings in (1, 2, 3):
        for _ in range(10):
            target.observe(torch.ones(64))
        assert target.density == pytest.approx(0.5**halvings)


def test_within_the_dead_band_nothing_moves():
    target = Adaptive(set_point=0.5, dead_band=0.1, kimg=0.1, every=1)
    target.load_state_dict({"level": -2.0, "value": None, "calls": 0, "sums": None})
    for share in (0.71, 0.75, 0.79):  # r_t 0.42 to 0.58
        target.observe(signs(share, 1000))
    assert target.density == 0.25
    target.observe(signs(0.82, 1000))
    assert target.density < 0.25


def test_bounds_hold_under_any_signal():
    draw, target = random.Random(0), Adaptive(kimg=0.05, low=0.03, high=0.7, every=2)
    assert target.density == 0.7
    for _ in range(500):
        target.observe(draw.choice((1.0, -1.0)) * torch.ones(draw.randint(1, 99)))
        assert 0.03 <= target.density <= 0.7


def test_held_out_images_and_the_balance_of_the_game_steer_too():
    held_out = Adaptive("r_v", set_point=0.5, kimg=0.01, every=1)
    held_out.observe(torch.full((10,), 2.0), fake=torch.full((10,), -2.0), held_out=torch.full((5,), -1.0))
    assert held_out.value == pytest.approx(0.75)  # (2 + 1) / (2 + 2)
    assert held_out.density == 0.5
    weak, strong = (Adaptive("balance", set_point=0.5, kimg=0.01, every=1, high=0.5) for _ in range(2))
    strong.observe(torch.full((10,), 1.0), fake=torch.full((10,), -1.0), after=torch.full((10,), -0.8))
    assert strong.value == pytest.approx(0.1)  # a step of G takes a tenth of D's lead: D is too strong
    assert strong.density == 0.25
    weak.level = -3.0
    weak.observe(torch.full((10,), -1.0), fake=torch.full((10,), 1.0), after=torch.full((10,), 1.0))
    assert weak.value == math.inf  # no lead at all
    assert weak.density == 0.25
    json.dumps(weak.state_dict(), allow_nan=False)


def test_a_signal_that_was_not_shown_is_named():
    target = Adaptive("r_v", every=1)
    with pytest.raises(ValueError, match="r_v needs D's outputs on fake and held_out images"):
        target.observe(torch.ones(4))


def test_state_goes_on_exactly():
    draw, ours = random.Random(1), Adaptive(kimg=0.3, every=5)
    for _ in range(33):
        ours.observe(signs(draw.random()))
    other = Adaptive(kimg=0.3, every=5)
    other.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    for _ in range(40):
        outputs = signs(draw.random())
        for target in (ours, other):
            target.observe(outputs)
        assert ours.state_dict() == other.state_dict()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"set_point": 1.0}, "a set point lies between -1 and 1"),
        ({"signal": "fid"}, "signal is one of r_t, r_v, balance"),
        ({"low": 0.5, "high": 0.2}, "0 < low <= high <= 1"),
        ({"low": 0.0}, "0 < low <= high <= 1"),
        ({"kimg": 0}, "kimg is above 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Adaptive(**arguments)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    return model, torch.optim.Adam(model.parameters(), 1e-3)


def batch():
    return torch.randn(16, 8)


def test_a_network_takes_the_density_and_learns_the_others_again():
    model, optimizer = network()
    target = Adaptive(set_point=0.5, kimg=0.2, every=1, low=0.1)
    pruner = Pruner(model, optimizer, Threshold(target=target, every=1))
    for _ in range(60):
        target.observe(torch.ones(20))
        train_steps(model, optimizer, batch)
        assert pruner.density() == pytest.approx(target.density, abs=0.02)
    assert pruner.density() == pytest.approx(0.1, abs=0.02)
    before = pruner.layers[1].dense()
    for _ in range(60):
        target.observe(-torch.ones(20))
        train_steps(model, optimizer, batch)
    assert pruner.density() == 1.0
    assert not torch.equal(before, pruner.layers[1].dense())


def test_at_density_one_it_is_the_dense_network():
    found = []
    for rule in (None, Threshold(target=Adaptive()), Threshold("hard", target=Adaptive())):
        model, optimizer = network()
        if rule is not None:
            Pruner(model, optimizer, rule)
        torch.manual_seed(1)
        train_steps(model, optimizer, batch, 10)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        lambda target: Threshold(target=target, every=2),
        lambda target: Static(target, every=2),
        lambda target: Magnitude(target, every=2),
        lambda target: RigL(target, every=2),
    ],
)
def test_rules_of_all_kinds_follow_and_resume(rule):
    def course(target, optimizer, model, steps, first=0):
        for step in range(first, first + steps):
            torch.manual_seed(step)
            target.observe(torch.ones(20))
            train_steps(model, optimizer, batch)

    def made():
        model, optimizer = network()
        target = Adaptive(set_point=0.5, kimg=0.3, every=3, low=0.05)
        return target, optimizer, model, Pruner(model, optimizer, rule(target))

    ours, other = made(), made()
    course(*ours[:3], 20)
    state = copy.deepcopy([ours[2].state_dict(), ours[1].state_dict(), ours[3].state_dict()])
    for part, saved in zip((other[2], other[1], other[3]), state, strict=True):
        part.load_state_dict(saved)
    for which in (ours, other):
        course(*which[:3], 15, 20)
    assert ours[3].density() == pytest.approx(ours[0].density, abs=0.05)
    for mine, its in zip(ours[2].parameters(), other[2].parameters(), strict=True):
        assert torch.equal(mine, its)
    wrong, ramp = copy.deepcopy(state[2]), [0.5, 1, 3, 0]
    wrong["rule"]["target"] = {"*": ramp} if "*" in wrong["rule"]["target"] else ramp
    with pytest.raises(ValueError, match="follows a signal"):
        other[3].load_state_dict(wrong)


def test_a_static_mask_takes_another_runs_path_and_only_loses_weights():
    model, optimizer = network()
    path = DensityPath([(0, 1.0), (20, 0.5), (40, 0.1)])
    pruner = Pruner(model, optimizer, Static(path, every=1))
    before = [torch.ones_like(layer.mask) for layer in pruner.layers]
    for step in range(1, 50):
        train_steps(model, optimizer, batch)
        assert pruner.density() == pytest.approx(path.at(step), abs=0.01)
        assert all(bool((layer.mask <= old).all()) for layer, old in zip(pruner.layers, before, strict=True))
        before = [layer.mask.clone() for layer in pruner.layers]
    assert 0.22 < path.at(30) < 0.23  # the geometric mean


@pytest.mark.parametrize("points", [[], [(0, 0.5), (0, 0.4)], [(0, 1.5)]])
def test_paths_that_are_none_are_refused(points):
    with pytest.raises(ValueError, match=r"points|density"):
        DensityPath(points)


def decide(rank, world, folder):
    os.environ["USE_LIBUV"] = "0"
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=world)
    target = Adaptive(set_point=0.0, dead_band=0.1, kimg=0.1, every=2)
    for share in (0.9, 0.9, 0.2, 0.6):
        target.observe(signs(share if rank == 0 else 1.0, 50))
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(target.state_dict(), file)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_move_together_by_the_images_of_both(tmp_path):
    mp.spawn(decide, (2, tmp_path), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["level"] == pytest.approx(-4.0)  # 2 moves of 200 images, a factor of two each hundred
    assert first["value"] == pytest.approx((0.2 * 2 - 1 + 0.6 * 2 - 1) / 4 + 0.5)


def test_a_path_and_a_ramp_are_not_taken_for_each_other():
    model, optimizer = network()
    state = Pruner(model, optimizer, Static(DensityPath([(0, 0.5), (5, 0.4)]))).state_dict()
    model, optimizer = network()
    pruner = Pruner(model, optimizer, Static(Ramp(0.5, 3)))
    with pytest.raises(ValueError, match="two kinds"):
        pruner.load_state_dict(state)
