"""StyleGAN2 against the published sizes and its formulas: modulation, truncation, style mixing, second derivatives."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import signal
from torch import nn

from rggan import UserError
from rggan.losses import path_length, r1_penalty
from rggan.networks import stylegan2
from rggan.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from rggan.pruning import Pruner
from rggan.training.sparsity import selection

LABELS = torch.tensor([0, 2])
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def count(network):
    return sum(p.numel() for p in network.parameters())


def in_g(widths, w, mapping, channels=3):
    """widths: of the maps from 4 pixels on."""

    def layer(inputs, outputs):  # convolution, affine of the style, bias, strength of the noise
        return 9 * inputs * outputs + (w * inputs + inputs) + outputs + 1

    def picture(inputs):
        return channels * inputs + (w * inputs + inputs) + channels

    pairs = list(pairwise(widths))
    first = 16 * widths[0] + layer(widths[0], widths[0]) + picture(widths[0])
    others = sum(layer(i, o) + layer(o, o) + picture(o) for i, o in pairs)
    return mapping * (w * w + w) + first + others


def in_d(widths, channels=3):
    """widths: of the maps down to 4 pixels."""
    pairs = pairwise(widths)
    blocks = sum(9 * i * i + i + 9 * i * o + o + i * o for i, o in pairs)
    last = widths[-1]
    head = 9 * (last + 1) * last + last + 16 * last * last + last + last + 1
    return channels * widths[0] + widths[0] + blocks + head


def test_sizes_at_256_pixels_are_the_published_ones():
    """Those that NVIDIA's code prints for its setting paper256."""
    with torch.device("meta"):
        g, d = StyleGAN2Generator(256, 3, 512, 512, mapping_layers=8), StyleGAN2Discriminator(256, 3, 512)
    widths = [512, 512, 512, 512, 256, 128, 64]
    assert count(g) == in_g(widths, 512, 8) == 24_767_458
    assert count(d) == in_d(widths[::-1]) == 24_001_089


