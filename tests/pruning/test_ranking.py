"""Each baseline does what its paper says; masked weights are zero and do not train."""

import math

import pytest
import torch
from torch import nn

from rggan.pruning import (
    SET,
    Always,
    Magnitude,
    OneShot,
    PeriodicSchedule,
    Pruner,
    Ramp,
    RigL,
    Static,
    merged_state_dict,
)
from tests.conftest import train_steps


def attach(rule, lr=1e-2, optimizer=torch.optim.Adam):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 6))
    optimizer = optimizer(model.parameters(), lr=lr)
    return model, optimizer, Pruner(model, optimizer, rule)


def masks(pruner):
    return [layer.mask.clone() for layer in pruner.layers]


def counts(pruner):
    return [int(layer.mask.sum()) for layer in pruner.layers]


def batch():
    return torch.randn(8, 10)


RULES = {
    "static": lambda: Static(0.3),
    "magnitude": lambda: Magnitude(Ramp(0.3, 10), every=2),
    "one shot": lambda: OneShot(0.3),
    "SET": lambda: SET(0.3, every=2),
    "RigL": lambda: RigL(0.3, every=2, until=100),
}


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("name", list(RULES))
def test_masked_weights_are_zero_and_the_density_is_the_one_asked_for(name, optimizer):
    model, optimizer, pruner = attach(RULES[name](), optimizer=optimizer)
    train_steps(model, optimizer, batch, 30)
    assert pruner.density() == pytest.approx(0.3, abs=0.02)
    for layer in pruner.layers:
        assert layer.weight[layer.mask == 0].abs().max() == 0
    state = merged_state_dict(model)
    assert torch.equal(state["0.weight"], pruner.layers[0].weight)


def test_static_is_one_random_choice_for_good():
    model, optimizer, pruner = attach(Static(0.4, seed=3))
    first = masks(pruner)
    assert counts(pruner) == [80, 48]
    train_steps(model, optimizer, batch, 20)
    pruner.integrate()
    train_steps(model, optimizer, batch, 5)
    pruner.prune()
    assert all(torch.equal(a, b) for a, b in zip(first, masks(pruner), strict=True))
    again, other = attach(Static(0.4, seed=3))[2], attach(Static(0.4, seed=4))[2]
    assert torch.equal(masks(again)[0], first[0])
    assert not torch.equal(masks(other)[0], first[0])
    # random: unrelated to the magnitudes that the weights had
    torch.manual_seed(0)
    plain = nn.Linear(10, 20).weight
    kept, gone = plain[first[0] > 0].abs().mean(), plain[first[0] == 0].abs().mean()
    assert abs(kept - gone) < 0.25 * (kept + gone) / 2


def test_gradual_magnitude_pruning_follows_its_ramp_and_takes_the_smallest():
    ramp = Ramp(0.2, 40)
    model, optimizer, pruner = attach(Magnitude(ramp, every=5))
    assert pruner.density() == 1.0
    before = masks(pruner)
    for step in range(1, 61):
        train_steps(model, optimizer, batch)
        now = masks(pruner)
        if step % 5:
            assert all(torch.equal(a, b) for a, b in zip(before, now, strict=True))
        else:
            for layer, old, new in zip(pruner.layers, before, now, strict=True):
                assert int(new.sum()) == round(ramp.at(step) * new.numel())
                assert (new <= old).all()  # none comes back
                kept = layer.weight[new > 0].abs().min()
                assert kept > 0
        before = now


def test_gradual_magnitude_pruning_removes_exactly_the_smallest_weights():
    model, optimizer, pruner = attach(Magnitude(Ramp(0.5, 1), every=1), lr=0.0)
    sizes = [layer.weight.detach().abs().clone() for layer in pruner.layers]
    train_steps(model, optimizer, batch)
    for size, mask in zip(sizes, masks(pruner), strict=True):
        assert size[mask > 0].min() >= size[mask == 0].max()


def test_regan_prunes_at_the_start_of_a_sparse_phase_keeps_the_mask_and_regrows_from_zero():
    model, optimizer, pruner = attach(OneShot(0.6), lr=0.1)
    schedule = PeriodicSchedule(pruner, prune=2, dense=2, first="dense")
    phases, patterns = [], []
    for _ in range(8):
        before = [layer.weight.detach().abs().clone() for layer in pruner.layers]
        was = pruner.phase
        phase = schedule.step()
        if (was, phase) == ("dense", "prune"):  # the whole network's smallest go
            everything = torch.cat([b.flatten() for b in before])
            chosen = torch.cat([m.flatten() for m in masks(pruner)])
            assert everything[chosen > 0].min() >= everything[chosen == 0].max()
            assert pruner.density() == pytest.approx(0.6, abs=0.01)
        if (was, phase) == ("prune", "dense"):
            assert pruner.density() == 1.0
            assert (pruner.layers[0].weight == 0).any()  # they train on from zero
        at_start = masks(pruner)
        train_steps(model, optimizer, batch, 3)
        assert all(torch.equal(a, b) for a, b in zip(at_start, masks(pruner), strict=True))
        phases.append(phase)
        patterns.append(at_start)
    assert phases == ["dense", "prune", "prune", "dense", "dense", "prune", "prune", "dense"]
    assert torch.equal(patterns[1][0], patterns[2][0])
    assert not torch.equal(patterns[1][0], patterns[5][0])


def test_one_shot_also_prunes_where_it_begins_with_a_sparse_phase():
    model, optimizer, pruner = attach(OneShot(0.6))
    Always(pruner)
    train_steps(model, optimizer, batch)
    assert pruner.density() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("make", [SET, lambda *a, **k: RigL(*a, until=10**9, **k)], ids=["SET", "RigL"])
