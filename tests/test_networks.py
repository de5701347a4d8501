"""Published sizes, shapes at every resolution, conditioning."""

import pytest
import torch

from rggan import UserError
from rggan.networks import SNGANDiscriminator, SNGANGenerator


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_published_sizes_at_32_pixels():
    """Of the published SNGAN code for CIFAR-10: 4,276,739 in G and 1,053,824 in D."""
    assert count(SNGANGenerator(32, 3, 256)) == 4_276_739
    assert count(SNGANDiscriminator(32, 3, 128)) == 1_053_824


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
def test_shapes_ranges_and_gradients(resolution, channels, classes):
    g = SNGANGenerator(resolution, channels, 16, z_dim=32, classes=classes)
    d = SNGANDiscriminator(resolution, channels, 16, classes=classes)
    labels = (torch.tensor([0, 2]),) if classes else ()
    images = g(torch.randn(2, 32), *labels)
    assert images.shape == (2, channels, resolution, resolution)
    assert images.abs().max() <= 1
    logits = d(images, *labels)
    assert logits.shape == (2,)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


@pytest.mark.parametrize("resolution", [8, 24, 48, 512])
def test_other_resolutions_are_refused(resolution):
    for network in (SNGANGenerator, SNGANDiscriminator):
        with pytest.raises(UserError, match=f"not {resolution}"):
            network(resolution)


def test_label_changes_picture_and_judgement():
    g, d = SNGANGenerator(16, 1, 8, classes=2), SNGANDiscriminator(16, 1, 8, classes=2)
    torch.nn.init.normal_(g.blocks[0].norm1.gain.weight)
    z, zero, one = torch.randn(4, 128), torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.equal(g(z, zero), g(z, one))
    x = torch.randn(4, 1, 16, 16)
    assert not torch.equal(d(x, zero), d(x, one))
    with pytest.raises(ValueError, match="labels"):
        g(z)
    with pytest.raises(ValueError, match="labels"):
        d(x)


def test_discriminators_weights_have_spectral_norm_one():
    """Against a full singular value decomposition, once the power iteration has settled."""
    d = SNGANDiscriminator(16, 3, 8, classes=2)
    for _ in range(300):
        d(torch.randn(1, 3, 16, 16), torch.tensor([0]))
    d.eval()
    for name, module in d.named_modules():
        if hasattr(module, "parametrizations"):
            norm = torch.linalg.matrix_norm(module.weight.flatten(1), ord=2).item()
            assert norm == pytest.approx(1, abs=2e-2), name


def test_weights_are_computed_outside_autocast():
    """In bf16 the normalised weight would carry an error of 1e-3; here it has float32's."""
    d = SNGANDiscriminator(16, 3, 8).eval()
    seen = []
    d.blocks[0].conv2._conv_forward = lambda x, weight, bias: seen.append(weight) or x
    with torch.autocast("cpu", torch.bfloat16):
        d(torch.randn(1, 3, 16, 16))
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0], d.blocks[0].conv2.weight)
