"""BigGAN against the published sizes and its formulas, written out in float64."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from rggan import UserError
from rggan.networks.biggan import BigGANDiscriminator, BigGANGenerator, ConditionalNorm, SelfAttention, chunks
from rggan.training.ema import refresh_batch_statistics

pytestmark = pytest.mark.slow  # all together they take seconds

LABELS = torch.tensor([0, 2])


def count(network):
    return sum(p.numel() for p in network.parameters())


def conv3(inputs, outputs):
    return 9 * inputs * outputs + outputs


def up_block(inputs, outputs, condition):
    """Two 3x3 convolutions, a 1x1 shortcut, and gain and bias of two norms without biases of their own."""
    norms = 2 * condition * inputs + 2 * condition * outputs
    return conv3(inputs, outputs) + conv3(outputs, outputs) + inputs * outputs + outputs + norms


def down_block(inputs, outputs):
    return conv3(inputs, outputs) + conv3(outputs, outputs) + inputs * outputs + outputs


def attention(channels):
    """Queries, keys: an eighth of the channels; values: half of them, and back; one strength."""
    return 2 * channels * max(1, channels // 8) + 2 * channels * max(1, channels // 2) + 1


def test_sizes_at_32_pixels_by_hand():
    first = 32 * (4 * 4 * 256) + 4 * 4 * 256  # 128 latent dimensions in 4 chunks
    blocks = 3 * up_block(256, 256, 128 + 32)
    last = 2 * 256 + conv3(256, 3)
    assert count(BigGANGenerator(32, 3, 64, 128, classes=10)) == 10 * 128 + first + blocks + last == 4_373_251
    flat = 2 * conv3(256, 256)  # these two have no shortcut convolution
    in_d = down_block(3, 256) + down_block(256, 256) + 2 * flat + (256 + 1) + 10 * 256
    assert count(BigGANDiscriminator(32, 3, 64, classes=10)) == in_d == 4_207_361


def test_published_sizes_at_128_pixels():
    """70,433,988 and 87,982,370, which the tests of Google's compare_gan assert too (width 96, 120 dimensions).

    The paper's own "70.4 M" is this G. D's last block has no shortcut convolution, nor have the attentions biases.
    """
    with torch.device("meta"):
        g, d = BigGANGenerator(128, 3, 96, 120, classes=1000), BigGANDiscriminator(128, 3, 96, classes=1000)
    ch, condition = 96, 128 + 20
    first = 20 * (4 * 4 * 16 * ch) + 4 * 4 * 16 * ch
    pairs = [(16, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    in_g = 1000 * 128 + first + sum(up_block(i * ch, o * ch, condition) for i, o in pairs)
    in_g += attention(2 * ch) + 2 * ch + conv3(ch, 3)
    assert count(g) == in_g == 70_433_988
    pairs = [(1, 2), (2, 4), (4, 8), (8, 16)]
    in_d = down_block(3, ch) + attention(ch) + sum(down_block(i * ch, o * ch) for i, o in pairs)
    in_d += 2 * conv3(16 * ch, 16 * ch) + (16 * ch + 1) + 1000 * 16 * ch
    assert count(d) == in_d == 87_982_370


def test_sizes_at_64_pixels_by_hand():
    """An uneven latent, no labels: the first layer takes 28 of 128 dimensions, each block 25."""
    ch = 2
    g, d = BigGANGenerator(64, 4, ch), BigGANDiscriminator(64, 4, ch)
    first = 28 * (4 * 4 * 16 * ch) + 4 * 4 * 16 * ch
    pairs = [(16, 16), (16, 8), (8, 4), (4, 2)]
    blocks = sum(up_block(i * ch, o * ch, 25) for i, o in pairs)
    assert count(g) == first + blocks + attention(4 * ch) + 2 * 2 * ch + conv3(2 * ch, 4)
    blocks = sum(down_block(i * ch, o * ch) for i, o in [(1, 2), (2, 4), (4, 8), (8, 16)])
    assert count(d) == down_block(4, ch) + attention(ch) + blocks + 16 * ch + 1


def test_widths_at_64_pixels():
    g, d = BigGANGenerator(64, width=1), BigGANDiscriminator(64, width=1)
    assert [block.conv1.weight.shape[1::-1] for block in g.blocks] == [(16, 16), (16, 8), (8, 4), (4, 2)]
    assert [block.conv1.weight.shape[1::-1] for block in d.blocks] == [(3, 1), (1, 2), (2, 4), (4, 8), (8, 16)]
    assert [block.down for block in d.blocks] == [True, True, True, True, False]


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(32, 32), (32, 48), (64, 64), pytest.param((128, 128), marks=pytest.mark.slow)])
def test_shapes_ranges_and_gradients(size, channels, classes):
    g = BigGANGenerator(size, channels, 2, z_dim=13, classes=classes)
    d = BigGANDiscriminator(list(size), channels, 2, classes=classes)
    labels = (LABELS,) if classes else ()
    images = g(torch.randn(2, 13), *labels)
    assert images.shape == (2, channels, *size)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    logits = d(images, *labels)
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


@pytest.mark.parametrize(("size", "base", "last"), [((48, 32), (6, 4), (12, 8)), ((80, 64), (5, 4), (5, 4))])
def test_rectangles_grow_from_a_base_of_their_shape(size, base, last):
    g, d = BigGANGenerator(size, 3, 1), BigGANDiscriminator(size, 3, 1)
    seen = []
    g.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    d.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    d(g(torch.randn(1, 128).expand(2, -1)))
    assert seen == [base, last]


@pytest.mark.parametrize("resolution", [16, 30, 256, (100, 150)])
def test_networks_refuse_other_sizes(resolution):
    for network in (BigGANGenerator, BigGANDiscriminator):
        with pytest.raises(UserError, match="does not fit BigGAN"):
            network(resolution)


def test_every_block_and_the_first_layer_need_a_latent_dimension():
    assert chunks(4, 3) == [1, 1, 1, 1]
    assert chunks(131, 3) == [35, 32, 32, 32]
    with pytest.raises(ValueError, match="z_dim is 3"):
        BigGANGenerator(32, width=1, z_dim=3)


def test_attention_equals_its_formula():
    torch.manual_seed(0)
    layer = SelfAttention(16).double()
    layer.gamma.data.fill_(0.7)
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    theta, phi, g, o = (m.weight.detach()[:, :, 0, 0] for m in (layer.theta, layer.phi, layer.g, layer.o))
    assert [w.shape for w in (theta, phi, g, o)] == [(2, 16), (2, 16), (8, 16), (16, 8)]
    expected = x.clone()
    for n in range(2):
        corners = [x[n, :, i::2, j::2].flatten(1) for i in (0, 1) for j in (0, 1)]  # of the 2x2 pools
        keys, values = (torch.stack([w @ c for c in corners]).amax(0) for w in (phi, g))
        for row in range(4):
            for column in range(6):
                scores = (theta @ x[n, :, row, column]) @ keys
                weights = scores.exp() / scores.exp().sum()
                expected[n, :, row, column] += 0.7 * o @ (values * weights).sum(1)
    # The weights are float32 even here.
    torch.testing.assert_close(layer(x), expected, rtol=1e-6, atol=1e-6)


def test_attention_is_the_identity_at_first_and_learns():
    layer, x = SelfAttention(8), torch.randn(2, 8, 4, 4)
    out = layer(x)
    assert torch.equal(out, x)
    (out * torch.randn_like(out)).sum().backward()
    assert layer.gamma.grad != 0


@pytest.mark.parametrize("size", [32, 64, (64, 80), pytest.param(128, marks=pytest.mark.slow)])
def test_attention_works_at_half_the_sides_from_64_pixels_on(size):
    g, d = BigGANGenerator(size, 3, 1).eval(), BigGANDiscriminator(size, 3, 1).eval()
    if size == 32:
        assert not any(isinstance(m, SelfAttention) for network in (g, d) for m in network.modules())
        return
    seen = []
    for network in (g, d):
        assert sum(isinstance(m, SelfAttention) for m in network.modules()) == 1
        network.attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    images = g(torch.randn(1, 128))
    d(images)
    assert seen == [(images.shape[2] // 2, images.shape[3] // 2)] * 2


def test_gradient_penalties_pass_the_attention():
    d = BigGANDiscriminator(64, 1, 2)
    d.attention.gamma.data.fill_(0.5)
    x = torch.randn(2, 1, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert d.attention.theta.parametrizations.weight.original.grad.abs().sum() > 0


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(
    ("size", "z_dim", "edges"), [(32, 18, [0, 6, 10, 14, 18]), (64, 13, [0, 5, 7, 9, 11, 13]), (32, 4, [0, 1, 2, 3, 4])]
)
def test_a_latents_chunk_acts_from_its_block_on(size, z_dim, edges, classes):
    g = BigGANGenerator(size, 3, 2, z_dim=z_dim, classes=classes).eval()
    labels = (LABELS,) if classes else ()
    outputs = []
    for layer in (g.linear, *g.blocks):
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))

    def run(z):
        outputs.clear()
        g(z, *labels)
        return list(outputs)

    z = torch.randn(2, z_dim)
    before = run(z)
    for k, (start, end) in enumerate(pairwise(edges)):
        changed = z.clone()
        changed[:, start:end] = torch.randn(2, end - start)
        same = [torch.equal(a, b) for a, b in zip(before, run(changed), strict=True)]
        assert same == [True] * k + [False] * (len(edges) - 1 - k)


def test_all_blocks_share_one_embedding():
    g = BigGANGenerator(32, 3, 2, z_dim=18, classes=3)
    assert [m.weight.shape for m in g.modules() if isinstance(m, nn.Embedding)] == [(3, 128)]
    seen = []
    for block in g.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    z = torch.randn(2, 18)
    g(z, LABELS)
    for condition, chunk in zip(seen, z[:, 6:].split(4, dim=1), strict=True):
        assert torch.equal(condition, torch.cat([g.embedding.weight[LABELS], chunk], dim=1))


def test_without_labels_the_latents_chunk_alone_modulates():
    g = BigGANGenerator(32, 3, 2, z_dim=18)
    assert g.embedding is None
    seen = []
    for block in g.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    z = torch.randn(2, 18)
    pictures = g.eval()(z)
    for condition, chunk in zip(seen, z[:, 6:].split(4, dim=1), strict=True):
        assert torch.equal(condition, chunk)
    assert torch.equal(pictures, g(z, LABELS))  # labels given all the same are of no effect


@pytest.mark.parametrize("training", [True, False])
def test_conditional_norm_equals_its_formula(training):
    torch.manual_seed(0)
    layer = ConditionalNorm(3, 5).double().train(training)
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    mean, variance = layer.norm.running_mean.clone(), layer.norm.running_var.clone()
    x, y = torch.randn(4, 3, 6, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    if training:
        mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
    out = layer(x, y)
    for n in range(4):
        for c in range(3):
            gain, bias = 1 + layer.gain.weight[c] @ y[n], layer.bias.weight[c] @ y[n]
            expected = (x[n, c] - mean[c]) / (variance[c] + layer.norm.eps).sqrt() * gain + bias
            torch.testing.assert_close(out[n, c], expected)


def test_weights_have_spectral_norm_one():
    """Against a full singular value decomposition, once the power iteration has settled; all but G's embedding."""
    torch.manual_seed(0)
    g, d = BigGANGenerator(64, 3, 1, z_dim=10, classes=3), BigGANDiscriminator(64, 3, 1, classes=3)
    normalised = {}
    for network in (g, d):
        for name, module in network.named_modules():
            if hasattr(module, "parametrizations"):
                normalised[network, name] = module
                nn.init.normal_(module.parametrizations.weight.original)  # orthogonal weights would prove nothing
            elif isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                assert module is g.embedding
    with torch.no_grad():
        for _ in range(300):
            for module in normalised.values():
                module.weight  # noqa: B018 - each look is a step of the power iteration
    assert len(normalised) == 1 + 4 * (4 + 3) + 4 + 1 + 5 * 3 + 4 + 2  # in G: linear, blocks, attention, to_rgb; in D
    for network in (g, d):
        network.eval()
    for (_, name), module in normalised.items():
        norm = torch.linalg.matrix_norm(module.weight.flatten(1), ord=2).item()
        assert norm == pytest.approx(1, abs=2e-2), name


