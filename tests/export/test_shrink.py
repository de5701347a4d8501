"""Networks without their silent rows compute what they computed before."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rggan.errors import UserError
from rggan.export.shrink import shrink
from rggan.networks import FAMILIES
from rggan.pruning.tracing import without_norms

FAMILY_NAMES = ("sngan", "biggan", "stylegan2", "fastgan")


def count(module):
    return sum(p.numel() for p in module.parameters())


def inputs_of(name, classes, batch=4):
    labels = torch.arange(batch) % classes if classes else None
    return [torch.randn(batch, 16), labels, 0.5] if name == "stylegan2" else [torch.randn(batch, 16), labels]


@torch.no_grad()
def stirred(network):
    """As if trained: biases, gains and statistics that are none of their first values."""
    for p in network.parameters():
        if p.dim() < 2:
            p.add_(torch.randn_like(p) * 0.1)
    for name, b in network.named_buffers():
        if "running" in name:
            b.add_(torch.rand_like(b) * 0.3)
    return network.eval()


def layers(network):
    return [
        (name, m, int(isinstance(m, nn.ConvTranspose2d)))
        for name, m in network.named_modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and min(m.weight.shape[:2]) > 3
    ]


@torch.no_grad()
def halved(network, columns=False):
    """Without the weights of every other pair of rows, and perhaps of what reads them."""
    for name, m, d in layers(network):
        weight = m.parametrizations.weight.original if hasattr(m, "parametrizations") else m.weight
        if name == "linear":  # 16 places of each channel
            weight.view(-1, 16, weight.shape[1])[torch.arange(weight.shape[0] // 16) % 4 < 2] = 0
            continue
        for dim in (d, 1 - d) if columns else (d,):
            weight.movedim(dim, 0)[torch.arange(weight.shape[dim]) % 4 < 2] = 0
    return network


def made(name, classes=0):
    torch.manual_seed(0)
    network = FAMILIES.get(name).generator((32, 32), 3, 8, 16, classes)
    for _ in range(8):  # statistics and spectral norms are those of its weights
        network(*inputs_of(name, classes, 16)[:2])
    return stirred(network)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_generator_of_each_family_is_smaller_and_draws_the_same(name, classes):
    whole = halved(without_norms(made(name, classes)), columns=name == "stylegan2")
    before = copy.deepcopy(whole.state_dict())
    given = inputs_of(name, classes)
    small = shrink(whole, *given)
    assert count(small) < 0.75 * count(whole)
    assert type(small) is type(whole)
    torch.manual_seed(1)
    with torch.no_grad():
        for _ in range(3):
            given = inputs_of(name, classes, 5)
            want = whole(*given)
            assert want.std() > 0.01
            assert (small(*given) - want).abs().max() <= 1e-5 * max(1, want.abs().max())
    assert all(torch.equal(before[key], value) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("name", ["biggan", "fastgan"])
def test_spectral_norms_are_folded(name):
    """Rows go from the parametrized weight; the result has plain ones."""
    whole = halved(made(name))
    small = shrink(whole, torch.randn(4, 16))
    assert count(small) < count(whole)
    assert not [key for key in small.state_dict() if "parametrizations" in key]
    z = torch.randn(4, 16)
    with torch.no_grad():
        assert torch.allclose(small(z), whole(z), atol=1e-5)


def test_the_sizes_are_those_of_the_rows_that_are_left():
    whole = without_norms(made("sngan"))
    with torch.no_grad():
        for layer in (whole.blocks[1].conv2, whole.blocks[1].shortcut):
            layer.weight[[0, 3, 5]] = 0
    small = shrink(whole, torch.randn(4, 16))
    # The constants of the three differ in nothing but size: one carries those of all, unless none is left.
    left = small.blocks[1].conv2.out_channels
    assert left in (5, 6)
    assert small.blocks[1].shortcut.out_channels == small.blocks[2].norm1.num_features == left
    assert small.blocks[2].conv1.in_channels == small.blocks[2].shortcut.in_channels == left
    assert small.blocks[0].conv2.weight.shape == whole.blocks[0].conv2.weight.shape


def test_a_row_that_is_still_summed_with_another_stays():
    whole = without_norms(made("sngan"))
    with torch.no_grad():
        whole.blocks[1].conv2.weight[:4] = 0  # the shortcut's are not
    with pytest.raises(UserError, match="SNGANGenerator has nothing silent to remove: no whole row is zero"):
        shrink(whole, torch.randn(4, 16))


def test_a_channel_that_nobody_reads_leaves():
    whole = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        whole[2].weight[:, :3] = 0
    assert shrink(whole, torch.randn(5, 4))[0].out_features == 5


def test_constants_go_into_the_bias_where_it_is_the_same_everywhere():
    whole = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 2, 3))
    with torch.no_grad():
        whole[0].weight[:7] = 0
    small = shrink(whole, torch.randn(2, 3, 8, 8))
    assert small[0].out_channels == 1
    assert not torch.equal(small[2].bias, whole[2].bias)


def test_one_channel_carries_the_constants_to_a_padded_convolution():
    whole = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 2, 3, padding=1))
    with torch.no_grad():
        whole[0].weight[:6] = 0
    small = shrink(whole, torch.randn(2, 3, 8, 8))
    assert small[0].out_channels == 3  # two that live, and the carrier
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(small(x), whole(x), atol=1e-5)


def test_the_last_channel_of_a_layer_stays():
    whole = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        whole[0].weight.zero_()
    small = shrink(whole, torch.randn(2, 4))
    assert small[0].out_features == 1
    assert torch.allclose(small(torch.randn(3, 4)), whole(torch.randn(3, 4)), atol=1e-6)


class Residual(nn.Module):
    """A small generator with a residual sum, as people write them."""

    def __init__(self, norm=nn.BatchNorm2d, size=-1):
        super().__init__()
        self.size = size
        self.start = nn.Linear(8, 16 * 16)
        self.norm1, self.conv1 = norm(16), nn.Conv2d(16, 16, 3, padding=1)
        self.norm2, self.conv2 = norm(16), nn.Conv2d(16, 16, 3, padding=1)
        self.rgb = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, z):
        x = self.start(z).view(len(z), self.size, 4, 4)
        h = self.conv1(F.leaky_relu(self.norm1(x), 0.2))
        x = x + self.conv2(F.leaky_relu(self.norm2(h), 0.2))
        return torch.tanh(self.rgb(F.interpolate(x, scale_factor=2)))


def zeroed(network):
    with torch.no_grad():
        network.start.weight.view(16, 16, 8)[:6] = 0
        network.conv1.weight[:8] = 0
        network.conv2.weight[:6] = 0
    return network


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda n: nn.InstanceNorm2d(n, affine=True), nn.InstanceNorm2d])
def test_a_generator_with_a_residual_sum(norm):
    torch.manual_seed(0)
    whole = zeroed(stirred(Residual(norm)))
    with torch.no_grad():
        whole.start.bias.view(16, 16)[:6] = whole.start.bias[:6, None]  # one constant each
    small = shrink(whole, torch.randn(4, 8))
    assert small.conv1.out_channels <= 9
    assert small.conv2.out_channels < 16
    z = torch.randn(6, 8)
    with torch.no_grad():
        assert torch.allclose(small(z), whole(z), atol=1e-5)


def test_channels_whose_number_is_written_down_stay():
    """The view says 16: what it splits stays, the rest leaves."""
    whole = zeroed(stirred(Residual(size=16)))
    small = shrink(whole, torch.randn(4, 8))
    assert (small.conv2.out_channels, small.start.out_features) == (16, 256)
    assert small.conv1.out_channels <= 9


def test_an_unflatten_says_its_new_size():
    whole = nn.Sequential(nn.Linear(4, 64, bias=False), nn.Unflatten(1, (16, 2, 2)), nn.ConvTranspose2d(16, 1, 4))
    with torch.no_grad():
        whole[0].weight[:40] = 0
    small = shrink(whole, torch.randn(2, 4))
    assert small[1].unflattened_size == (6, 2, 2)
    assert whole[1].unflattened_size == (16, 2, 2)


def test_hook_style_spectral_norm_is_folded():
    whole = Residual()
    for conv in (whole.conv1, whole.conv2):
        nn.utils.spectral_norm(conv)
    whole(torch.randn(4, 8))
    with torch.no_grad():
        whole.conv1.weight_orig[:4] = 0
    small = shrink(whole, torch.randn(4, 8))
    assert small.conv1.out_channels <= 13
    assert "conv1.weight_orig" not in small.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["INSTANCE", "BATCH"])
def test_monais_generator(norm):
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    whole = nets.Generator(
        latent_shape=(16,), start_shape=(16, 4, 4), channels=(16, 8, 1), strides=(2, 2, 1), norm=norm
    ).eval()
    halved(whole)
    small = shrink(whole, torch.randn(4, 16))
    assert count(small) < 0.75 * count(whole)
    z = torch.randn(5, 16)
    with torch.no_grad():
        assert torch.allclose(small(z), whole(z), atol=1e-5)


def test_what_normalises_over_channels_keeps_them():
    whole = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    with torch.no_grad():
        whole[0].weight[:4] = 0
    with pytest.raises(UserError, match="nothing silent"):
        shrink(whole, torch.randn(3, 4))


class Picking(nn.Module):
    """Its second layer reads what `part` takes of the first."""

    def __init__(self, part):
        super().__init__()
        self.first, self.part, self.second = nn.Linear(4, 8, bias=False), part, nn.Linear(4, 2)

    def forward(self, x):
        return self.second(self.part(self.first(x)))


@pytest.mark.parametrize(
    "part",
    [
        lambda h: h[:, :4] + h[:, 4:],  # the numbers are written down
        lambda h: h[:, 2:6],
    ],
)
def test_channels_that_are_sliced_by_number_stay(part):
    whole = Picking(part)
    with torch.no_grad():
        whole.first.weight[[0, 1, 4, 5]] = 0
    with pytest.raises(UserError, match=r"Picking (has nothing silent to remove|cannot be shrunk: without row)"):
        shrink(whole, torch.randn(3, 4))


@pytest.mark.parametrize(
    "part",
    [lambda h: torch.stack([h[:, i] for i in (1, 3, 5, 7)], dim=1), lambda h: h[:, torch.tensor([0, 2, 4, 6])]],
)
def test_channels_that_are_picked_by_number_stay(part):
    whole = Picking(part)
    with torch.no_grad():
        whole.first.weight[[0, 1, 4, 5]] = 0
    with pytest.raises(UserError, match="Picking has nothing silent to remove"):
        shrink(whole, torch.randn(3, 4))


def test_channels_that_are_picked_besides_stay():
    class Besides(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 8, bias=False), nn.Linear(8, 2)

        def forward(self, x):
            h = self.first(x)
            return self.second(h) + h[:, 7, None]

    whole = Besides()
    with torch.no_grad():
        whole.first.weight[:2] = 0
    with pytest.raises(UserError, match="nothing silent"):
        shrink(whole, torch.randn(3, 4))


def test_halves_are_parted_anew():
    whole = Picking(lambda h: torch.mul(*h.chunk(2, dim=1)))
    with torch.no_grad():
        whole.first.weight[[0, 4]] = 0
    assert shrink(whole, torch.randn(3, 4)).first.out_features == 6


class Counting(nn.Module):
    """What comes out depends on how many channels there are, which no operation shows."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8, bias=False), nn.Linear(8, 2)

    def forward(self, x):
        h = torch.relu(self.first(x))
        return self.second(h) * h.shape[1]


