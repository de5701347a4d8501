"""A generator as a function of tensors alone, which exporters can trace: its parts, and how their inputs are fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from rggan.generation.generator import Generator
from rggan.networks import Styled
from rggan.pruning.tracing import without_norms

NOISE = "noise"  # what a buffer of the network is called that holds noise


def noisy(network: nn.Module) -> list[nn.Module]:
    """The modules that hold noise, in their order: from coarse to fine."""
    return [module for module in network.modules() if isinstance(module._buffers.get(NOISE), Tensor)]


class Plain(nn.Module):
    """z [N, z_dim] (, labels [N]) -> images [N, C, H, W]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.network(z) if labels is None else self.network(z, labels)
        return images


class Styles(nn.Module):
    """z [N, z_dim] (, labels [N]) and a truncation, a scalar from 0 to 1 -> styles [N, style_count, w_dim].

    Truncation is arithmetic here, without a branch on its value. Where it leads to is asked of the network once.
    """

    centre: Tensor

    def __init__(self, network: nn.Module, z_dim: int, classes: int) -> None:
        super().__init__()
        self.network = network
        labels = torch.zeros(1, dtype=torch.int64) if classes else None
        with torch.no_grad():
            centre = cast(Styled, network).styles(torch.zeros(1, z_dim), labels, truncation=0.0)
        self.register_buffer("centre", centre.clone())

    def forward(self, z: Tensor, truncation: Tensor, labels: Tensor | None = None) -> Tensor:
        styles = cast(Styled, self.network).styles(z, labels)
        return self.centre + truncation * (styles - self.centre)


class Synthesis(nn.Module):
    """Styles [N, style_count, w_dim] and noise, a tensor for each of `noisy` or none -> images [N, C, H, W]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        if noise is None:
            return cast(Styled, self.network).synthesis(styles)
        # Exchanged and put back by hand: `torch.func.functional_call` calls forward only, not `synthesis`.
        holders = noisy(self.network)
        kept = [module._buffers[NOISE] for module in holders]
        try:
            for module, given in zip(holders, noise, strict=True):
                module._buffers[NOISE] = given
            return cast(Styled, self.network).synthesis(styles)
        finally:
            for module, own in zip(holders, kept, strict=True):
                module._buffers[NOISE] = own


class Styling(nn.Module):
    """`Styles`, then `Synthesis`."""

    def __init__(self, network: nn.Module, z_dim: int, classes: int) -> None:
        super().__init__()
        self.styles, self.synthesis = Styles(network, z_dim, classes), Synthesis(network)

    def forward(self, z: Tensor, truncation: Tensor, noise: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.synthesis(self.styles(z, truncation, labels), noise)
        return images


@dataclass(frozen=True)
class Part:
    """A module and what it takes and gives, by name.

    Attributes:
        inputs: an example of each, two rows of what has rows.
        defaults: of inputs that may be left out: what stands for them.
        rows: the names of those whose first dimension is the batch.
        output: the name of what it gives.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    rows: tuple[str, ...]
    output: str = "images"
    defaults: dict[str, Tensor] = field(default_factory=dict)

    def keywords(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """The inputs as the module takes them: noise in one list."""
        noise = [inputs.get(name, value) for name, value in self.defaults.items()]
        named: dict[str, Any] = {name: value for name, value in inputs.items() if name not in self.defaults}
        return named | ({NOISE: noise} if noise else {})

    def drawn(self, rows: int, seed: int = 0) -> dict[str, Tensor]:
        """Other inputs of that many rows; what may be left out is."""
        random = torch.Generator().manual_seed(seed)
        found = {}
        for name, example in self.inputs.items():
            shape = (rows, *example.shape[1:]) if name in self.rows else example.shape
            if example.is_floating_point():
                found[name] = torch.randn(shape, generator=random) if shape else example
            else:
                found[name] = torch.arange(rows) % (int(example.max()) + 1)
        return found

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = self.module(**self.keywords(inputs))
        return found


def whole(generator: Generator) -> Part:
    """Latents (z), classes (labels), and of a style-based network truncation and noise -> images.

    >>> from rggan.networks.sngan import SNGANGenerator
    >>> network = {"name": "sngan", "resolution": [16, 16], "channels": 1, "width": 4, "z_dim": 8, "classes": 3}
    >>> found = whole(Generator(SNGANGenerator(16, 1, 4, 8, 3), {"network": network, "classes": ["a", "b", "c"]}))
    >>> {name: list(value.shape) for name, value in found.inputs.items()}, found(found.inputs).shape
    ({'z': [2, 8], 'labels': [2]}, torch.Size([2, 1, 16, 16]))
    """
    network, described, inputs = prepared(generator)
    rows = tuple(inputs)
    if generator.style_network is None:
        return Part(Plain(network), inputs, rows)
    module = Styling(network, described["z_dim"], described["classes"])
    return Part(module, inputs | {"truncation": torch.tensor(0.7)}, rows, defaults=noise_of(network))


def in_two(generator: Generator) -> tuple[Part, Part]:
    """A style-based generator: what makes styles of latents, and images of styles with the network's own noise.

    Walks lead from styles to styles.
    """
    network, described, inputs = prepared(generator)
    rows = tuple(inputs)
    maker = Styles(network, described["z_dim"], described["classes"])
    first = Part(maker, inputs | {"truncation": torch.tensor(0.7)}, rows, "styles")
    return first, Part(Synthesis(network), {"styles": first(first.inputs).clone()}, ("styles",))


def prepared(generator: Generator) -> tuple[nn.Module, dict[str, Any], dict[str, Tensor]]:
    """The network on the CPU, its config, and an example of its latents and classes."""
    described = generator.config["network"]
    random = torch.Generator().manual_seed(0)
    inputs = {"z": torch.randn(2, described["z_dim"], generator=random)}
    if described["classes"]:
        inputs["labels"] = torch.tensor([0, described["classes"] - 1])
    return without_norms(generator.network).cpu(), described, inputs


def noise_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's own noise, which its pictures have where no other is given."""
    return {f"{NOISE}_{i}": cast(Tensor, module._buffers[NOISE]).clone() for i, module in enumerate(noisy(network))}
