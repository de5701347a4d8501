"""Between two steps a network is plain and sparse; within one it is dense, as if the mask stood in the graph."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm

from rggan.networks.sngan import SNGANDiscriminator, SNGANGenerator
from rggan.pruning import SET, Magnitude, OneShot, Pruner, Ramp, Regrowth, RigL, Rows, Static, Threshold
from tests.conftest import train_steps
from tests.pruning.reference import ReferencePruner, masked

RULES = {
    "penalty": lambda: Threshold(lr=0.03),
    "target": lambda: Threshold(lr=0.03, target=Ramp(0.3, 20), every=3),
    "rows": lambda: Threshold(lr=0.03, target=Ramp(0.6, 20), every=3, granularity=Rows()),
    "hard": lambda: Threshold("hard", lr=0.03),
    "hard, regrowth": lambda: Threshold("hard", target=Ramp(0.4, 20), every=3, regrowth=Regrowth(0.05, every=4)),
    "moments kept": lambda: Threshold("hard", target=0.4, every=3, regrowth=Regrowth(0.05, 4, "keep")),
    "static": lambda: Static(0.4),
    "magnitude": lambda: Magnitude(Ramp(0.3, 20), every=3),
    "one shot": lambda: OneShot(0.4),
    "SET": lambda: SET(0.4, every=3),
    "RigL": lambda: RigL(0.4, every=3),
}


def network(norm=None):
    """Every kind of layer, with batch norm and biases."""
    parts = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 6, 4, 2, 1)]
    parts += [nn.ReLU(), nn.Conv2d(6, 4, 3, 2, groups=2), nn.Flatten(), nn.Linear(4 * 49, 5)]
    return nn.Sequential(*[norm(p) if norm and isinstance(p, nn.Conv2d | nn.Linear) else p for p in parts])


def penalised_step(model, optimizer, x):
    x = x.clone().requires_grad_()
    optimizer.zero_grad()
    out = torch.tanh(model(x)).square().sum()
    (slope,) = torch.autograd.grad(out, x, create_graph=True)
    (out - model(x.detach()).mean() + 0.1 * slope.square().sum()).backward()
    optimizer.step()


SLOW = pytest.mark.slow
QUICK = ("target", "hard, regrowth", "RigL")  # one of each sort of rule


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(None, id="plain"),
        pytest.param(spectral_norm, id="parametrized", marks=SLOW),
        pytest.param(hook_spectral_norm, id="hook", marks=SLOW),
    ],
)
@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in RULES])
def test_forty_steps_equal_those_of_masks_in_the_graph(name, norm):
    """With phases, a fade, momentum, weight decay and a gradient penalty; in float64, since sums round otherwise."""
    torch.manual_seed(1)
    ours = network(norm).double()
    theirs = copy.deepcopy(ours)
    twins = []
    for model, make in ((ours, Pruner), (theirs, ReferencePruner)):
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2, betas=(0.5, 0.9), weight_decay=0.1)
        twins.append((model, optimizer, make(model, optimizer, RULES[name]())))
    seen = set()
    for step in range(40):
        x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
        for model, optimizer, pruner in twins:
            if step in (15, 27):
                pruner.integrate(fade=6 if step == 27 else 0)
            if step in (19, 36):
                pruner.prune()
            penalised_step(model, optimizer, x)
        (_, _, pruner), (_, _, reference) = twins
        seen.add(round(pruner.density(), 2))
        assert pruner.density() == reference.density()
        for layer, other in zip(pruner.layers, reference.layers, strict=True):
            assert torch.equal(layer.mask, other.mask), (step, layer.name)
            torch.testing.assert_close(layer.threshold, other.threshold, rtol=1e-7, atol=1e-10)
            torch.testing.assert_close(layer.dense(), other.dense(), rtol=1e-7, atol=1e-10)
            torch.testing.assert_close(layer.weight, other.weight * other.mask, rtol=1e-7, atol=1e-10)
    assert len(seen) > 1


def half(model, optimizer=None, rule=None):
    """A pruner that keeps about half of the weights."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 1e-2)
    pruner = Pruner(model, optimizer, rule or Threshold(lr=0.0))
    for layer in pruner.layers:
        layer.threshold.fill_(0.7)
    pruner.refresh()
    assert 0.2 < pruner.density() < 0.9
    return optimizer, pruner


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [None, spectral_norm, hook_spectral_norm], ids=["plain", "parametrized", "hook"])
def test_names_order_pickles_copies_and_strict_loads_are_those_of_the_plain_network(norm):
    plain, model = network(norm), network(norm)
    optimizer, pruner = half(model)
    train_steps(model, optimizer, lambda: torch.randn(4, 3, 8, 8), 3)
    for way in ("state_dict", "named_parameters", "named_buffers", "named_modules"):
        assert [n for n, *_ in names_of(plain, way)] == [n for n, *_ in names_of(model, way)]
    assert [p.shape for p in plain.parameters()] == [p.shape for p in model.parameters()]
    x = torch.randn(4, 3, 8, 8)
    plain.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        model.eval()(x)  # a hook-style norm leaves the weight that it made: torch copies none with a history
    copies = [plain, copy.deepcopy(model), pruner.pruned_copy()]
    if norm is not spectral_norm:  # torch pickles no parametrized module, pruned or not
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        copies.append(torch.load(file, weights_only=False))
    for other in (model, *copies):
        other.eval()
    before = model(x)
    for other in copies:
        assert torch.equal(other(x), before)
        assert type(other) is nn.Sequential
        weights = dict(other.named_parameters())
        for layer in pruner.layers:
            assert ((weights[layer.key] == 0) == (layer.mask == 0)).all()


