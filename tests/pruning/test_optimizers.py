"""Optimizers as they come: closures, wrappers, several for one network, one for several, states of other kinds."""

import copy
import io

import pytest
import torch
from torch import nn

from rggan.pruning import (
    SET,
    Never,
    Pruner,
    PruningWarning,
    Ramp,
    Regrowth,
    RigL,
    ScoreSchedule,
    Threshold,
)
from tests.conftest import train_steps


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))


def adam(model, lr=1e-2):
    return torch.optim.Adam(model.parameters(), lr)


def batches(seed=1):
    random = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(16, 8, generator=random)


def same(first, second):
    """Weights, dense weights, masks and thresholds of two pruners."""
    return all(
        torch.equal(a, b)
        for one, other in zip(first.layers, second.layers, strict=True)
        for a, b in zip(parts(one), parts(other), strict=True)
    )


def parts(layer):
    return layer.weight, layer.dense(), layer.mask, layer.threshold


def test_a_closure_is_a_step_like_any_other():
    runs = []
    for way in ("plain", "positional", "keyword"):
        model = network()
        optimizer, batch = adam(model), batches()
        pruner = Pruner(model, optimizer, Threshold(target=Ramp(0.4, 10), every=2))
        seen = []

        def closure(model=model, optimizer=optimizer, batch=batch, pruner=pruner, seen=seen):
            optimizer.zero_grad()
            seen.append(all(((layer.weight == 0) == (layer.mask == 0)).all() for layer in pruner.layers))
            loss = model(batch()).square().mean()
            loss.backward()
            return loss

        for _ in range(15):
            if way == "plain":
                closure()
                optimizer.step()
            else:
                loss = optimizer.step(closure) if way == "positional" else optimizer.step(closure=closure)
                assert loss.item() > 0
        assert all(seen)  # it runs on the sparse network
        assert len(seen) == 15
        runs.append(pruner)
    assert runs[0].density() < 0.5
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])


class Twice(torch.optim.SGD):
    """As sharpness-aware minimisation does: the loss once more, from another place."""

    def step(self, closure):
        with torch.enable_grad():
            closure()
        super().step()
        with torch.enable_grad():
            closure()


def test_optimizers_that_ask_twice_are_refused():
    model = network()
    with pytest.raises(ValueError, match="LBFGS asks for the loss several times"):
        Pruner(model, torch.optim.LBFGS(model.parameters()))
    optimizer = Twice(model.parameters(), 0.1)
    Pruner(model, optimizer)
    with pytest.raises(ValueError, match="Twice asks for the loss several times"):
        optimizer.step(lambda: model(torch.randn(4, 8)).sum())