def test_dynamic_rules_replace_the_smallest_and_keep_the_count(make):
    model, optimizer, pruner = attach(make(0.3, every=1, share=0.5), lr=1e-3)
    for _ in range(5):
        before, count = masks(pruner), counts(pruner)
        optimizer.zero_grad()
        model(batch()).square().mean().backward()
        optimizer.step()
        assert counts(pruner) == count
        for layer, old, new in zip(pruner.layers, before, masks(pruner), strict=True):
            survived, went = (old * new) > 0, (old > new)
            came = new > old
            assert int(went.sum()) <= round(0.5 * int(old.sum()))
            assert layer.weight[came].abs().sum() == 0  # they begin at zero
            assert (layer.weight[survived] != 0).all()
            for moment in layer.moments().values():
                assert moment[came].abs().sum() == 0


def test_the_weights_that_go_are_the_smallest():
    model, optimizer, pruner = attach(SET(0.5, every=1, share=0.2), lr=0.0)
    before = [layer.weight.detach().abs().clone() for layer in pruner.layers]
    old = masks(pruner)
    train_steps(model, optimizer, batch)
    for size, was, now in zip(before, old, masks(pruner), strict=True):
        survived, went = (was * now) > 0, was > now
        assert went.any()
        assert size[went].max() <= size[survived].min()


def test_rigl_grows_where_the_dense_gradient_is_largest():
    model, optimizer, pruner = attach(RigL(0.3, every=1, share=0.4, until=10**9), lr=0.0)
    old = masks(pruner)
    optimizer.zero_grad()
    model(batch()).square().mean().backward()
    gradients = [layer.weight.grad.abs().clone() for layer in pruner.layers]
    optimizer.step()
    for gradient, was, now in zip(gradients, old, masks(pruner), strict=True):
        came = now > was
        stayed_away = (was == 0) & (now == 0)
        assert came.any()
        assert gradient[came].min() >= gradient[stayed_away].max()


def test_rigls_share_falls_along_the_papers_cosine():
    rule = RigL(0.3, every=1, share=0.3, until=200)
    for step in (0, 50, 100, 200, 300):
        rule.steps = step
        assert rule.replaced() == pytest.approx(0.15 * (1 + math.cos(min(step, 200) * math.pi / 200)))


def test_after_a_dense_phase_the_largest_weights_are_kept():
    model, optimizer, pruner = attach(SET(0.4, every=3))
    train_steps(model, optimizer, batch, 5)
    pruner.integrate()
    train_steps(model, optimizer, batch, 10)
    sizes = [layer.weight.detach().abs().clone() for layer in pruner.layers]
    pruner.prune()
    for size, mask in zip(sizes, masks(pruner), strict=True):
        assert int(mask.sum()) == round(0.4 * mask.numel())
        assert size[mask > 0].min() >= size[mask == 0].max()


@pytest.mark.parametrize("name", list(RULES))
def test_state_goes_on_where_it_stopped(name):
    model, optimizer, pruner = attach(RULES[name]())
    random = torch.Generator().manual_seed(1)
    train_steps(model, optimizer, lambda: torch.randn(8, 10, generator=random), 7)
    saved = torch.utils._pytree.tree_map(
        lambda v: v.clone() if isinstance(v, torch.Tensor) else v,
        (model.state_dict(), optimizer.state_dict(), pruner.state_dict(), random.get_state()),
    )
    train_steps(model, optimizer, lambda: torch.randn(8, 10, generator=random), 8)
    other, other_optimizer, other_pruner = attach(RULES[name]())
    for part, state in zip((other, other_optimizer, other_pruner), saved[:3], strict=True):
        part.load_state_dict(state)
    random.set_state(saved[3])
    train_steps(other, other_optimizer, lambda: torch.randn(8, 10, generator=random), 8)
    for ours, theirs in zip(pruner.layers, other_pruner.layers, strict=True):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("density", [0.0, 1.2, -1])
@pytest.mark.parametrize("make", [Static, Magnitude, OneShot, SET, RigL])
def test_densities_out_of_range_are_refused(make, density):
    with pytest.raises(ValueError, match="density"):
        make(density)


def test_other_bad_arguments_are_refused():
    for make in (lambda: SET(0.5, share=1.5), lambda: RigL(0.5, until=0), lambda: Static(0.5, every=0)):
        with pytest.raises(ValueError, match=r"share|until|every"):
            make()


@pytest.mark.parametrize("make", [SET, lambda *a, **k: RigL(*a, until=1, **k)], ids=["SET", "RigL"])
@pytest.mark.parametrize("densities", [(1.0, 0.95, 0.9), (0.3, 0.35, 0.9), (0.9, 0.3, 1.0)])
def test_a_density_that_is_moved_shows_exactly_and_what_comes_is_chosen(make, densities):
    model, optimizer, pruner = attach(make(densities[0], every=1, share=0.3), lr=0.0)
    for density in densities:
        pruner.rule.density = density
        before = masks(pruner)
        optimizer.zero_grad()
        model(batch()).square().mean().backward()
        gradients = [layer.weight.grad.abs().clone() for layer in pruner.layers]
        optimizer.step()
        assert counts(pruner) == [round(density * 200), round(density * 120)]
        if isinstance(pruner.rule, RigL):
            for gradient, was, now in zip(gradients, before, masks(pruner), strict=True):
                came, left_out = now > was, (was == 0) & (now == 0)
                if came.any() and left_out.any():
                    assert gradient[came].min() >= gradient[left_out].max()