def test_a_network_that_computes_another_thing_is_refused_and_the_row_named():
    whole = Counting()
    with torch.no_grad():
        whole.first.weight[5] = 0
    with pytest.raises(UserError) as error:
        shrink(whole, torch.randn(3, 4))
    assert str(error.value) == "Counting cannot be shrunk: without row 5 of first.weight it does not compute the same."


class Naming(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return {"x": self.linear(x)}


def test_what_cannot_be_traced_is_told():
    with pytest.raises(UserError, match="Naming cannot be traced: it gives a dict, not one or several tensors"):
        shrink(Naming(), torch.randn(3, 4))
    with pytest.raises(UserError, match=r"Linear does not run on these inputs: .*shapes cannot be multiplied"):
        shrink(nn.Linear(4, 4), torch.randn(3, 5))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        if int(torch.nonzero(x.isfinite()).numel()) == 0:
            raise RuntimeError("no finite numbers")
        return self.linear(x)


def test_what_does_not_run_on_unknown_inputs_is_told():
    with pytest.raises(UserError, match="Branching cannot be traced: no finite numbers"):
        shrink(Branching(), torch.randn(3, 4))


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


FUNCTIONS = [
    *(torch.relu, F.leaky_relu, torch.tanh, torch.sigmoid, F.silu, F.gelu, F.elu, F.softplus, F.mish, F.hardtanh),
    *(torch.abs, torch.exp, torch.sin, torch.square, lambda h: h.clamp(-1, 1), lambda h: torch.maximum(h, -h)),
    *(lambda h: h + 1, lambda h: 2 - h, lambda h: h / 3, lambda h: h.lerp(h, 0.3), lambda h: h.square().rsqrt()),
    *(lambda h: (h > 0).float(), lambda h: torch.where(h > 0, 1.0, 0.0), torch.nan_to_num, torch.sign),
    *(
        lambda h: h.sort(dim=1).values,
        lambda h: h.argmax(dim=1, keepdim=True) + torch.zeros(8),
        lambda h: h.int() + 0.0,
    ),
    *(lambda h: F.max_pool1d(h[:, None], 1)[:, 0], lambda h: F.softmax(h, dim=1), lambda h: h.round()),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_depends_on_the_inputs_is_no_constant(function):
    """Behind a function of them, rows that are not zero stay, and those that are leave."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 8), Applied(function), nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        whole[2].weight[:3] = 0
    small = shrink(whole, torch.randn(3, 4))
    assert (small[0].out_features, small[2].out_features) == (8, 5)


def test_channels_that_come_out_stay():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 8, bias=False), nn.Linear(8, 2)

        def forward(self, x):
            h = self.first(x)
            return h, self.second(h)

    whole = Both()
    with torch.no_grad():
        whole.first.weight[:4] = 0
    with pytest.raises(UserError, match="nothing silent"):
        shrink(whole, torch.randn(3, 4))


def test_a_bias_that_is_added_twice_takes_no_constants():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            h = self.first(x)
            return self.second(torch.sigmoid(h)) * self.second(torch.tanh(h))

    whole = Twice()
    with torch.no_grad():
        whole.first.weight[:4] = 0
    with pytest.raises(UserError, match="nothing silent"):
        shrink(whole, torch.randn(3, 4))