def test_an_unused_closure_changes_nothing():
    """A mixed-precision plugin may leave a step out."""

    class Skips(torch.optim.SGD):
        def step(self, closure=None):
            return None

    model = network()
    optimizer = Skips(model.parameters(), 0.1)
    pruner = Pruner(model, optimizer)
    before = copy.deepcopy(model.state_dict())
    optimizer.step(lambda: None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert pruner.steps == [0]


RULES = {
    "straight-through": lambda: Threshold(lr=0.02, target=Ramp(0.4, 12), every=2),
    "hard": lambda: Threshold("hard", target=Ramp(0.4, 12), every=2, regrowth=Regrowth(0.05, every=3)),
    "RigL": lambda: RigL(0.4, every=3),
}


@pytest.mark.parametrize("name", RULES)
def test_two_optimizers_of_one_network_equal_one_that_trains_all(name):
    def split(model):
        own = list(model.parameters())
        return [torch.optim.Adam(own[:2], 1e-2), torch.optim.Adam(own[2:], 1e-2)]

    runs = []
    for make in (lambda model: [adam(model)], split):
        model = network()
        optimizers, batch = make(model), batches()
        pruner = Pruner(model, optimizers if len(optimizers) > 1 else optimizers[0], RULES[name]())
        for step in range(40):
            if step in (20, 30):
                pruner.integrate(fade=5) if step == 20 else pruner.prune()
            for optimizer in optimizers:
                optimizer.zero_grad()
            model(batch()).square().mean().backward()
            for optimizer in optimizers:
                optimizer.step()
                for layer in pruner.layers:  # between the two, too, it is sparse
                    assert ((layer.weight == 0) >= (layer.mask == 0)).all()
        runs.append(pruner)
    assert runs[0].density() < 0.6
    assert same(*runs)


def test_optimizers_that_step_at_other_rates():
    """The one that steps more often ends a round by itself."""
    model = network()
    often, seldom = torch.optim.Adam(model[0].parameters(), 1e-2), torch.optim.Adam(model[2].parameters(), 1e-2)
    pruner = Pruner(model, [often, seldom], Threshold(target=Ramp(0.4, 10), every=1), exclude="4.*")
    for step in range(30):
        for optimizer in (often, seldom):
            optimizer.zero_grad()
        model(torch.randn(16, 8)).square().mean().backward()
        often.step()
        if step % 3 == 0:
            seldom.step()
    assert pruner.steps == [30, 10]
    assert 29 <= pruner.rule.steps <= 30
    assert pruner.density() == pytest.approx(0.4, abs=0.02)


def test_muon_and_adamw_train_one_network():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 64), nn.Linear(64, 4)
    )
    muon = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=1e-2)
    adamw = torch.optim.AdamW([p for p in model.parameters() if p.ndim != 2], 1e-3)
    pruner = Pruner(model, [muon, adamw], density=0.3)
    assert [type(layer.optimizers[0]).__name__ for layer in pruner.layers] == ["AdamW", "Muon", "Muon"]
    for _ in range(21):
        for optimizer in (muon, adamw):
            optimizer.zero_grad()
        (model(torch.randn(16, 3, 4, 4)) - 1).square().mean().backward()
        muon.step(), adamw.step()
    assert pruner.density() == pytest.approx(0.3, abs=0.02)
    first, second = network(), network()
    parts = first[0].parameters(), [*first[2].parameters(), *first[4].parameters()]
    optimizers = [torch.optim.Adam(part) for part in parts]
    assert [len(Pruner(first, optimizer).layers) for optimizer in optimizers] == [1, 2]  # those that the first one left
    with pytest.raises(ValueError, match=r"[02]\.weight already has a Pruner"):
        Pruner(first, adam(first))
    Pruner(second, [torch.optim.Adam(second[0].parameters())], exclude=["2.*", "4.*"])


def test_one_optimizer_trains_two_networks():
    g, d = network(1), network(2)
    optimizer = torch.optim.Adam([*g.parameters(), *d.parameters()], 1e-2)
    prune_g, prune_d = Pruner(g, optimizer, density=0.5), Pruner(d, optimizer, SET(0.3))
    for _ in range(11):
        optimizer.zero_grad()
        (g(torch.randn(8, 8)).square().mean() + d(torch.randn(8, 8)).square().mean()).backward()
        optimizer.step()
    assert prune_g.density() == pytest.approx(0.5, abs=0.02)
    assert prune_d.density() == pytest.approx(0.3, abs=0.02)
    for pruner in (prune_g, prune_d):
        assert all(((layer.weight == 0) >= (layer.mask == 0)).all() for layer in pruner.layers)


def test_a_second_optimizer_is_told_of_and_following_a_new_one_goes_on():
    model = network()
    first = adam(model)
    pruner = Pruner(model, first, Threshold(target=Ramp(0.2, 40), every=2))
    schedule = ScoreSchedule(pruner)
    train_steps(model, first, batches(), 20)
    assert schedule.step(1.0) == "prune"
    second = adam(model, 1e-3)
    with pytest.warns(
        PruningWarning, match=r"another optimizer \(Adam\) that its Pruner does not know trains 0\.weight"
    ):
        train_steps(model, second, batches())
    with pytest.warns(PruningWarning, match="Adam did not step since the last decision"):
        schedule.step(1.0)
    pruner.follow(second)
    train_steps(model, second, batches(), 40)
    assert schedule.step(1.0) == "prune"
    assert pruner.density() == pytest.approx(0.2, abs=0.02)
    with pytest.raises(ValueError, match=r"2\.weight is pruned, and the new optimizer does not train it"):
        pruner.follow(torch.optim.Adam(model[0].parameters()))
    train_steps(model, second, batches())
    assert pruner.steps == [41]


def test_the_optimizer_of_another_network_is_nobodys_business():
    model, other = network(), network()
    pruner = Pruner(model, adam(model))
    train_steps(other, adam(other), batches(), 2)  # a warning of ours would be an error here
    assert pruner.steps == [0]