def names_of(model, way):
    found = getattr(model, way)()
    return list(found.items()) if way == "state_dict" else list(found)


def test_the_zeros_are_there_after_every_step_and_the_dense_weights_are_kept():
    model = network()
    optimizer, pruner = half(model)
    before = [layer.dense() for layer in pruner.layers]
    for _ in range(5):
        train_steps(model, optimizer, lambda: torch.randn(4, 3, 8, 8))
        for layer in pruner.layers:
            assert ((layer.weight == 0) == (layer.mask == 0)).all()
            assert layer.dense()[layer.mask == 0].abs().min() > 0
    after = [layer.dense() for layer in pruner.layers]
    assert all((a != b)[layer.mask == 0].any() for a, b, layer in zip(before, after, pruner.layers, strict=True))


def test_what_somebody_writes_between_steps_stays_and_hidden_weights_stay_hidden():
    model = network()
    optimizer, pruner = half(model, torch.optim.SGD(model.parameters(), lr=0.0))
    layer = pruner.layers[0]
    dense, off = layer.dense(), layer.mask == 0
    with torch.no_grad():
        model[0].weight.clamp_(-0.05, 0.05)  # as WGAN does
    train_steps(model, optimizer, lambda: torch.randn(4, 3, 8, 8))
    found = layer.dense()
    assert torch.equal(found[off], dense[off])
    assert torch.equal(found[~off], dense[~off].clamp(-0.05, 0.05))

    fresh = {name: torch.randn_like(value) for name, value in network().state_dict().items() if "weight" in name}
    model.load_state_dict(fresh, strict=False)  # dense weights, also where masks are 0
    train_steps(model, optimizer, lambda: torch.randn(4, 3, 8, 8))
    assert torch.equal(layer.dense(), fresh["0.weight"])
    assert ((layer.weight == 0) == (layer.mask == 0)).all()


def test_a_model_that_moves_to_another_dtype_is_followed():
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
    optimizer, pruner = half(model)
    model.bfloat16()
    train_steps(model, optimizer, lambda: torch.randn(4, 8, dtype=torch.bfloat16), 3)
    for layer in pruner.layers:
        assert layer.mask.dtype == layer.dense().dtype == torch.bfloat16
        assert layer.threshold.dtype == torch.float32
        assert ((layer.weight == 0) == (layer.mask == 0)).all()
        assert layer.dense()[layer.mask == 0].abs().min() > 0


def test_bfloat16_weights_reach_their_target_with_float32_thresholds():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16)).bfloat16()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    pruner = Pruner(model, optimizer, Threshold(target=0.3, every=1, lr=1e-3))
    train_steps(model, optimizer, lambda: torch.randn(8, 64, dtype=torch.bfloat16), 20)
    assert {layer.threshold.dtype for layer in pruner.layers} == {torch.float32}
    assert all(layer.threshold.unique().numel() > 1 for layer in pruner.layers)
    assert pruner.density() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("rule", ["target", "hard", "SET"])
