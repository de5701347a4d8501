"""What a training step works with: both networks, their optimizers, and where images and latents come from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:  # so that networks, whose families name their steps, need torch alone
    from rggan.data import Batches
    from rggan.generation.sampler import Sampler


class Gan:
    """Generator and discriminator in training.

    Args:
        g: latents [N, z_dim] (, labels [N]) -> images float [N, C, H, W], about -1..1. d: images (, labels) -> logits
            float32 [N], or [N, M] for patches. Both lie on `device`.
        sampler: draws latents (and labels, where the networks take some: `conditional`).
        batches: real images, float32 [batch, C, H, W] in -1..1.
        augment: of real and generated images alike, before D sees them.
        bf16: compute in bf16, channels-last. compile: `run_g` and `run_d` are compiled.

    Attributes:
        run_g, run_d: the networks as a step calls them. A gradient penalty calls `d` itself: compiled code has no
            second derivative.
        opt_g, opt_d: the optimizers; those of D's parameters that train. A training sets them.
    """

    opt_g: torch.optim.Optimizer
    opt_d: torch.optim.Optimizer

    def __init__(
        self,
        g: nn.Module,
        d: nn.Module,
        sampler: Sampler,
        batches: Batches,
        augment: Callable[[Tensor], Tensor],
        device: torch.device,
        conditional: bool = False,
        bf16: bool = False,
        compile: bool = False,
    ) -> None:
        self.sampler, self.batches, self.augment = sampler, batches, augment
        self.device, self.conditional, self.bf16 = device, conditional, bf16
        # bf16 convolutions want channels-last. In fp32 a run stays bit-identical to the dense one without pruning,
        # and for that contiguous: channels-last strides of a size-1 dimension do not survive the mask.
        self.layout = torch.channels_last if bf16 else torch.contiguous_format
        self.g, self.d = self.place(g), self.place(d)
        self.trained_d = [p for p in self.d.parameters() if p.requires_grad]
        self.run_g: Any = torch.compile(self.g) if compile else self.g
        self.run_d: Any = torch.compile(self.d) if compile else self.d

    def place(self, network: nn.Module) -> nn.Module:
        """On the device, in the layout of the networks."""
        placed: nn.Module = network.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        return placed

    def latents(self) -> tuple[Tensor, ...]:
        """What G takes for a batch: z [batch, z_dim] (, labels [batch])."""
        return self.sampler.draw(self.batches.batch)

    def real(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next batch of real images, and D's other arguments: (labels [N],) of a conditional D, or ()."""
        self.batches.draw()
        return self.drawn()

    def drawn(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The batch of real images that was drawn last, as `real` gives it."""
        images, labels = self.batches.drawn()
        return images, ((labels,) if self.conditional and labels is not None else ())

    def prepared(self, images: Tensor) -> Tensor:
        """Augmented, in the layout of the networks: what D sees."""
        return self.augment(images).contiguous(memory_format=self.layout)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    @contextlib.contextmanager
    def fixed_d(self) -> Iterator[None]:
        """D's parameters take no gradients in here: G's step wants that of the images only."""
        for parameter in self.trained_d:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.trained_d:
                parameter.requires_grad_(True)
