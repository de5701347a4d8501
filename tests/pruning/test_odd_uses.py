"""What people do between, around and within steps: nothing is lost, nothing leaks, or one sentence says no."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from rggan.pruning import (
    SET,
    Magnitude,
    OneShot,
    PeriodicSchedule,
    Pruner,
    PublishedThreshold,
    Ramp,
    RigL,
    Rows,
    Rule,
    ScoreSchedule,
    Threshold,
)
from tests.conftest import train_steps
from tests.pruning.test_swap import half as half_pruned


def network():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))


def batch():
    return torch.randn(8, 6)


def half(rule=None, model=None, optimizer=None):
    torch.manual_seed(0)
    model = model or network()
    return model, *half_pruned(model, optimizer, rule)


def sparse_and_whole(pruner):
    """Zeros are shown, and something else is kept aside."""
    for layer in pruner.layers:
        assert ((layer.weight == 0) == (layer.mask == 0)).all()
        assert layer.dense()[layer.mask == 0].abs().min() > 0


@pytest.mark.parametrize("inside", ["refresh", "step", "nested", "phases", "load"])
def test_anything_may_happen_within_dense(inside):
    model, optimizer, pruner = half()
    before = [layer.dense() for layer in pruner.layers]
    with pruner.dense():
        if inside == "refresh":
            pruner.refresh()
        elif inside == "step":
            train_steps(model, optimizer, batch)
        elif inside == "nested":
            with pruner.dense():
                pass
        elif inside == "phases":
            pruner.integrate()
            pruner.prune()
        else:
            pruner.load_state_dict(pruner.state_dict())
        assert all((layer.weight != 0).all() for layer in pruner.layers)
    sparse_and_whole(pruner)
    if inside != "step":
        assert all(torch.equal(a, layer.dense()) for a, layer in zip(before, pruner.layers, strict=True))


def test_a_state_that_is_saved_within_dense_holds_the_hidden_weights():
    model, _, pruner = half()
    with pruner.dense():
        saved = copy.deepcopy((model.state_dict(), pruner.state_dict()))
    other, _, again = half(model=network())
    other.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    sparse_and_whole(again)
    assert all(torch.equal(a.dense(), b.dense()) for a, b in zip(pruner.layers, again.layers, strict=True))


@pytest.mark.parametrize("rule", [Threshold, lambda: Threshold("hard"), lambda: Magnitude(0.5, every=1)])
def test_schedules_may_decide_in_inference_mode(rule):
    """As Lightning's validation does."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with torch.inference_mode():
        pruner = Pruner(model, optimizer, rule())
        schedule = PeriodicSchedule(pruner, prune=1, dense=1, fade=2)
    for _ in range(6):
        train_steps(model, optimizer, batch, 3)
        with torch.inference_mode():
            schedule.step()
            pruner.load_state_dict(pruner.state_dict())
    train_steps(model, optimizer, batch, 3)
    assert not any(layer.mask.is_inference() for layer in pruner.layers)


def test_a_weight_that_two_optimizers_train_is_dense_for_both():
    """As InfoGAN's third optimizer, over both networks, does."""
    model = network()
    optimizers = [torch.optim.Adam(model.parameters(), 1e-2), torch.optim.Adam(model.parameters(), 1e-3)]
    _, _, pruner = half(Threshold("hard", lr=0.0), model, optimizers)
    for optimizer in (*optimizers, *optimizers):
        before = [(layer.dense(), layer.mask == 0) for layer in pruner.layers]
        train_steps(model, optimizer, batch)
        for layer, (was, off) in zip(pruner.layers, before, strict=True):
            assert ((layer.weight == 0) == (layer.mask == 0)).all()
            assert torch.equal(layer.dense()[off], was[off])
            assert not torch.equal(layer.dense()[~off], was[~off])
    assert set(pruner.layers[0].moments()) == {"exp_avg", "exp_avg_sq", "1.exp_avg", "1.exp_avg_sq"}
    again = network()
    optimizer = torch.optim.Adam(again.parameters())
    assert Pruner(again, [optimizer, optimizer]).optimizers == [optimizer]


