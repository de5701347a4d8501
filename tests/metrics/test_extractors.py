"""Anybody's extractor: programs in files, functions; what they are told, and what is said where they fail."""

import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rggan import registry
from rggan.errors import UserError
from rggan.metrics import extract, feature_network
from rggan.metrics.extractors import EXTRACTORS, Program, load_extractor
from rggan.metrics.features import has_patches, patches


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.conv(x.float() / 255).mean(dim=(2, 3))


class Inception(Net):
    """With the argument of the published one."""

    def forward(self, x, return_features: bool = False):
        y = self.conv(x.float() / 255).mean(dim=(2, 3), keepdim=True)
        return y if return_features else y[:, :2]


def saved_script(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(path)
    return str(path)


def test_torchscript_is_called_with_uint8_images_of_three_channels(tmp_path, digits):
    net = Net()
    extractor = load_extractor(saved_script(net, tmp_path / "net.pt"))
    images = digits.images[:20]
    torch.testing.assert_close(extract(extractor, images, batch=7).float(), net(images.expand(-1, 3, -1, -1)))
    assert (extractor.name, extractor.resize, extractor.resolution) == ("net.pt", "its own", None)
    other = load_extractor(saved_script(Net(), tmp_path / "other.pt"))
    assert extractor.hash != other.hash


def test_the_published_inceptions_argument_is_given(tmp_path):
    net = Inception()
    extractor = load_extractor(saved_script(net, tmp_path / "inception.pt"))
    images = torch.randint(0, 256, (5, 3, 40, 40), dtype=torch.uint8)
    torch.testing.assert_close(extract(extractor, images).float(), net(images, True)[:, :, 0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [True, False])
def test_exported_programs_get_their_size_and_batch(tmp_path, digits, dynamic):
    net, example = Net().eval(), torch.zeros(4, 3, 24, 24, dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=shapes), tmp_path / "net.pt2")
    extractor = load_extractor(str(tmp_path / "net.pt2"))
    assert extractor.resolution == 24
    images = digits.images[:10]
    enlarged = F.interpolate(images.float(), (24, 24), mode="bicubic", antialias=True).clamp(0, 255).round()
    expected = net(enlarged.to(torch.uint8).expand(-1, 3, -1, -1))
    torch.testing.assert_close(extract(extractor, images).float(), expected)


def test_functions_and_modules_by_name(tmp_path, monkeypatch):
    source = "import torch\nrate = 3\ndef mean(x):\n    return x.float().mean((2, 3)) * rate\nnumber = 5\n"
    (tmp_path / "seen_here.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    extractor = load_extractor("seen_here:mean")
    assert extract(extractor, torch.full((3, 1, 8, 8), 7, dtype=torch.uint8)).tolist() == [[21.0] * 3] * 3
    assert load_extractor("seen_here:mean").hash == extractor.hash
    import seen_here

    seen_here.rate = 4  # the same source, another behaviour
    assert load_extractor("seen_here:mean").hash != extractor.hash
    source = "import torch\nodd = torch.nn.Flatten()\nodd.resolution = (8, 8)\n"
    (tmp_path / "nets_here.py").write_text(source + "class Net(torch.nn.Module):\n    resolution = 8\n"
        "    def __init__(self):\n        super().__init__()\n        self.far = torch.nn.Parameter(torch.zeros(2))\n"
        "    def forward(self, x):\n        return x.float().mean((2, 3))\nlearnt = Net()\n")  # fmt: skip
    assert load_extractor("nets_here:learnt").resolution == 8
    before = load_extractor("nets_here:learnt").hash
    import nets_here

    nets_here.learnt.far.data += 1  # weights count, wherever they show
    assert load_extractor("nets_here:learnt").hash != before
    with pytest.raises(UserError, match="its resolution must be the side of a square"):
        load_extractor("nets_here:odd")
    with pytest.raises(UserError, match=r"^`features` seen_here:number: it is no function or module from uint8 images"):
        load_extractor("seen_here:number")
    with pytest.raises(UserError, match="has no attribute 'median'"):
        load_extractor("seen_here:median")
    with pytest.raises(UserError, match="No module named 'not_there'"):
        load_extractor("not_there:mean")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Gives things of a module outside the package names, as an installed package does."""
    (tmp_path / "package_of_theirs.py").write_text("def mean(x):\n    return x.float().mean((2, 3))\nnumber = 5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(EXTRACTORS, "found", {})
    points = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    yield lambda name, thing: points.append(EntryPoint(name, f"package_of_theirs:{thing}", "rggan.extractors"))
    sys.modules.pop("package_of_theirs", None)


def test_an_extractor_of_an_installed_package_has_a_name(installed):
    installed("colour", "mean")
    images = torch.full((3, 1, 8, 8), 7, dtype=torch.uint8)
    extractor = load_extractor("colour")
    assert extract(extractor, images).tolist() == [[7.0] * 3] * 3
    by_place = load_extractor("package_of_theirs:mean")
    assert (extractor.name, extractor.hash) == ("colour", by_place.hash)  # named otherwise, and the same features
    with pytest.raises(
        UserError, match=r"^`features` taste: there are reporting, steering, imagenet, inception, colour, a file"
    ):
        load_extractor("taste")


def test_an_installed_extractor_that_clashes_or_is_none_is_refused(installed):
    installed("five", "number")
    with pytest.raises(UserError, match=r"^`features` five: it is no function or module from uint8 images"):
        load_extractor("five")
    installed("reporting", "mean")
    for name in ("reporting", "package_of_theirs:mean"):
        with pytest.raises(UserError, match=r"rggan\.extractors \(package_of_theirs:mean\) has the name of a built-in"):
            load_extractor(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["junk.pt", "junk.pt2"])
def test_other_files_are_refused_in_one_sentence(tmp_path, name):
    """In a process of its own: torch logs past what a test can catch."""
    (tmp_path / name).write_bytes(b"junk" * 100)
    with pytest.raises(UserError, match=r"this is no (TorchScript|exported) program"):
        load_extractor(str(tmp_path / name))
    command = [sys.executable, "-m", "rggan", "evaluate", "digits", "--features", str(tmp_path / name)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    note, _, sentence = ended.stderr.partition("\n")
    assert note.endswith("is code, and runs here; take only such as you trust.")
    assert sentence.count("\n") == 1, ended.stderr
    with pytest.raises(UserError, match=r"nothing\.pt: there is no such file"):
        load_extractor(str(tmp_path / "nothing.pt"))


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (lambda x: x.float(), r"gives float32 \[2, 3, 8, 8\] for images uint8 \[2, 3, 8, 8\]; it must give \[2, D\]"),
        (lambda x: x.float().mean((1, 2, 3)), r"gives float32 \[2\]"),
        (lambda x: x.float().mean((2, 3))[:1], r"gives float32 \[1, 3\]"),
        (lambda x: x.long().sum((2, 3)), r"gives int64 \[2, 3\]"),
        (lambda x: [1.0], "gives a list, not a tensor"),
        (lambda x: x.float() @ torch.zeros(3, 3), "fails on images"),
        (lambda x: x.float().mean((2, 3)) / 0 * 0, "NaN or infinite features for image 0"),
    ],
)
def test_what_an_extractor_must_give(run, sentence):
    with pytest.raises(UserError, match=sentence):
        extract(Program(run, "mine"), torch.ones(2, 3, 8, 8, dtype=torch.uint8))


def test_nan_features_name_the_first_image(digits):
    images = digits.images[:30]

    def run(x):
        bad = (x[:, :1].float() - images[17].float()).abs().amax((1, 2, 3)) == 0
        return x.float().mean((2, 3)).masked_fill(bad[:, None], torch.nan)

    with pytest.raises(UserError, match="mine gives NaN or infinite features for image 17"):
        extract(Program(run, "mine"), images, batch=10)


def test_patches_reach_every_border_and_are_averaged(digits):
    image = torch.arange(40 * 100).reshape(1, 1, 40, 100)
    found = patches(image, 32)
    assert len(found) == 3
    assert all(patch.shape == (1, 1, 32, 32) for patch in found)
    assert (found[0][0, 0, 0, 0], found[-1][0, 0, -1, -1]) == (0, 31 * 100 + 99)
    network = feature_network("steering")
    large = torch.cat([torch.cat([digits.images[:4], digits.images[4:8]], 3)] * 2, 2).repeat_interleave(2, 3)
    assert large.shape == (4, 1, 32, 64)
    both = [extract(network, half) for half in (large[..., :32], large[..., 32:])]
    torch.testing.assert_close(extract(network, large, view="patches"), (both[0] + both[1]) / 2)


def test_only_images_larger_than_the_extractor_have_patches():
    network = feature_network("steering")
    sizes = {(16, 16): False, (32, 32): False, (16, 64): False, (32, 48): True, (128, 128): True}
    assert {size: has_patches(network, *size) for size in sizes} == sizes
    assert not has_patches(Program(lambda x: x, "any size"), 128, 128)


@pytest.mark.slow
def test_blur_at_128_pixels_is_seen_by_patches_and_hardly_as_a_whole():
    """Against others of the same kind: noise of one pixel, which is gone at 32 pixels anyway."""
    from rggan.metrics import kernel_distance

    random = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(60, 3, 8, 8, generator=random) * 255, (128, 128), mode="bicubic").clamp(0, 255)
    sharp = (smooth + 40 * torch.randn(60, 3, 128, 128, generator=random)).clamp(0, 255)
    blurred = F.avg_pool2d(F.pad(sharp, (1, 1, 1, 1), mode="reflect"), 3, 1)
    sharp, blurred = (x.round().to(torch.uint8) for x in (sharp, blurred))
    network = feature_network("reporting")
    found = {}
    for view in ("whole", "patches"):
        real = extract(network, sharp[:30], view=view)
        found[view] = [kernel_distance(extract(network, x[30:], view=view), real) for x in (sharp, blurred)]
    (same, blur), (same_patch, blur_patch) = found["whole"], found["patches"]
    assert blur_patch.value > same_patch.value + 20 * same_patch.standard_error
    assert blur_patch.value - same_patch.value > 20 * abs(blur.value - same.value)


@pytest.mark.parametrize("spec", ["missing.pt", "nowhere/features", "./x.pt2"])
def test_a_file_that_is_not_there_is_told(spec):
    with pytest.raises(UserError, match="there is no such file"):
        load_extractor(spec)