def test_pruners_and_their_networks_can_be_collected():
    import gc
    import weakref

    model = network()
    pruner = Pruner(model, adam(model))
    gone = weakref.ref(model), weakref.ref(pruner)
    del model, pruner
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    train_steps(m := network(), adam(m), batches())


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["straight-through", "hard", "RigL"])
def test_eight_bit_moments(rule):
    """torchao's states are no plain tensors."""
    torchao = pytest.importorskip("torchao.optim")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    optimizer = torchao.AdamW8bit(model.parameters(), lr=1e-3)
    pruner = Pruner(model, optimizer, RULES[rule]())
    layer = pruner.layers[0]
    with torch.compiler.set_stance("force_eager"):  # the states are the same, and it takes no compiler
        for step in range(21):
            if step == 9 and rule != "straight-through":
                pruner.integrate(), pruner.prune()
            train_steps(model, optimizer, lambda: torch.randn(16, 64))
    assert {type(v) is torch.Tensor for v in layer.moments().values()} == {False}
    assert set(layer.moments()) == {"exp_avg", "exp_avg_sq"}
    assert pruner.density() == pytest.approx(0.4, abs=0.05)
    assert ((layer.weight == 0) >= (layer.mask == 0)).all()
    places = torch.zeros_like(layer.mask, dtype=torch.bool)
    places[3] = True
    before = layer.plain_moments()
    layer.clear_moments(places)
    for name, values in layer.plain_moments().items():
        assert values[3].abs().max() == 0
        torch.testing.assert_close(values[4:], before[name][4:], rtol=0.1, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_a_state_read_from_disk_goes_on_in_any_order_of_loading(name):
    def make():
        model = network()
        optimizer = adam(model)
        return model, optimizer, Pruner(model, optimizer, RULES[name]())

    run, batch = make(), batches()
    train_steps(run[0], run[1], batch, 13)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in run], file)
    train_steps(run[0], run[1], batches(5), 7)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        file.seek(0)
        saved = torch.load(file, map_location="cpu", weights_only=True)
        other = make()
        for i in order:
            other[i].load_state_dict(saved[i])
        train_steps(other[0], other[1], batches(5), 7)
        assert same(run[2], other[2]), order
    assert run[2].density() < 0.9


def test_a_state_on_disk_is_little_larger_than_the_network():
    torch.manual_seed(0)
    model = nn.Linear(512, 512)
    optimizer = adam(model, 1e-3)
    pruner = Pruner(model, optimizer, density=0.5)
    train_steps(model, optimizer, lambda: torch.randn(4, 512), 11)

    def size(state):
        file = io.BytesIO()
        torch.save(state, file)
        return file.tell()

    dense = 512 * 512 * 4
    assert size(model.state_dict()) == pytest.approx(dense, rel=0.02)
    assert size(pruner.state_dict()) == pytest.approx(dense * (0.5 + 1 / 32), rel=0.03)  # masked weights, and bits


def test_a_state_of_other_layers_is_refused_and_nothing_changes():
    pruner = Pruner(m := network(), adam(m))
    state = pruner.state_dict()
    before = copy.deepcopy(state)
    layers = state["layers"]
    spoiled = [
        {**layers["0.weight"], "kept": layers["0.weight"]["kept"][1:]},
        {**layers["0.weight"], "threshold": torch.zeros(3)},
        {**layers["0.weight"], "hidden": torch.zeros(7)},
        {**layers["0.weight"], "rest": torch.tensor(7.0)},
        {**layers["0.weight"], "rest": None},
        {k: v for k, v in layers["0.weight"].items() if k != "rest"},
        None,
    ]
    for layer in spoiled:
        with pytest.raises(ValueError, match=r"0\.weight"):
            pruner.load_state_dict({**state, "layers": {**layers, "0.weight": layer}})
    with pytest.raises(ValueError, match="other layers"):
        pruner.load_state_dict({**state, "layers": {"0.weight": layers["0.weight"]}})
    after = pruner.state_dict()
    assert all(torch.equal(after["layers"][n]["kept"], before["layers"][n]["kept"]) for n in layers)


def test_a_dense_phase_touches_nothing_at_a_step():
    model, plain = network(), network()
    optimizers = [adam(model), adam(plain)]
    pruner = Pruner(model, optimizers[0], Threshold(lr=0.05))
    Never(pruner)
    writes = []
    for each, optimizer in zip((model, plain), optimizers, strict=True):
        before = each[0].weight._version
        train_steps(each, optimizer, batches(), 3)
        writes.append(each[0].weight._version - before)
    assert writes[0] == writes[1] > 0  # the optimizer's own
    assert all(layer.aside is None for layer in pruner.layers)