@pytest.mark.parametrize("make", [lambda: Magnitude(0.5, every=1), SET, RigL, OneShot])
def test_pruning_again_in_the_middle_of_a_fade_ranks_whole_weights(make):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    pruner = Pruner(model, optimizer, make())
    train_steps(model, optimizer, batch, 2)
    pruner.integrate(fade=4)
    train_steps(model, optimizer, batch, 2)
    with torch.no_grad(), pruner.dense():  # masked until then; the largest now
        places = [layer.mask != 1 for layer in pruner.layers]
        for layer, place in zip(pruner.layers, places, strict=True):
            assert set(layer.mask[place].tolist()) == {0.5}
            layer.weight[place] = 10.0
    pruner.prune()
    for layer, place in zip(pruner.layers, places, strict=True):
        assert layer.weight[place & (layer.mask == 1)].unique().tolist() == [10.0]
        assert set(layer.mask.unique().tolist()) == {0.0, 1.0}


def test_a_rule_without_refresh_begins_again_with_whole_masks():
    class Nothing(Rule):
        pass

    model = network()
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), 0.0), Nothing())
    with pruner.dense():
        pruner.layers[0].mask[0] = 0
    pruner.integrate(fade=4)
    train_steps(model, pruner.optimizers[0], batch)
    pruner.prune()
    assert pruner.layers[0].mask.min() == 1


@pytest.mark.parametrize("estimator", ["straight-through", "hard"])
def test_what_is_written_where_a_weight_is_masked_is_the_weight(estimator):
    model, optimizer, pruner = half(Threshold(estimator, lr=0.0), optimizer=None)
    with torch.no_grad():
        model[0].weight.fill_(0.7)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train_steps(model, optimizer, batch)
    assert torch.equal(pruner.layers[0].dense(), torch.full((16, 6), 0.7))


def test_coupled_rows_and_two_optimizers():
    def parts():
        model = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(6, 5)])
        return model, [torch.optim.SGD(layer.parameters(), 0.1) for layer in model]

    rows = Rows([("1.weight", "2.weight")])
    model, (a, b, c) = parts()
    with pytest.raises(ValueError, match=r"1\.weight, 2\.weight are trained by different optimizers"):
        Pruner(model, [a, b, c], Threshold(granularity=rows))
    together = torch.optim.SGD([*model[1].parameters(), *model[2].parameters()], 0.1)
    pruner = Pruner(model, [a, together], Threshold(granularity=rows, target=0.5, every=1))
    for _ in range(10):
        (model[1](model[0](x := batch())) + model[2](x)).square().mean().backward()
        a.step(), together.step()
    assert pruner.density() < 0.8
    assert torch.equal(pruner.layers[1].mask.amax(dim=1), pruner.layers[2].mask.amax(dim=1))


def test_no_published_mask_fits_behind_a_weight_norm():
    model = nn.Sequential(weight_norm(nn.Linear(6, 6)), nn.Linear(6, 40))
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), 0.1), PublishedThreshold())
    assert pruner.skipped == {"0.weight": "no mask fits behind a weight norm"}
    train_steps(model, pruner.optimizers[0], batch)


def test_a_published_average_that_was_copied_before_is_masked_in_its_copy():
    model = nn.Sequential(spectral_norm(nn.Linear(6, 40)), nn.Linear(40, 4))
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    pruner = Pruner(model, optimizer, PublishedThreshold())
    for layer in pruner.layers:
        layer.threshold.fill_(layer.seen().abs().median().item())
    pruner.refresh()
    for copied in (pruner.pruned_copy(), pruner.pruned_copy(average)):
        weights = dict(copied.named_parameters())
        kept = sum(int((weights[layer.name] != 0).sum()) for layer in pruner.layers)
        assert kept / pruner.total == pruner.density() == pytest.approx(0.5, abs=0.02)


def test_other_peoples_hooks_after_the_step_see_sparse_weights():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append(int((model[0].weight == 0).sum())))
    half(Threshold(lr=0.0), model, optimizer)
    train_steps(model, optimizer, batch, 2)
    assert min(seen) > 10


