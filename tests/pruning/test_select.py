"""What is pruned, what can be on request, what is told of the rest, and what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import spectral_norm as hook_spectral_norm
from torch.nn.utils import weight_norm as hook_weight_norm
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from rggan.pruning import Pruner, PruningWarning, PublishedThreshold, Ramp, Rows, Static, Threshold
from tests.conftest import train_steps


def adam(model, lr=1e-2):
    return torch.optim.Adam(model.parameters(), lr)


def names(pruner):
    return {layer.name for layer in pruner.layers}


class EqualLinear(nn.Module):
    """rosinality's: a weight of its own, scaled at each forward."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))

    def forward(self, x):
        return F.linear(x, self.weight / self.weight.shape[1] ** 0.5)


class ModulatedConv(nn.Module):
    """[1, out, in, k, k]."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, 3, 3))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.MultiheadAttention(8, 2), {"in_proj_weight": 0, "out_proj.weight": 0}),
        (nn.MultiheadAttention(8, 2, kdim=4, vdim=4), {**{f"{k}_proj_weight": 0 for k in "qkv"}, "out_proj.weight": 0}),
        (nn.LSTM(4, 6, num_layers=2, proj_size=3), {f"weight_{k}_l{i}": 0 for k in ("ih", "hh", "hr") for i in (0, 1)}),
        (nn.GRUCell(4, 6), {"weight_ih": 0, "weight_hh": 0}),
        (nn.Bilinear(3, 4, 5), {"weight": 0}),
        (nn.Conv3d(2, 4, 3), {"weight": 0}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_attention_and_recurrent_weights_are_pruned(module, expected):
    pruner = Pruner(module, adam(module), density=0.4)
    assert {layer.name: layer.dim for layer in pruner.layers} == expected
    assert pruner.reach() == 1
    assert not pruner.skipped
    for p in module.parameters():
        p.grad = torch.randn_like(p)
    for _ in range(10):
        pruner.optimizers[0].step()
    assert pruner.density() == pytest.approx(0.4, abs=0.02)
    parameters = dict(module.named_parameters())
    assert all(((parameters[layer.key] == 0) == (layer.mask == 0)).all() for layer in pruner.layers)


def test_a_transformer_is_sparse_as_it_says():
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    optimizer = adam(model, 1e-3)
    pruner = Pruner(model, optimizer, density=0.3)
    train_steps(model, optimizer, lambda: torch.randn(4, 5, 16), 11)
    assert pruner.density() == pytest.approx(0.3, abs=0.02)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    assert sum(int((p != 0).sum()) for p in matrices) / sum(p.numel() for p in matrices) == pytest.approx(0.3, abs=0.02)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [weight_norm, hook_weight_norm], ids=["parametrized", "hook"])
def test_weight_normed_layers_are_pruned_behind_their_gains(norm):
    model = nn.Sequential(norm(nn.Conv1d(4, 8, 3, padding=1)), nn.ReLU(), norm(nn.Linear(6, 8)))
    optimizer = adam(model, 1e-3)
    pruner = Pruner(model, optimizer, density=0.4)
    assert [tuple(layer.weight.shape) for layer in pruner.layers] == [(8, 4, 3), (8, 6)]
    assert not pruner.unselected
    train_steps(model, optimizer, lambda: torch.randn(2, 4, 6), 15)
    assert pruner.density() == pytest.approx(0.4, abs=0.03)
    model(torch.randn(2, 4, 6))  # a hook-style norm computes its weight in the forward pass
    for module, layer in zip((model[0], model[2]), pruner.layers, strict=True):
        assert torch.equal(module.weight == 0, layer.mask == 0)


@pytest.mark.parametrize("groups", [1, 2, 4, 16])
@pytest.mark.parametrize("kind", [nn.ConvTranspose2d, nn.Conv2d])
@pytest.mark.parametrize("rule", ["threshold", "rows"])
def test_grouped_convolutions_have_a_threshold_for_each_output(kind, groups, rule):
    torch.manual_seed(0)
    conv = kind(16, 16, 3, groups=groups, bias=False)
    model = nn.Sequential(nn.Conv2d(16, 16, 1), conv)
    optimizer = adam(model)
    granularity = Rows() if rule == "rows" else None
    pruner = Pruner(model, optimizer, Threshold(target=Ramp(0.5, 20), granularity=granularity, every=2))
    layer = pruner.layers[1]
    assert layer.threshold.shape == (16,)
    with pruner.dense():  # output 5, and no other, goes
        layer.mask.copy_((layer.per_neuron(torch.arange(16.0)) != 5).expand_as(layer.mask))
    x = torch.randn(2, 16, 5, 5)
    out = model(x)
    assert [int(i) for i in range(16) if out[:, i].abs().max() == 0] == [5]
    values = torch.rand_like(conv.weight)
    with torch.no_grad():  # what a sum over an output's weights is, by the convolution itself
        probe = copy.deepcopy(conv)
        probe.weight.copy_(values)
        side = 7 if kind is nn.ConvTranspose2d else 3
        sums = probe(torch.ones(1, 16, 5, 5))[0, :, side // 2, side // 2]
    torch.testing.assert_close(layer.neuron_sum(values), sums)
    for _ in range(30):
        train_steps(model, optimizer, lambda: x)
        assert layer.mask.any()
        if rule == "rows":
            shown = layer.mask - layer.per_neuron(layer.neuron_sum(layer.mask) / (layer.mask.numel() // 16))
            assert shown.abs().max() == 0  # whole outputs
    assert pruner.density() == pytest.approx(0.5, abs=0.06)


def test_weights_of_ones_own_are_named_and_taken_by_name():
    net = nn.Sequential(EqualLinear(8, 64), nn.ReLU(), EqualLinear(64, 8))
    with pytest.raises(ValueError, match=r"no layer is selected.*include=\['0.weight', '2.weight'\]"):
        Pruner(net, adam(net))
    optimizer = adam(net)
    pruner = Pruner(net, optimizer, include="*.weight", density=0.3)
    assert names(pruner) == {"0.weight", "2.weight"}
    train_steps(net, optimizer, lambda: torch.randn(4, 8), 12)
    assert pruner.density() == pytest.approx(0.3, abs=0.01)


def test_little_reach_warns_and_the_table_tells():
    net = nn.Sequential(EqualLinear(8, 64), nn.ReLU(), EqualLinear(64, 64), nn.Linear(64, 1), nn.Embedding(50, 50))
    with pytest.warns(PruningWarning, match=r"Sequential: its Pruner reaches 1% of .* leaves out .*2\.weight"):
        pruner = Pruner(net, adam(net))
    text = str(pruner)
    assert "2.weight   64 x 64" in text.replace("    ", "   ")
    assert "not selected" in text
    assert "an embedding" in text
    assert pruner.density() == 1
    pruner.detach()
    pruner = Pruner(net, adam(net), exclude=("0.*", "2.*"))  # meant: no warning
    assert pruner.reach() == 1
    assert pruner.unselected["2.weight"] == "excluded"


def test_density_of_the_whole_model_counts_everything_else_as_kept():
    net = nn.Sequential(nn.Linear(10, 10), nn.Embedding(10, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    pruner = Pruner(net, optimizer, Static(0.5))
    assert pruner.density() == 0.5
    assert pruner.density(of="model") == (100 - 50 + 100 + 10) / 210
    with pytest.raises(ValueError, match="of='prunable'"):
        pruner.density(of="matrices")


def test_a_pattern_takes_matrices_and_a_whole_name_takes_anything():
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Linear(6, 3))
    pruner = Pruner(model, adam(model), include=["0.*", "1.bias"])
    assert {layer.name: (layer.dim, layer.groups) for layer in pruner.layers} == {
        "0.weight": (1, 2),
        "1.weight": (0, 1),
        "1.bias": (0, 1),
    }
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    for _ in range(3):
        pruner.optimizers[0].step()


def test_select_may_return_dimensions_names_and_patterns():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key = (nn.Parameter(torch.randn(3, 4)) for _ in range(2))
            self.styled = ModulatedConv(4, 5)

    answers = {
        "name": ("query", {"query": 0}),
        "names": (["query", "key"], {"query": 0, "key": 0}),
        "dims": ({"query": 1, "k*": 0}, {"query": 1, "key": 0}),
    }
    for answer, expected in answers.values():
        net = Block()
        pruner = Pruner(net, adam(net), select=lambda name, m, answer=answer: answer if isinstance(m, Block) else None)
        assert {layer.name: layer.dim for layer in pruner.layers} == expected
    net = Block()
    pruner = Pruner(net, adam(net), include=["query", "styled.*"], select=lambda name, m: None)
    assert {layer.name: (layer.dim, len(layer.threshold)) for layer in pruner.layers} == {
        "query": (0, 3),
        "styled.weight": (1, 5),
    }
    pruner = Pruner(net := Block(), adam(net), select=lambda name, m: "value" if isinstance(m, Block) else True)
    assert "not a parameter" in pruner.skipped["value"]
    assert names(pruner) == {"styled.weight"}


def standardised(weight):
    return (weight - weight.mean()) / weight.std()


class Standardised(nn.Module):
    def forward(self, weight):
        return standardised(weight)


class Softplus(nn.Module):
    def forward(self, weight):
        return F.softplus(weight)


class Scaled(nn.Module):
    def forward(self, weight):
        return weight * 3


@pytest.mark.parametrize("behind", [Standardised, Softplus, "orthogonal"])
def test_parametrizations_that_leave_no_zeros_are_refused_with_the_reason(behind):
    odd = nn.Linear(6, 6)
    if behind == "orthogonal":
        orthogonal(odd)
    else:
        parametrize.register_parametrization(odd, "weight", behind())
    net = nn.Sequential(odd, nn.Linear(6, 20))
    before = odd.weight.detach().clone()
    pruner = Pruner(net, adam(net))
    assert names(pruner) == {"1.weight"}
    assert pruner.skipped == {"0.weight": "its parametrization makes other numbers of zeros"}
    assert torch.equal(odd.weight, before)


def test_a_parametrization_that_keeps_zeros_is_pruned():
    layer = nn.Linear(6, 6)
    parametrize.register_parametrization(layer, "weight", Scaled())
    optimizer = adam(layer)
    pruner = Pruner(layer, optimizer, density=0.5)
    train_steps(layer, optimizer, lambda: torch.randn(4, 6), 10)
    assert int((layer.weight == 0).sum()) == 18
    assert names(pruner) == {"weight"}


BAD = {
    "a rule third": (
        lambda m, o: Pruner(m, o, 0.5),
        r"takes a rule third, like Threshold\(target=0\.5\); or .*density=0\.5",
    ),
    "not both": (lambda m, o: Pruner(m, o, Threshold(), density=0.5), "a rule or a density, not both"),
    "no rule": (lambda m, o: Pruner(m, o, "threshold"), "not a str"),
    "a scheduler": (
        lambda m, o: Pruner(m, torch.optim.lr_scheduler.StepLR(o, 3)),
        "StepLR is a learning-rate scheduler: give its optimizer",
    ),
    "parameters": (lambda m, o: Pruner(m, list(m.parameters())), "Parameter is no torch.optim.Optimizer"),
    "no optimizer": (lambda m, o: Pruner(m, []), "needs an optimizer"),
    "no module": (lambda m, o: Pruner(m.parameters(), o), "takes a module first, not a generator"),
    "dim 7": (lambda m, o: Pruner(m, o, select=lambda n, x: 7), r"0\.weight \(8, 4\) has no dimension 7: .* 0 to 1"),
    "dim -1": (lambda m, o: Pruner(m, o, select=lambda n, x: -1), r"0\.weight \(8, 4\) has no dimension -1"),
    "included dim": (lambda m, o: Pruner(m, o, include={"2.weight": 2}), r"2\.weight \(2, 8\) has no dimension 2"),
    "include": (
        lambda m, o: Pruner(m, o, include="nowhere.*"),
        r"include='nowhere\.\*' matches no parameter .*0\.weight",
    ),
    "exclude": (lambda m, o: Pruner(m, o, exclude=["x"]), "exclude='x' matches no parameter"),
    "frozen": (
        lambda m, o: Pruner(m.requires_grad_(False), o),
        r"Sequential: all its weights are frozen; call requires",
    ),
    "a density above 1": (lambda m, o: Pruner(m, o, density=1.5), "a target density lies above 0"),
    "densities": (
        lambda m, o: Pruner(m, o, density={"0.*": 0.5}),
        r"no density is given for 2\.weight: add one for '\*'",
    ),
    "idle density": (lambda m, o: Pruner(m, o, density={"9.*": 0.5, "*": 0.1}), r"takes the density of '9\.\*'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_leaves_the_model_as_it_was(name):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = adam(model)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        call(model, optimizer)
    assert len(str(caught.value)) < 300
    assert {n: torch.equal(v, before[n]) for n, v in model.state_dict().items()} == dict.fromkeys(before, True)
    assert not optimizer._optimizer_step_pre_hooks
    model.requires_grad_(True)
    assert Pruner(model, optimizer).density() == 1


def test_a_message_about_many_layers_stays_short():
    model = nn.Sequential(*[orthogonal(nn.Linear(4, 4)) for _ in range(50)])
    with pytest.raises(ValueError, match="and 47 more") as caught:
        Pruner(model, adam(model))
    assert len(str(caught.value)) < 400


@pytest.mark.filterwarnings("ignore")
def test_no_published_mask_fits_behind_a_hook():
    model = nn.Sequential(hook_spectral_norm(nn.Linear(4, 8)), spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 4))
    pruner = Pruner(model, adam(model), PublishedThreshold())
    assert names(pruner) == {"1.weight", "2.weight"}
    assert "hook-style" in pruner.skipped["0.weight_orig"]


def test_layers_may_have_densities_of_their_own():
    model = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 10))
    optimizer = adam(model, 1e-3)
    pruner = Pruner(model, optimizer, density={"0.*": 0.8, "4.*": Ramp(0.5, steps=20), "*": 0.1})
    train_steps(model, optimizer, lambda: torch.randn(4, 20), 40)
    found = pruner.densities()
    assert found == pytest.approx({"0.weight": 0.8, "2.weight": 0.1, "4.weight": 0.5}, abs=0.01)


def test_a_ramp_may_start_later():
    model = nn.Linear(20, 40)
    optimizer = adam(model, 1e-3)
    pruner = Pruner(model, optimizer, Threshold(target=Ramp(0.3, steps=20, start=15), every=1))
    densities = []
    for _ in range(40):
        train_steps(model, optimizer, lambda: torch.randn(4, 20))
        densities.append(pruner.density())
    assert densities[:15] == pytest.approx([1.0] * 15, abs=0.01)
    assert densities[20] < 0.8
    assert densities[-1] == pytest.approx(0.3, abs=0.01)
    with pytest.raises(ValueError, match="starts at step 0 or later"):
        Ramp(0.3, start=-1)