def test_weights_start_orthogonal():
    d = BigGANDiscriminator(32, 3, 4)
    weight = d.blocks[1].conv2.weight.flatten(1)
    torch.testing.assert_close(weight @ weight.T, torch.eye(16), rtol=0, atol=1e-4)
    assert not any(m.bias.any() for m in d.modules() if getattr(m, "bias", None) is not None)


def test_projection_equals_its_formula():
    d = BigGANDiscriminator(32, 3, 2, classes=3).eval()
    nn.init.normal_(d.linear.bias)
    maps = []
    d.blocks[-1].register_forward_hook(lambda module, inputs, output: maps.append(output))
    logits = d(torch.randn(2, 3, 32, 32), LABELS)
    pooled = maps[0].double().clamp(min=0).sum(dim=(2, 3))
    expected = pooled @ d.linear.weight[0].double() + d.linear.bias.double()
    expected += torch.stack([d.embedding.weight[label].double() @ h for label, h in zip(LABELS, pooled, strict=True)])
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)


def test_judgement_of_a_picture_does_not_depend_on_the_others():
    d = BigGANDiscriminator(64, 1, 2).eval()
    d.attention.gamma.data.fill_(1.0)
    x = torch.randn(3, 1, 64, 64)
    torch.testing.assert_close(d(x)[:1], d(x[:1]), rtol=1e-4, atol=1e-4)
    assert not d.batch_statistics
    assert not any(isinstance(m, nn.BatchNorm2d) for m in d.modules())