def test_a_step_for_another_network_is_none_of_this_one():
    """One optimizer for G and D: G's graph outlives D's step, and G's ramp waits."""
    g, d = nn.Linear(4, 6), nn.Linear(6, 1)
    optimizer = torch.optim.Adam([*g.parameters(), *d.parameters()], 1e-2)
    prune_g, prune_d = Pruner(g, optimizer, density=0.5), Pruner(d, optimizer)
    for _ in range(3):
        fake = g(torch.randn(8, 4))
        optimizer.zero_grad()
        d(fake.detach()).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        d.requires_grad_(False)
        (-d(fake)).mean().backward()
        optimizer.step()
        d.requires_grad_(True)
    assert (prune_g.steps, prune_d.steps) == ([3], [3])


def test_pruners_are_not_copied_or_pickled_in_silence():
    _, _, pruner = half()
    with pytest.raises(TypeError, match="save or copy its state_dict"):
        copy.deepcopy(pruner)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: {}, "none of a Pruner"),
        (lambda s: {**s, "phase": "foo"}, "phase is none"),
        (lambda s: {**s, "fading": [5, 3]}, "phase is none"),
        (lambda s: {**s, "rule": SET(0.5).state_dict()}, "another rule than this Threshold"),
    ],
)
def test_a_state_of_another_kind_changes_nothing(spoil, message):
    _, _, pruner = half()
    before = [layer.mask.clone() for layer in pruner.layers]
    with pytest.raises(ValueError, match=message):
        pruner.load_state_dict(spoil(pruner.state_dict()))
    assert pruner.phase == "prune"
    assert all(torch.equal(a, layer.mask) for a, layer in zip(before, pruner.layers, strict=True))


def test_detaching_ends_a_fade_and_is_told_of_afterwards():
    model, optimizer, pruner = half()
    schedule = ScoreSchedule(pruner)
    pruner.integrate(fade=4)
    train_steps(model, optimizer, batch)
    dense = pruner.layers[0].dense()
    pruner.detach()
    assert torch.equal(model[0].weight, dense)
    for call in (pruner.density, lambda: schedule.step(1.0)):
        with pytest.raises(ValueError, match="Sequential: its Pruner was detached"):
            call()
    train_steps(model, optimizer, batch)


def test_a_fading_network_may_change_its_dtype():
    model = network()
    model, optimizer, pruner = half(None, model, torch.optim.SGD(model.parameters(), 0.0))
    dense = [layer.dense() for layer in pruner.layers]
    pruner.integrate(fade=3)
    train_steps(model, optimizer, batch)
    model.bfloat16()
    train_steps(model, optimizer, lambda: batch().bfloat16(), 2)
    for layer, was in zip(pruner.layers, dense, strict=True):
        torch.testing.assert_close(layer.weight, was.bfloat16())
    model.double()
    train_steps(model, optimizer, lambda: batch().double())
    pruner.prune()
    assert {layer.threshold.dtype for layer in pruner.layers} == {torch.float64}


@pytest.mark.filterwarnings("ignore")
def test_a_hook_style_norm_may_be_copied_after_a_training_pass():
    model = nn.Sequential(hook_spectral_norm(nn.Linear(6, 16)), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    pruner = Pruner(model, optimizer, density=0.5)
    train_steps(model, optimizer, batch, 12)
    copied = pruner.pruned_copy()
    x = batch()
    assert torch.equal(copied.eval()(x), model.eval()(x))


def test_more_bad_input():
    _, _, pruner = half()
    with pytest.raises(ValueError, match="takes its pruners one by one"):
        ScoreSchedule([pruner])
    with pytest.raises(ValueError, match="fade takes 0 or more steps"):
        ScoreSchedule(pruner, fade=1.5)
    with pytest.raises(ValueError, match="a fade takes a number of steps"):
        pruner.integrate(-3)
    with pytest.raises(ValueError, match=r"not at '0\.5'"):
        Ramp("0.5")
