"""Published sizes, shapes at every resolution, which sizes fit, conditioning."""

import itertools
import re

import pytest
import torch

from rggan import UserError
from rggan.networks import check_resolution
from rggan.networks.sngan import SNGANDiscriminator, SNGANGenerator


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_published_sizes_at_32_pixels():
    """Of the published SNGAN code for CIFAR-10: 4,276,739 in G and 1,053,824 in D."""
    assert count(SNGANGenerator(32, 3, 256)) == 4_276_739
    assert count(SNGANDiscriminator(32, 3, 128)) == 1_053_824


@pytest.mark.parametrize(
    ("resolution", "in_g", "in_d", "blocks"),
    [
        (16, 3_029_763, 742_144, [(256, 256)] * 2),
        (64, 4_749_315, 1_170_880, [(256, 256)] * 3 + [(256, 128)]),
        (128, 4_866_819, 1_199_712, [(256, 256)] * 3 + [(256, 128), (128, 64)]),
        (256, 4_895_875, 1_206_704, [(256, 256)] * 3 + [(256, 128), (128, 64), (64, 32)]),
    ],
)
def test_other_squares_keep_the_sizes_they_had_in_format_1(resolution, in_g, in_d, blocks):
    """Recorded before there were rectangles: generators saved then must still load."""
    g = SNGANGenerator(resolution, 3, 256)
    assert (count(g), count(SNGANDiscriminator(resolution, 3, 128))) == (in_g, in_d)
    assert g.linear.weight.shape == (16 * 256, 128)
    assert [block.conv1.weight.shape[1::-1] for block in g.blocks] == blocks


def test_a_square_is_one_number_or_two():
    a, b = ({k: v.shape for k, v in SNGANGenerator(r, 3, 8).state_dict().items()} for r in (32, [32, 32]))
    assert a == b


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("size", "base"),
    [((16, 24), (4, 6)), ((28, 20), (7, 5)), ((96, 144), (6, 9)), ((48, 48), (6, 6)), ((16, 1024), (4, 256))],
)
def test_rectangles_grow_from_a_base_of_their_shape(size, base, channels):
    g, d = SNGANGenerator(size, channels, 8, z_dim=16), SNGANDiscriminator(list(size), channels, 8)
    seen = []
    g.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    d.blocks[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    images = g(torch.randn(2, 16))
    logits = d(images)
    assert images.shape == (2, channels, *size)
    assert logits.shape == (2,)
    assert seen == [base, (2 * base[0], 2 * base[1])]
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*g.parameters(), *d.parameters()])


def test_widths_depend_on_the_level_alone():
    """A rectangle's blocks are those of the square of its shorter side's power of two; only the first map differs."""
    square, other = SNGANGenerator(64, 3, 64), SNGANGenerator((112, 80), 3, 64)
    assert [p.shape for p in square.blocks.parameters()] == [p.shape for p in other.blocks.parameters()]
    square, other = SNGANDiscriminator(64, 3, 64), SNGANDiscriminator((112, 80), 3, 64)
    assert [p.shape for p in square.parameters()] == [p.shape for p in other.parameters()]


def fits(height, width):
    """The rule, spelt out: halve while the shorter side stays 4 or more; then both must have stayed whole."""
    shorter, longer, halvings = min(height, width), max(height, width), 0
    while shorter / 2 ** (halvings + 1) >= 4:
        halvings += 1
    return 16 <= shorter <= 512 and longer <= 1024 and height % 2**halvings == width % 2**halvings == 0


def test_which_sizes_fit():
    for size in itertools.product(
        [*range(8, 68), 96, 100, 112, 128, 160, 250, 256, 257, 288, 320, 448, 512, 513, 640, 1024, 1088], repeat=2
    ):
        if fits(*size):
            assert check_resolution(size) == size
            continue
        with pytest.raises(UserError, match=f"`resolution` {size[0]}x{size[1]} does not fit any network") as error:
            check_resolution(size)
        height, width = map(int, re.search(r"the nearest that does is (\d+)x(\d+)\.$", str(error.value)).groups())
        assert fits(height, width)
        if size[0] == size[1]:
            assert height == width


def test_the_nearest_size_is_the_nearest():
    """Against all sizes that fit."""
    sides = [*range(16, 260), *range(260, 513, 4)]
    all_of_them = [size for size in itertools.product(sides, repeat=2) if fits(*size)]
    for height, width in [(100, 150), (33, 200), (90, 17), (230, 130), (10, 60), (400, 300)]:
        with pytest.raises(UserError) as error:
            check_resolution((height, width))
        named = tuple(map(int, re.search(r"is (\d+)x(\d+)\.$", str(error.value)).groups()))
        changes = [(h - height) ** 2 + (w - width) ** 2 for h, w in all_of_them]
        assert (named[0] - height) ** 2 + (named[1] - width) ** 2 == min(changes)
    with pytest.raises(UserError, match=r"900x1200 .* is 512x640\."):  # too large: its shape is kept
        check_resolution((900, 1200))


@pytest.mark.parametrize("resolution", [(32,), (32, 32, 3), "32", (32.0, 32), ("32", "32"), (32, None)])
def test_what_is_no_size_is_refused(resolution):
    with pytest.raises(UserError, match="one number of pixels, or HEIGHTxWIDTH"):
        check_resolution(resolution)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
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


@pytest.mark.parametrize("resolution", [8, 30, 512, (100, 150)])
def test_networks_refuse_other_sizes(resolution):
    for network in (SNGANGenerator, SNGANDiscriminator):
        with pytest.raises(UserError, match="does not fit SNGAN"):
            network(resolution)


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