@pytest.mark.parametrize(("size", "classes"), [(64, 3), ((32, 48), 0)])
def test_runs_in_half_precision_channels_last(size, classes):
    g, d = BigGANGenerator(size, 3, 2, classes=classes), BigGANDiscriminator(size, 3, 2, classes=classes)
    labels = (LABELS,) if classes else ()
    seen = []
    for network in (g, d):
        network.to(memory_format=torch.channels_last)
        for module in (*network.blocks, network.attention):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        images = g(torch.randn(2, 128), *labels)
        logits = d(images, *labels)
    assert images.dtype == logits.dtype == torch.float32
    assert {h.dtype for h in seen} == {torch.bfloat16}
    assert all(h.is_contiguous(memory_format=torch.channels_last) for h in seen)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


def test_weights_are_computed_outside_autocast():
    """In bf16 the normalised weight would carry an error of 1e-3; here it has float32's."""
    d, seen = BigGANDiscriminator(64, 3, 2).eval(), []
    layer = d.attention.theta
    forward = layer._conv_forward
    layer._conv_forward = lambda x, weight, bias: seen.append(weight) or forward(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        d(torch.randn(1, 3, 64, 64))
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0], layer.weight)


def test_batch_statistics_can_be_recomputed():
    """Those of all norms, the conditional ones too, after G's weights were replaced by their average."""
    g, z = BigGANGenerator(32, 3, 2, z_dim=18, classes=3), torch.randn(64, 18)
    labels = torch.arange(64) % 3
    with torch.no_grad():
        refresh_batch_statistics(g, [lambda network: network(z, labels)])
        g.eval()
        inputs = {}
        norms = [module for module in g.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.register_forward_pre_hook(lambda module, args: inputs.update({module: args[0]}))
        g(z, labels)
    assert len(norms) == 3 * 2 + 1
    for norm in norms:
        torch.testing.assert_close(norm.running_mean, inputs[norm].mean(dim=(0, 2, 3)), rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(norm.running_var, inputs[norm].var(dim=(0, 2, 3)), rtol=2e-2, atol=1e-3)