def test_sizes_at_512_pixels_by_hand():
    """Of the published setting paper512: 32,768 channels by pixels of a side, at most 512."""
    with torch.device("meta"):
        g, d = StyleGAN2Generator(512, 3, 512, 512, mapping_layers=8), StyleGAN2Discriminator(512, 3, 512)
    widths = [min(512, 32768 // side) for side in (4, 8, 16, 32, 64, 128, 256, 512)]
    assert count(g) == in_g(widths, 512, 8) == 30_276_583
    assert count(d) == in_d(widths[::-1]) == 28_982_849


@pytest.mark.parametrize("width", [512, 128])
def test_sizes_at_32_pixels_by_hand(width):
    with torch.device("meta"):
        g, d = StyleGAN2Generator(32, 3, width, 64, mapping_layers=2), StyleGAN2Discriminator(32, 3, width)
    assert count(g) == in_g([width] * 4, 64, 2)
    assert count(d) == in_d([width] * 4)


SIZES = [(32, 32), (32, 48), (64, 64)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(512, 512), (640, 512), (512, 384)])
def test_shapes_and_gradients_of_large_pictures(size):
    g, d = StyleGAN2Generator(size, 3, 8, z_dim=16), StyleGAN2Discriminator(size, 3, 8)
    images = g(torch.randn(2, 16))
    assert images.shape == (2, 3, *size)
    assert g.style_count == (16 if min(size) == 512 else 14)
    logits = d(images)
    assert logits.shape == (2,)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_gradients(size, channels, classes):
    g = StyleGAN2Generator(size, channels, 8, z_dim=16, classes=classes)
    d = StyleGAN2Discriminator(list(size), channels, 8, classes=classes)
    labels = (LABELS,) if classes else ()
    images = g(torch.randn(2, 16), *labels)
    assert images.shape == (2, channels, *size)
    assert images.dtype == torch.float32
    logits = d(images, *labels)
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32
    logits.square().sum().backward()
    for name, p in [*g.named_parameters(), *d.named_parameters()]:
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


@pytest.mark.parametrize("resolution", [16, 30, 500, 1024, (100, 150), (512, 576)])
def test_networks_refuse_other_sizes(resolution):
    for network in (StyleGAN2Generator, StyleGAN2Discriminator):
        with pytest.raises(UserError, match="does not fit StyleGAN2"):
            network(resolution)


class AsGiven(nn.Module):
    """Instead of the affine: the scales themselves, so that all is computed in float64."""

    def forward(self, style):
        return style


def modulated(inputs, outputs, size, **options):
    layer = stylegan2.ModulatedConv2d(inputs, outputs, size, 5, **options).double()
    layer.affine = AsGiven()
    return layer, torch.randn(3, inputs, dtype=torch.float64) + 1


def weights_of(layer, scale):
    """A weight for each picture, equations 1 and 3, [N, out, in, k, k] in numpy."""
    weight = layer.weight.detach().numpy() / math.sqrt(layer.weight[0].numel())
    weight = weight[None] * scale.numpy()[:, None, :, None, None]
    if layer.demodulate:
        weight = weight / np.sqrt(np.square(weight).sum(axis=(2, 3, 4), keepdims=True) + 1e-8)
    return weight


@pytest.mark.parametrize(("size", "demodulate"), [(3, True), (3, False), (1, False), (1, True)])
def test_modulated_convolution_equals_one_with_a_weight_for_each_picture(size, demodulate):
    layer, scale = modulated(4, 6, size, demodulate=demodulate)
    x = torch.randn(3, 4, 8, 10, dtype=torch.float64)
    weight = torch.from_numpy(weights_of(layer, scale))
    expected = F.conv2d(x.view(1, 12, 8, 10), weight.flatten(0, 1), padding=size // 2, groups=3).view(3, 6, 8, 10)
    torch.testing.assert_close(layer(x, scale), expected, rtol=1e-10, atol=1e-10)


def test_upsampling_modulated_convolution_equals_the_definition():
    """Zeros between the pixels, a convolution with each picture's weight, the filter with a gain of 4."""
    layer, scale = modulated(4, 6, 3, up=True)
    x = torch.randn(3, 4, 5, 7, dtype=torch.float64)
    weight = weights_of(layer, scale)
    grouped = F.conv_transpose2d(
        x.view(1, 12, 5, 7), torch.from_numpy(weight).transpose(1, 2).flatten(0, 1), stride=2, groups=3
    ).view(3, 6, 11, 15)
    apart = np.zeros((3, 4, 9, 13))
    apart[:, :, ::2, ::2] = x.numpy()
    out = layer(x, scale).detach().numpy()
    assert out.shape == (3, 6, 10, 14)
    for n in range(3):
        for o in range(6):
            sums = sum(signal.convolve2d(apart[n, i], weight[n, o, i]) for i in range(4))
            np.testing.assert_allclose(grouped[n, o].numpy(), sums, atol=1e-10)
            filtered = signal.convolve2d(np.pad(sums, 1), 4 * FILTER, mode="valid")
            np.testing.assert_allclose(out[n, o], filtered, atol=1e-10)


def test_styles_reach_the_convolution_through_an_affine_that_begins_at_one():
    layer = stylegan2.ModulatedConv2d(4, 6, 3, 5)
    x, style = torch.randn(2, 4, 8, 8), torch.randn(2, 5)
    scale = style.numpy() @ layer.affine.weight.detach().numpy().T / math.sqrt(5) + 1
    plain, _ = modulated(4, 6, 3)
    plain.weight.data.copy_(layer.weight)
    expected = plain(x.double(), torch.from_numpy(scale).double())
    torch.testing.assert_close(layer(x, style).double(), expected, rtol=1e-4, atol=1e-5)


def test_demodulated_outputs_have_unit_variance():
    """On white noise: by the weights exactly, and in what comes out, whatever the styles' size."""
    layer, scale = modulated(8, 6, 3)
    scale = scale * torch.tensor([0.1, 1.0, 30.0])[:, None]
    out = layer(torch.randn(3, 8, 130, 130, dtype=torch.float64), scale)[:, :, 1:-1, 1:-1]
    assert out.var(dim=(2, 3)).flatten().tolist() == pytest.approx([1] * 18, abs=0.06)
    impulses = torch.zeros(8, 8, 5, 5, dtype=torch.float64)
    impulses[range(8), range(8), 2, 2] = 1
    energy = sum(layer(impulse.expand(3, -1, -1, -1), scale).square().sum(dim=(2, 3)) for impulse in impulses)
    assert energy.flatten().tolist() == pytest.approx([1] * 18, rel=1e-4)


def test_demodulation_sees_the_masked_weight():
    """A pruned network paints as one whose weights were set to zero by hand."""
    g = StyleGAN2Generator(32, 3, 8, z_dim=16).eval()
    by_hand, dense = copy.deepcopy(g), copy.deepcopy(g)
    pruner = Pruner(g, torch.optim.SGD(g.parameters()), select=selection("stylegan2"))
    weights = dict(by_hand.named_parameters())
    with torch.no_grad(), pruner.dense():
        for layer in pruner.layers:
            layer.mask.copy_(torch.rand(layer.weight.shape) < 0.4)
            weights[layer.name].mul_(layer.mask)
    assert pruner.density() == pytest.approx(0.4, abs=0.03)
    z = torch.randn(4, 16)
    assert torch.equal(g(z), by_hand(z))
    assert (g(z) - dense(z)).abs().max() > 0.1
    # and its maps have unit variance still
    layer = g.blocks[1].layers[1].conv
    out = layer(torch.randn(1, 8, 130, 130), torch.randn(1, 16))[:, :, 1:-1, 1:-1]
    kept = layer.weight.flatten(1).any(dim=1)
    assert out.var(dim=(2, 3))[0, kept].tolist() == pytest.approx([1] * int(kept.sum()), abs=0.06)


@pytest.mark.parametrize(("padding", "gain"), [(0, 1.0), (1, 4.0), (2, 1.0)])
def test_blur_equals_scipys_convolution(padding, gain):
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    out = stylegan2.blurred(x, padding, gain)
    assert out.shape == (2, 3, 8 + 2 * padding - 3, 9 + 2 * padding - 3)
    for n in range(2):
        for c in range(3):
            expected = signal.convolve2d(np.pad(x[n, c].numpy(), padding), gain * FILTER, mode="valid")
            np.testing.assert_allclose(out[n, c].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_halving_convolution_equals_scipys(size):
    layer = stylegan2.EqualConv2d(2, 3, size, down=True).double()
    layer.bias.data.normal_()
    x = torch.randn(1, 2, 8, 12, dtype=torch.float64)
    weight = layer.weight.detach().numpy() / math.sqrt(2 * size * size)
    out = layer(x)[0].detach().numpy()
    assert out.shape == (3, 4, 6)
    for o in range(3):
        blurred = [signal.convolve2d(np.pad(x[0, i].numpy(), size // 2 + 1), FILTER, mode="valid") for i in range(2)]
        sums = sum(signal.correlate2d(blurred[i], weight[o, i], mode="valid") for i in range(2))
        np.testing.assert_allclose(out[o], sums[::2, ::2] + layer.bias[o].item(), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 9, 10, 12])
def test_minibatch_deviation_equals_numpys(n):
    x = torch.randn(n, 3, 4, 5, dtype=torch.float64)
    group = {1: 1, 2: 2, 3: 3, 4: 4, 5: 1, 6: 3, 8: 4, 9: 3, 10: 2, 12: 4}[n]
    out = stylegan2.minibatch_deviation(x)
    assert out.shape == (n, 4, 4, 5)
    assert torch.equal(out[:, :3], x)
    apart = n // group
    for i in range(n):
        members = x.numpy()[i % apart :: apart]
        assert len(members) == group
        expected = np.sqrt(members.var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(out[i, 3].numpy(), expected, rtol=1e-5)


def test_pictures_of_a_batch_see_each_other():
    """So real and generated ones are judged apart (see the training's tests)."""
    d, x = StyleGAN2Discriminator(32, 1, 8), torch.randn(2, 1, 32, 32)
    assert d.batch_statistics
    assert (d(x)[0] - d(torch.stack([x[0], -x[1]]))[0]).abs() > 1e-4
    torch.testing.assert_close(d(x.flip(0)).flip(0), d(x))


def noisy(g, strength=1.0):
    layers = [module for module in g.modules() if isinstance(module, stylegan2.SynthesisLayer)]
    for layer in layers:
        layer.noise_strength.data.fill_(strength)
    return layers


@pytest.mark.parametrize("classes", [0, 3])
def test_pictures_depend_on_the_latent_alone_once_training_is_over(classes):
    g = StyleGAN2Generator(32, 1, 8, z_dim=16, classes=classes).eval()
    labels = (LABELS,) if classes else ()
    z = torch.randn(2, 16)
    silent = g(z, *labels)
    noisy(g)
    pictures = g(z, *labels)
    assert (pictures - silent).abs().max() > 1e-2
    assert torch.equal(pictures, g(z, *labels))
    torch.testing.assert_close(pictures[:1], g(z[:1], *[y[:1] for y in labels]), rtol=1e-4, atol=1e-5)
    assert not torch.equal(pictures, g(z + 0.1, *labels))
    other = StyleGAN2Generator(32, 1, 8, z_dim=16, classes=classes).eval()
    other.load_state_dict(g.state_dict())  # the noise is saved with the weights
    assert torch.equal(pictures, other(z, *labels))


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_noise_matters_in_training_once_its_strength_is_not_zero(strength):
    g, z = StyleGAN2Generator(32, 1, 8, z_dim=16), torch.randn(2, 16)
    layers = noisy(g, strength)
    assert len(layers) == 7  # two at each size, one at the smallest
    assert not any(layer.noise_strength.any() for layer in noisy(StyleGAN2Generator(32, 1, 8), 0.0))
    assert torch.equal(g(z), g(z)) == (strength == 0)


def test_a_layer_adds_its_noise_as_the_formula_says():
    layer = stylegan2.SynthesisLayer(3, 4, 5, (6, 7), up=False)
    layer.noise_strength.data.fill_(0.5)
    layer.bias.data.normal_()
    x, style = torch.randn(2, 3, 6, 7), torch.randn(2, 5)
    for training in (True, False):
        layer.train(training)
        torch.manual_seed(3)
        out = layer(x, style)
        torch.manual_seed(3)
        noise = torch.randn(2, 1, 6, 7) if training else layer.noise
        h = layer.conv(x, style) + 0.5 * noise + layer.bias.view(4, 1, 1)
        torch.testing.assert_close(out, torch.where(h > 0, h, 0.2 * h) * math.sqrt(2))


def test_styles_are_those_of_the_mapping_by_hand():
    g = StyleGAN2Generator(32, 1, 8, z_dim=6, classes=3, mapping_layers=2).eval()
    z = torch.randn(2, 6)

    def unit(x):
        return x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-8)

    mapping = g.mapping
    embedded = mapping.embed.weight.detach().numpy().T[LABELS] / math.sqrt(3)
    x = np.concatenate([unit(z.numpy()), unit(embedded)], axis=1)
    for layer, inputs in zip(mapping.layers, (12, 6), strict=True):
        h = x @ layer.weight.detach().numpy().T * 0.01 / math.sqrt(inputs) + 0.01 * layer.bias.detach().numpy()
        x = np.where(h > 0, h, 0.2 * h) * math.sqrt(2)
    styles = g.styles(z, LABELS)
    assert styles.shape == (2, 8, 6)
    np.testing.assert_allclose(styles.detach().numpy(), x[:, None].repeat(8, axis=1), rtol=1e-4, atol=1e-5)


def test_truncation_leads_in_a_line_to_the_average():
    g, z = StyleGAN2Generator(32, 1, 8, z_dim=16).eval(), torch.randn(4, 16)
    g.mapping.w_average.normal_()
    full = g.styles(z)
    assert torch.equal(g.styles(z, truncation=1.0), full)
    assert torch.equal(g.styles(z, truncation=0.0), g.mapping.w_average.expand_as(full))
    for share in (0.3, 0.5, -0.5, 1.5):
        expected = g.mapping.w_average.double() * (1 - share) + full.double() * share
        torch.testing.assert_close(g.styles(z, truncation=share).double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(g(z, truncation=0.0)[:1].expand(4, -1, -1, -1), g(z.flip(0), truncation=0.0))
    assert torch.equal(g(z, truncation=1.0), g(z))


def test_average_follows_the_mean_of_the_styles_in_training_alone():
    g = StyleGAN2Generator(32, 1, 8, z_dim=16)
    expected = np.zeros(16)
    for _ in range(5):
        w = g.styles(torch.randn(4, 16))[:, 0].detach().numpy().astype(np.float64)
        expected += 0.002 * (w.mean(axis=0) - expected)
    np.testing.assert_allclose(g.mapping.w_average.numpy(), expected, rtol=1e-4, atol=1e-7)
    before = g.mapping.w_average.clone()
    assert before.any()
    g.eval()(torch.randn(4, 16))
    assert torch.equal(g.mapping.w_average, before)


def test_style_mixing_never_gives_one_style_for_all_layers():
    g, z = StyleGAN2Generator(32, 1, 8, z_dim=16), torch.randn(8, 16)
    assert g.style_mixing == 0
    styles = g.styles(z)
    assert torch.equal(styles, styles[:, :1].expand_as(styles))
    g.style_mixing = 1.0
    g.eval()
    assert torch.equal(g.styles(z), styles)  # in training alone


def test_style_mixing_always_gives_two_styles_the_first_the_pictures_own():
    g, z = StyleGAN2Generator(32, 1, 8, z_dim=16), torch.randn(200, 16)
    own = g.styles(z)[:, 0]
    g.style_mixing = 1.0
    styles = g.styles(z)
    is_own = (styles == own[:, None]).all(dim=2)
    cuts = is_own.sum(dim=1)
    assert (is_own == (torch.arange(8) < cuts[:, None])).all()  # own ones, then others
    assert set(cuts.tolist()) == set(range(1, 8))  # after any layer
    others = styles[:, -1]
    assert (styles == torch.where(is_own[:, :, None], own[:, None], others[:, None])).all()
    assert len(others.unique(dim=0)) == 200  # of each picture another one


def test_style_mixing_has_its_probability():
    g = StyleGAN2Generator(32, 1, 8, z_dim=16)
    g.style_mixing = 0.25
    styles = g.styles(torch.randn(2000, 16))
    mixed = (styles[:, -1] != styles[:, 0]).any(dim=1).float().mean().item()
    assert mixed == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 2000))


def test_each_layer_uses_its_own_style_and_the_picture_the_next_blocks_first():
    g = StyleGAN2Generator(32, 1, 8, z_dim=16)
    styles = torch.arange(8.0)[None, :, None].expand(1, 8, 16)
    seen = []
    for module in g.modules():
        if isinstance(module, stylegan2.ModulatedConv2d):
            module.register_forward_pre_hook(lambda m, inputs: seen.append((inputs[1][0, 0].item(), len(m.weight) > 1)))
    g.synthesis(styles)
    expected = [(0, True), (1, False)]
    for first in (1, 3, 5):
        expected += [(first, True), (first + 1, True), (first + 2, False)]
    assert seen == expected


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_equalised_linear_layer_keeps_the_variance(rate):
    layer = stylegan2.EqualLinear(400, 300, bias=2.0, rate=rate)
    assert layer.weight.std().item() == pytest.approx(1 / rate, rel=0.02)
    out = layer(torch.randn(300, 400))
    assert out.mean().item() == pytest.approx(2, abs=0.05)
    assert out.var().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("size", [1, 3])
def test_equalised_convolution_keeps_the_variance(size):
    layer = stylegan2.EqualConv2d(40, 40, size)
    assert layer.weight.std().item() == pytest.approx(1, rel=0.05)
    out = layer(torch.randn(4, 40, 34, 34))[:, :, 1:-1, 1:-1]
    assert out.var().item() == pytest.approx(1, abs=0.1)


def test_pictures_shares_add_up():
    """The picture at each size is the one before, doubled, and the block's own share."""
    g = StyleGAN2Generator(32, 1, 8, z_dim=16).eval()
    for block in g.blocks:
        block.bias.data.normal_()
    shares = []
    for block in g.blocks:
        block.to_rgb.register_forward_hook(lambda m, i, out, b=block: shares.append((out + b.bias).detach().double()))
    image = g(torch.randn(2, 16)).double()
    expected = shares[0]
    for share in shares[1:]:
        expected = F.interpolate(expected, scale_factor=2, mode="bilinear") + share
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5)


def test_runs_in_half_precision_channels_last():
    g, d = StyleGAN2Generator(32, 3, 8, 16, classes=3), StyleGAN2Discriminator(32, 3, 8, classes=3)
    seen = []
    for network in (g, d):
        network.to(memory_format=torch.channels_last)
        for module in network.modules():
            if isinstance(module, stylegan2.SynthesisLayer | stylegan2.EqualConv2d):
                module.register_forward_hook(lambda m, inputs, output: seen.append(output.dtype))
    z = torch.randn(4, 16)
    labels = torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", torch.bfloat16):
        styles = g.styles(z, labels)
        images = g.synthesis(styles)
        logits = d(images, labels)
    assert styles.dtype == images.dtype == logits.dtype == torch.float32
    assert set(seen) == {torch.bfloat16}
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])
    torch.testing.assert_close(images, g(z, labels), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("classes", [0, 3])
def test_path_length_penalty_reaches_all_of_the_generator_but_what_only_adds_to_pictures(classes):
    g = StyleGAN2Generator(32, 3, 8, z_dim=16, classes=classes)
    noisy(g, 0.1)
    styles = g.styles(torch.randn(4, 16), *([torch.tensor([0, 1, 2, 0])] if classes else []))
    path_length(g.synthesis(styles), styles, torch.tensor(0.0))[0].backward()
    adding = {f"blocks.{i}.bias" for i in range(len(g.blocks))}
    for name, p in g.named_parameters():
        if name in adding:
            assert p.grad is None or not p.grad.any(), name
        else:
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            assert p.grad.any(), name


@pytest.mark.parametrize("classes", [0, 3])
def test_r1_penalty_reaches_all_of_the_discriminators_weights(classes):
    d = StyleGAN2Discriminator(32, 3, 8, classes=classes)
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    r1_penalty(d(x, *([torch.tensor([0, 1, 2, 0])] if classes else [])), x).backward()
    for name, p in d.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), name
        if p.dim() > 1:
            assert p.grad is not None, name
            assert p.grad.any(), name


@pytest.mark.parametrize("which", ["mapping", "convolution"])
def test_gradient_of_the_path_length_penalty_equals_finite_differences(which, monkeypatch):
    """With a smooth activation: the penalty jumps where a leaky ReLU has its kink."""
    monkeypatch.setattr(stylegan2, "activated", F.softplus)
    g = StyleGAN2Generator(32, 1, 8, z_dim=8).eval()
    p = g.mapping.layers[0].weight if which == "mapping" else g.blocks[1].layers[0].conv.weight
    z, noise = torch.randn(2, 8), torch.randn(2, 1, 32, 32)
    direction = torch.randn_like(p) * p.std()

    def penalty():
        styles = g.styles(z)
        return path_length(g.synthesis(styles), styles, torch.tensor(0.0), noise)[0]

    penalty().backward()
    slope = (p.grad * direction).sum().item()
    values = []
    for step in (2e-3, -2e-3):
        p.data.add_(direction, alpha=step)
        values.append(penalty().item())
        p.data.add_(direction, alpha=-step)
    assert (values[0] - values[1]) / 4e-3 == pytest.approx(slope, rel=0.05)


def test_projection_equals_its_formula():
    d = StyleGAN2Discriminator(32, 1, 8, classes=3)
    outs = []
    d.out.register_forward_hook(lambda m, inputs, output: outs.append(output.detach().numpy()))
    logits = d(torch.randn(2, 1, 32, 32), LABELS)
    embedded = d.embed.weight.detach().numpy().T[LABELS] / math.sqrt(3) + d.embed.bias.detach().numpy()
    embedded /= np.sqrt(np.square(embedded).mean(axis=1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(logits.detach().numpy(), (outs[0] * embedded).sum(axis=1) / math.sqrt(8), rtol=1e-4)
