"""The `imagenet` extractor: features of the published network, of pictures of any size, under a hash of their own."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from rggan import pretrained
from rggan.metrics import extract, kernel_distance
from rggan.metrics.extractors import EXTRACTORS, load_extractor
from rggan.metrics.features import Extractor, has_patches
from rggan.metrics.imagenet import ImageNetFeatures, imagenet_network
from rggan.pretrained import LITE0, LITE1
from rggan.run.naming import distance_name

# Whatever changes the features must change the hash, by which numbers are told apart.
RECORDED = {
    "e1ec18757c1f0e86dd03addffee5dea2e56e23f7fbdbb422005a7fcf473b4f94": [-0.896, 0.182, -0.281, 0.351, -0.53, -0.62]
}


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return load_extractor("imagenet")


def pictures(count: int, *shape: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=random) * 255
    return F.interpolate(coarse, shape, mode="bicubic").clamp(0, 255).round().to(torch.uint8)


@torch.no_grad()
def published(images: torch.Tensor) -> torch.Tensor:
    """The means behind the last block of 40 channels and the last of all, by the package's own module."""
    module = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    module.load_state_dict(torch.load(LITE0.weights(), weights_only=True))
    x, means = (images.float() - 127) / 128, {}
    x = module.eval()._swish(module._bn0(module._conv_stem(x)))
    for block in module._blocks:
        x = block(x)
        means[x.shape[1]] = x.mean(dim=(2, 3))
    return torch.cat([means[40], means[320]], dim=1) / 3


@pytest.mark.parametrize("size", [(64, 64), (72, 112), (128, 128)])
def test_features_are_means_of_the_published_networks_maps_at_the_pictures_size(
    extractor: Extractor, size: tuple[int, int]
) -> None:
    images = pictures(3, *size)
    torch.testing.assert_close(extract(extractor, images).float(), published(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (150, 200)])
def test_smaller_and_larger_pictures_are_resized_as_pillow_does(extractor: Extractor, size: tuple[int, int]) -> None:
    images = pictures(3, *size)
    planes = [
        Image.fromarray(x.float().numpy()).resize((128, 128), Image.Resampling.BICUBIC) for x in images.flatten(0, 1)
    ]
    resized = torch.tensor(np.stack([np.asarray(plane) for plane in planes])).clamp(0, 255).view(3, 3, 128, 128)
    torch.testing.assert_close(extract(extractor, images).float(), published(resized), rtol=1e-2, atol=1e-2)


def test_grey_is_seen_as_three_equal_channels_and_no_picture_depends_on_another(extractor: Extractor) -> None:
    grey = pictures(3, 64, 64)[:, :1]
    features = extract(extractor, grey)
    torch.testing.assert_close(features, extract(extractor, grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(features[1:2], extract(extractor, grey[1:2]), rtol=1e-4, atol=1e-4)


def test_large_pictures_have_patches_of_its_own_size(extractor: Extractor) -> None:
    sizes = {(64, 64): False, (128, 128): False, (128, 160): True, (256, 256): True}
    assert {size: has_patches(extractor, *size) for size in sizes} == sizes
    tiled = pictures(2, 128, 128).repeat(1, 1, 2, 2)
    torch.testing.assert_close(
        extract(extractor, tiled, view="patches"), extract(extractor, tiled[:, :, :128, :128]), rtol=1e-4, atol=1e-4
    )


def test_a_hash_stands_for_its_features(extractor: Extractor) -> None:
    assert ImageNetFeatures(LITE1).hash != extractor.hash == ImageNetFeatures().hash
    pattern = torch.arange(3 * 64 * 64).mul(37).remainder(251).to(torch.uint8).view(1, 3, 64, 64)
    found = extract(extractor, pattern)[0, ::60].float()
    torch.testing.assert_close(found, torch.tensor(RECORDED[extractor.hash]), rtol=1e-2, atol=1e-2)


def test_it_sees_blur_at_128_pixels_where_the_steering_network_sees_none(extractor: Extractor) -> None:
    random = torch.Generator().manual_seed(0)
    sharp = (pictures(24, 128, 128) + 40 * torch.randn(24, 3, 128, 128, generator=random)).clamp(0, 255)
    blurred = F.avg_pool2d(F.pad(sharp, (1, 1, 1, 1), mode="reflect"), 3, 1)
    excess = {}
    for name, network in (("imagenet", extractor), ("steering", load_extractor("steering"))):
        real, same, blur = (extract(network, x.round().to(torch.uint8)) for x in (sharp[:12], sharp[12:], blurred[12:]))
        clean = kernel_distance(same, real)
        excess[name] = (kernel_distance(blur, real).value - clean.value) / clean.standard_error
    assert excess["imagenet"] > 10
    assert excess["steering"] < 2


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    found = pretrained.importlib.util.find_spec
    monkeypatch.setattr(
        pretrained.importlib.util, "find_spec", lambda name: None if name == LITE0.package else found(name)
    )
    imagenet_network.cache_clear()
    yield
    imagenet_network.cache_clear()


@pytest.mark.usefixtures("missing")
def test_where_the_extra_is_missing_one_sentence_says_so(tmp_path, refused) -> None:
    np.save(tmp_path / "x.npy", pictures(4, 64, 64).permute(0, 2, 3, 1).numpy())
    err = refused("evaluate", tmp_path / "x.npy", "--reference", tmp_path / "x.npy", "--features", "imagenet")
    assert 'pip install "rggan[pretrained]"' in err


def test_evaluate_tells_what_saw_the_pictures(tmp_path, told, extractor: Extractor) -> None:
    images = pictures(12, 64, 64)
    for name, part in (("real", images[:6]), ("fake", images[6:])):
        np.save(tmp_path / f"{name}.npy", part.permute(0, 2, 3, 1).numpy())
    (found,) = told(
        *("evaluate", tmp_path / "fake.npy", "--reference", tmp_path / "real.npy", "--memorisation", "off"),
        *("--features", "imagenet", "--metrics", "kid"),
    )
    where = found["kid"]["provenance"]
    assert (where["extractor"], where["extractor_hash"]) == ("imagenet", extractor.hash)
    features = [extract(extractor, part) for part in (images[6:], images[:6])]
    assert found["kid"]["value"] == pytest.approx(kernel_distance(*features).value, rel=1e-4)


def test_its_distance_has_a_name_that_no_program_can_take() -> None:
    assert distance_name("imagenet") == "fd-imagenet"
    assert distance_name("imagenet.pt", "12345678" * 8) == "fd-imagenet-12345678"
    assert "imagenet" in EXTRACTORS.builtin
