"""FastGAN against the published sizes and its formulas, and what its discriminator's self-supervision teaches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rggan import UserError
from rggan.networks import fastgan
from rggan.networks.fastgan import FastGANDiscriminator, FastGANGenerator

pytestmark = pytest.mark.slow  # all together they take seconds

LABELS = torch.tensor([0, 2])


def count(network):
    return sum(p.numel() for p in network.parameters())


def up(inputs, outputs, convolutions=1):
    """3x3 convolutions to values and gates, each with a batch norm; where there are two, with a strength of noise."""
    first = 9 * inputs * 2 * outputs + 2 * 2 * outputs
    second = 9 * outputs * 2 * outputs + 2 * 2 * outputs
    return first if convolutions == 1 else first + second + 2


def excitation(inputs, outputs):
    return 16 * inputs * outputs + outputs * outputs


def down(inputs, outputs):
    main = 16 * inputs * outputs + 2 * outputs + 9 * outputs * outputs + 2 * outputs
    return main + inputs * outputs + 2 * outputs


def decoder(inputs):
    return up(inputs, 128) + up(128, 64) + up(64, 64) + up(64, 32) + 9 * 32 * 3


def test_sizes_at_256_and_512_pixels_by_hand():
    """Of the published tables: G 16, 8, 4, 2, 2, 1, 1/2 widths at 4..256 pixels, D 1/4, 1/2, 1, 2, 4, 8 from 256 on."""
    with torch.device("meta"):
        g, d = FastGANGenerator(256, 3, 64, 256), FastGANDiscriminator(256, 3, 64)
    first = 256 * 2048 * 16 + 2 * 2048
    blocks = up(1024, 512, 2) + up(512, 256) + up(256, 128, 2) + up(128, 128) + up(128, 64, 2) + up(64, 32)
    gates = excitation(1024, 128) + excitation(512, 64) + excitation(256, 32)
    assert count(g) == first + blocks + gates + 9 * 32 * 3 == 29_127_654
    blocks = 9 * 3 * 16 + down(16, 32) + down(32, 64) + down(64, 128) + down(128, 256) + down(256, 512)
    gates = excitation(16, 128) + excitation(32, 256) + excitation(64, 512)
    head = 512 * 1024 + 2 * 1024 + 16 * 1024
    small = 16 * 3 * 32 + sum(16 * i * o + 2 * o for i, o in [(32, 64), (64, 128), (128, 256)]) + 16 * 256
    decoders = decoder(512) + decoder(256) + decoder(256)  # of the last map, of the one before, of the small branch's
    assert count(d) == blocks + gates + head + small + decoders == 11_526_160
    with torch.device("meta"):  # one level more in G, gated by 32 pixels; D's first convolution 4x4 with stride 2
        larger_g, larger_d = FastGANGenerator(512, 3, 64, 256), FastGANDiscriminator(512, 3, 64)
    assert count(larger_g) - count(g) == up(32, 16, 2) + excitation(128, 16) + 9 * 16 * 3 - 9 * 32 * 3
    assert count(larger_d) - count(d) == (16 - 9) * 3 * 16


@pytest.mark.parametrize("size", [(512, 512), (640, 512), (512, 384)])
def test_shapes_and_gradients_of_large_pictures(size):
    g, d = FastGANGenerator(size, 3, 1, z_dim=8), FastGANDiscriminator(size, 3, 1)
    images = g(torch.randn(2, 8))
    assert images.shape == (2, 3, *size)
    maps = [side // (64 if min(size) == 512 else 32) for side in size]
    logits, loss = d(images, reconstruct=True)
    assert logits.shape == (2, 2 * (maps[0] - 3) * (maps[1] - 3))
    (logits.sum() + loss.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


SIZES = [(32, 32), (64, 64), (64, 96), pytest.param((128, 128), marks=pytest.mark.slow)]


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_ranges_and_gradients(size, channels, classes):
    g = FastGANGenerator(size, channels, 4, z_dim=16, classes=classes)
    d = FastGANDiscriminator(list(size), channels, 4, classes=classes)
    labels = (LABELS,) if classes else ()
    images = g(torch.randn(2, 16), *labels)
    assert images.shape == (2, channels, *size)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    logits, loss = d(images, *labels, reconstruct=True)
    patches = [side // (min(size) // 8) - 3 for side in size]  # of 4x4 on a map whose shorter side is 8
    assert logits.shape == (2, 2 * patches[0] * patches[1])
    assert loss.shape == (2,)
    assert logits.dtype == loss.dtype == torch.float32
    (logits.sum() + loss.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


@pytest.mark.parametrize("size", [(32, 32), (48, 80), (112, 80), (256, 320), (384, 512), (512, 640)])
def test_maps_and_rebuilt_pictures_have_the_pictures_shape(size):
    g, d = FastGANGenerator(size, 1, 1, z_dim=8), FastGANDiscriminator(size, 1, 1)
    height, width = size
    while min(height, width) >= 16:
        height, width = height // 2, width // 2
    seen = {}
    for name, layer in {"base": g.norm, "last": d.blocks[-1], "small": d.small, "crop": d.rebuild_part}.items():
        layer.register_forward_hook(lambda m, inputs, output, name=name: seen.update({name: (inputs[0], output)}))
    for layer in (d.rebuild_whole, d.rebuild_halved):
        layer.register_forward_hook(lambda m, i, output: seen.setdefault("rebuilt", []).append(output.shape[2:]))
    d(g(torch.randn(2, 8)), reconstruct=True)
    assert seen["base"][1].shape[2:] == (height // 2, width // 2)
    assert seen["last"][1].shape[2:] == seen["small"][1].shape[2:] == seen["crop"][0].shape[2:] == (height, width)
    part = 4 if min(size) == 512 else 2
    assert {*seen["rebuilt"], seen["crop"][1].shape[2:]} == {(size[0] // part, size[1] // part)}


@pytest.mark.parametrize("resolution", [16, 30, 500, 1024, (100, 150), (512, 576)])
def test_networks_refuse_other_sizes(resolution):
    for network in (FastGANGenerator, FastGANDiscriminator):
        with pytest.raises(UserError, match="does not fit FastGAN"):
            network(resolution)


def test_gated_linear_unit_equals_torchs():
    x = torch.randn(2, 6, 3, 3)
    torch.testing.assert_close(fastgan.gated(x), F.glu(x, dim=1))


def test_excitation_equals_its_formula():
    torch.manual_seed(0)
    layer = fastgan.Excitation(3, 5).double()
    low = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    high = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    first, second = layer.conv1.weight.detach(), layer.conv2.weight.detach()[:, :, 0, 0]
    out = layer(low, high)
    for n in range(2):
        hidden = torch.zeros(5, dtype=torch.float64)
        for i in range(4):
            for j in range(4):
                hidden += first[:, :, i, j] @ low[n, :, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].mean(dim=(1, 2))
        hidden = hidden / (1 + (-hidden).exp())
        gates = 1 / (1 + (-(second @ hidden)).exp())
        torch.testing.assert_close(out[n], high[n] * gates[:, None, None])


@pytest.mark.parametrize(("size", "in_g", "in_d"), [(32, 0, 0), (64, 1, 1), (128, 2, 2), (512, 4, 3)])
def test_which_maps_gate_which(size, in_g, in_d):
    """G: 4 pixels gate 64, 8 gate 128, .. 32 gate 512; D: the gated map is an eighth of the gating one, at most 256."""
    g, d = FastGANGenerator(size, 1, 1, z_dim=8), FastGANDiscriminator(size, 1, 1)
    assert (len(g.excitations), len(d.excitations)) == (in_g, in_d)
    seen = []
    for layer in (*g.excitations, *d.excitations):
        layer.register_forward_pre_hook(lambda m, inputs: seen.append(tuple(x.shape[2] for x in inputs)))
    d(g(torch.randn(2, 8)))
    assert seen == [(4 << n, 64 << n) for n in range(in_g)] + [
        (min(size, 256) >> n, min(size, 256) >> n + 3) for n in range(in_d)
    ]


@pytest.mark.parametrize("classes", [0, 3])
def test_pictures_depend_on_the_latent_alone_once_training_is_over(classes):
    g = FastGANGenerator(32, 1, 4, z_dim=16, classes=classes).eval()
    for module in g.modules():
        if isinstance(module, fastgan.NoiseInjection):
            module.strength.data.fill_(1.0)
    labels = (LABELS,) if classes else ()
    z = torch.randn(2, 16)
    pictures = g(z, *labels)
    assert torch.equal(pictures, g(z, *labels))
    torch.testing.assert_close(pictures[:1], g(z[:1], *[y[:1] for y in labels]), rtol=1e-4, atol=1e-5)
    assert not torch.equal(pictures, g(z + 0.1, *labels))


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_noise_matters_in_training_once_its_strength_is_not_zero(strength):
    g = FastGANGenerator(32, 1, 4, z_dim=16)
    noises = [module for module in g.modules() if isinstance(module, fastgan.NoiseInjection)]
    assert len(noises) == 4  # two in each deep block: the first and the third
    assert not any(module.strength.any() for module in noises)
    for module in noises:
        module.strength.data.fill_(strength)
    z = torch.randn(2, 16)
    start = {name: value.clone() for name, value in g.state_dict().items()}  # each pass moves the power iteration
    pictures = []
    for seed in (0, 1):
        g.load_state_dict(start)
        torch.manual_seed(seed)
        pictures.append(g(z))
    assert torch.equal(*pictures) == (strength == 0)


def test_noise_equals_its_formula():
    layer, x = fastgan.NoiseInjection(), torch.randn(2, 3, 4, 5)
    layer.strength.data.fill_(0.5)
    torch.manual_seed(3)
    out = layer(x)
    torch.manual_seed(3)
    torch.testing.assert_close(out, x + 0.5 * torch.randn(2, 1, 4, 5).expand(-1, 3, -1, -1))


class Fixed(nn.Module):
    """Rebuilds what it is told."""

    def __init__(self, images=None):
        super().__init__()
        self.images = images

    def forward(self, x):
        return self.images


@pytest.mark.parametrize("error", [0.0, 0.25])
def test_self_supervision_is_how_far_the_decoders_miss(error, monkeypatch):
    d, x = FastGANDiscriminator(64, 3, 2), torch.rand(2, 3, 64, 64) - 0.5
    halved = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).mean(0)
    wrong = torch.tensor([1.0, 2.0])[:, None, None, None] * error  # twice as far for the second picture
    d.rebuild_whole, d.rebuild_halved, d.rebuild_part = Fixed(halved + wrong), Fixed(halved - wrong), Fixed()
    cut = fastgan.random_part

    def observed(features, images):
        crop, part = cut(features, images)
        d.rebuild_part.images = part + wrong
        return crop, part

    monkeypatch.setattr(fastgan, "random_part", observed)
    _, loss = d(x, reconstruct=True)
    torch.testing.assert_close(loss, 3 * error * torch.tensor([1.0, 2.0]), rtol=1e-5, atol=1e-6)


def test_self_supervision_teaches_the_blocks():
    d = FastGANDiscriminator(64, 3, 2)
    d(torch.rand(2, 3, 64, 64) * 2 - 1, reconstruct=True)[1].sum().backward()
    for part in (d.blocks, d.small, d.excitations, d.rebuild_whole, d.rebuild_part, d.rebuild_halved):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
        assert all(layer.weight.abs().sum() > 0 for layer in part.modules() if isinstance(layer, nn.Conv2d))
    weights = [block.main[0].parametrizations.weight.original for block in d.blocks[1:]]
    assert all(weight.grad.abs().sum() > 0 for weight in weights)
    assert all(p.grad is None for layer in (d.head, d.logits, d.logits_small) for p in layer.parameters())


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (22, 16)])
def test_the_maps_crop_is_the_pictures_crop(size):
    """Of a map that numbers its places, and a picture that is this map, each place 4x4 pixels."""
    torch.manual_seed(0)
    features = torch.arange(size[0] * size[1], dtype=torch.float32).view(1, 1, *size).repeat(2, 3, 1, 1)
    picture = features.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    corners = set()
    for _ in range(400):
        crop, part = fastgan.random_part(features, picture)
        assert crop.shape[2:] == (size[0] // 2, size[1] // 2)
        assert torch.equal(part, crop.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))
        corners.add(divmod(int(crop[0, 0, 0, 0]), size[1]))
    rows, columns = ({corner[axis] for corner in corners} for axis in (0, 1))
    assert rows == set(range(size[0] // 2 + 1))  # every place the crop can have
    assert columns == set(range(size[1] // 2 + 1))


@pytest.mark.parametrize("classes", [0, 3])
def test_judgement_of_a_picture_depends_on_the_others_in_training_alone(classes):
    d, x = FastGANDiscriminator(64, 1, 4, classes=classes), torch.rand(2, 1, 64, 64)
    other = torch.stack([x[0], -x[1]])
    labels = (LABELS,) if classes else ()
    assert d.batch_statistics
    assert (d(x, *labels)[0] - d(other, *labels)[0]).abs().max() > 1e-3
    d.eval()
    torch.testing.assert_close(d(x, *labels)[0], d(other, *labels)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [32, 64])
def test_projection_equals_its_formula(size):
    d = FastGANDiscriminator(size, 1, 4, classes=3).eval()
    maps = []
    (d.excitations or d.blocks)[-1].register_forward_hook(lambda m, inputs, output: maps.append(output))
    x = torch.rand(2, 1, size, size)
    zero, other = d(x, torch.tensor([0, 0])), d(x, torch.tensor([1, 2]))
    vectors = d.embedding.weight[1:] - d.embedding.weight[0]
    expected = (vectors * maps[0].mean(dim=(2, 3))).sum(dim=1, keepdim=True).expand_as(zero)
    torch.testing.assert_close(other - zero, expected, rtol=1e-4, atol=1e-5)


def test_every_convolution_has_spectral_norm_one():
    """Against a full singular value decomposition, once the power iteration has settled."""
    torch.manual_seed(0)
    for network in (FastGANGenerator(64, 3, 2, z_dim=8), FastGANDiscriminator(64, 3, 2, classes=3)):
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Embedding)]
        assert all(hasattr(layer, "parametrizations") for layer in layers)
        with torch.no_grad():
            for _ in range(300):
                for layer in layers:
                    layer.weight  # noqa: B018 - each look is a step of the power iteration
        network.eval()
        for layer in layers:
            weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
            assert torch.linalg.matrix_norm(weight.flatten(1), ord=2).item() == pytest.approx(1, abs=2e-2)


def test_runs_in_half_precision_channels_last():
    g, d = FastGANGenerator(64, 3, 4, classes=3), FastGANDiscriminator(64, 3, 4, classes=3)
    seen = []
    for network in (g, d):
        network.to(memory_format=torch.channels_last)
        for block in network.blocks:
            block.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        images = g(torch.randn(2, 256), LABELS)
        logits, loss = d(images, LABELS, reconstruct=True)
    assert images.dtype == logits.dtype == loss.dtype == torch.float32
    assert set(seen) == {torch.bfloat16}
    (logits.sum() + loss.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


def test_learns_to_rebuild_a_batch():
    torch.manual_seed(0)
    d = FastGANDiscriminator(32, 3, 8)
    x = F.interpolate(torch.rand(4, 3, 4, 4) * 2 - 1, size=32, mode="bilinear")
    optimiser = torch.optim.Adam(d.parameters(), 2e-3, betas=(0.5, 0.999))
    losses = []
    for _ in range(60):
        loss = d(x, reconstruct=True)[1].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10]), losses