def test_wide_layers_in_blocks_equal_narrow_ones_at_once(rule, monkeypatch):
    runs = []
    for block in (1 << 15, 64):
        monkeypatch.setattr("rggan.pruning.layer.BLOCK", block)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 50), nn.ReLU(), nn.Linear(50, 30))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        pruner = Pruner(model, optimizer, RULES[rule]())
        assert len(list(pruner.layers[0].blocks(model[0].weight))) == (1 if block > 64 else 50)
        train_steps(model, optimizer, lambda: torch.randn(8, 40), 30)
        runs.append([v for layer in pruner.layers for v in (layer.weight, layer.dense(), layer.mask, layer.threshold)])
        assert pruner.density() < 1
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


NETWORKS = {
    "generator": (lambda: SNGANGenerator(16, 1, 8), lambda: (torch.randn(4, 128),)),
    "generator 64": (lambda: SNGANGenerator(64, 3, 8), lambda: (torch.randn(4, 128),)),
    "conditional generator": (
        lambda: SNGANGenerator(16, 1, 8, classes=3),
        lambda: (torch.randn(4, 128), torch.tensor([0, 1, 2, 0])),
    ),
    "discriminator": (lambda: SNGANDiscriminator(32, 3, 8), lambda: (torch.randn(4, 3, 32, 32),)),
    "conditional discriminator": (
        lambda: SNGANDiscriminator(16, 1, 8, classes=3),
        lambda: (torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_ones_masks_change_no_bit(name):
    """Of outputs, gradients and two steps: hard thresholds that do not move are the network without a pruner."""
    make, inputs = NETWORKS[name]
    plain = make()
    pruned = copy.deepcopy(plain)
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in (plain, pruned)]
    Pruner(pruned, optimizers[1], Threshold("hard", lr=0.0))
    for _ in range(2):
        arguments, outputs = inputs(), []
        for model, optimizer in zip((plain, pruned), optimizers, strict=True):
            optimizer.zero_grad()
            outputs.append(model(*arguments))
            outputs[-1].square().sum().backward()
            optimizer.step()
        assert torch.equal(*outputs)
    for (key, a), (other, b) in zip(plain.state_dict().items(), pruned.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(a, b), key
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), pruned.parameters(), strict=True))


def test_gradient_is_the_dense_one_also_under_a_gradient_penalty():
    """The same as differentiating by the effective weight, as a leaf of its own, in float64."""
    weight = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(6, 4) < 0.5).double()
    model = nn.Linear(4, 6, bias=False).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    pruner = Pruner(model, optimizer)
    with torch.no_grad(), pruner.dense():
        model.weight.copy_(weight)
        pruner.layers[0].mask.copy_(mask)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def loss(w):
        out = torch.tanh(x @ w.T).square().sum()
        (slope,) = torch.autograd.grad(out, x, create_graph=True)
        return out + 10 * slope.square().sum()

    (reference,) = torch.autograd.grad(loss(masked(weight, mask)), weight)
    (ours,) = torch.autograd.grad(loss(model.weight), model.weight)
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
    assert ours[mask == 0].abs().min() > 0  # masked weights do receive one


@pytest.mark.slow
@pytest.mark.parametrize("first", ["pruner", "compile"])
def test_change_of_the_mask_shows_through_a_compiled_module(first):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if first == "pruner":
        pruner = Pruner(model, optimizer)
    compiled = torch.compile(model, backend="aot_eager")
    if first == "compile":
        pruner = Pruner(compiled, optimizer)
    assert [layer.name for layer in pruner.layers] == ["0.weight", "2.weight"]
    x = torch.randn(5, 4)
    before = compiled(x)
    with pruner.dense():
        pruner.layers[1].mask.zero_()
    assert torch.equal(compiled(x), model[2].bias.expand(5, 1))
    pruner.integrate()
    assert torch.equal(compiled(x), before)


def test_a_step_that_broke_off_leaves_nothing_hidden_and_the_next_one_goes_on():
    model = network()
    optimizer, pruner = half(model)
    step, optimizer.__class__.step = optimizer.__class__.step, None
    try:
        optimizer.__class__.step = torch.optim.Optimizer.profile_hook_step(broken)
        with pytest.raises(RuntimeError, match="out of memory"):
            train_steps(model, optimizer, lambda: torch.randn(4, 3, 8, 8))
    finally:
        optimizer.__class__.step = step
    assert all(not layer.hides for layer in pruner.layers)
    train_steps(model, optimizer, lambda: torch.randn(4, 3, 8, 8))
    for layer in pruner.layers:
        assert ((layer.weight == 0) == (layer.mask == 0)).all()


def broken(self, closure=None):
    raise RuntimeError("out of memory")
