"""The two steps of a GAN, from images and latents to gradients: a family of networks or a loss may bring its own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rggan import ranks
from rggan.gan import Gan
from rggan.losses import hinge_d, hinge_g, lecam, nonsaturating_d, nonsaturating_g, r1_penalty
from rggan.registry import Registry

R1_EVERY = 16  # steps of D between two lazy penalties, each of which counts so many times as much
LECAM_DECAY = 0.99


def always_possible(options: Mapping[str, Any]) -> None:
    """No combination of options is refused."""


@dataclass(frozen=True)
class Loss:
    """An adversarial loss.

    Args:
        d: (D's outputs on real images, on generated ones) -> a scalar. g: (D's outputs on generated ones) -> a scalar.
        steps: instead of the family's, for a loss that needs more than these outputs (a relativistic one, say).
        refuses: (options of a run by name) -> one sentence that says why these cannot be; None: they can.

    >>> LOSSES.get("hinge").g(torch.tensor([2.0, 0.0]))
    tensor(-1.)
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor], Tensor]
    steps: Callable[..., Steps] | None = None
    refuses: Callable[[Mapping[str, Any]], str | None] = always_possible


class Outcome(NamedTuple):
    """What a step computed.

    loss: the network's own, a scalar. on_fake, on_real: D's outputs on augmented images, float32 [N] or [N, M], before
    the weights move. A step of D tells both, one of G may leave `on_real` out.
    """

    loss: Tensor
    on_fake: Tensor
    on_real: Tensor | None = None

    def detached(self) -> Outcome:
        """The same numbers without the graph that made them."""
        return Outcome(*(None if part is None else part.detach() for part in self))  # type: ignore[arg-type]


class Steps:
    """The adversarial loss with LeCam regularisation and lazy R1, and what these remember.

    To replace in a subclass: `discriminator_step` and `generator_step`, which leave gradients in the parameters of one
    network (zeroed before) and tell the `Outcome`; or one of the smaller parts that they call. The optimizer steps, the
    EMA, pruning and whatever follows D's outputs are the training's business. A step reads nothing back from the device
    (`.item()`, `if tensor`), so that it never waits for a GPU.

    Args:
        options: of the run, by name ("lecam"). loss: the adversarial one. gamma: the weight of R1; 0: none.

    Attributes:
        kept: names of the attributes that decide the next step, tensors of a fixed shape or numbers: they are saved
            with the run. A subclass adds its own: `kept = (*Steps.kept, "length")`.
        real, fake: moving averages of D's mean outputs (LeCam), scalars. steps_d, steps_g: steps so far.
    """

    kept: ClassVar[tuple[str, ...]] = ("real", "fake", "averaging", "steps_d", "steps_g")

    def __init__(self, options: Mapping[str, Any], loss: Loss, gamma: float, device: torch.device) -> None:
        self.options, self.loss, self.gamma, self.device = options, loss, gamma, device
        self.real, self.fake = torch.zeros((), device=device), torch.zeros((), device=device)
        self.steps_d = self.steps_g = 0
        self.averaging = False  # whether `real` and `fake` have begun

    def discriminator_step(self, gan: Gan, real: Tensor, labels: tuple[Tensor, ...]) -> Outcome:
        """Gradients of D's loss in D's parameters.

        Args:
            real: images float32 [N, C, H, W] in -1..1. labels: D's other arguments for them.
        """
        drawn = gan.latents()
        with gan.autocast():
            with torch.no_grad():
                fake = gan.run_g(*drawn)
            on_real, on_fake, beside = self.outputs(gan, real, labels, fake, drawn[1:])
            loss = self.loss_of_d(on_real, on_fake) + beside
        if self.r1_due():
            loss = loss + self.gamma / 2 * R1_EVERY * self.gradient_penalty(gan, real, labels)
        loss.backward()
        return Outcome(loss, on_fake, on_real)

    def generator_step(self, gan: Gan, drawn: tuple[Tensor, ...]) -> Outcome:
        """Gradients of G's loss in G's parameters; D's take none in here.

        Args:
            drawn: G's arguments, latents (and labels).
        """
        with gan.autocast():
            on_fake = gan.run_d(gan.prepared(gan.run_g(*drawn)), *drawn[1:])
            loss = self.loss.g(on_fake)
        loss.backward()
        self.steps_g += 1
        return Outcome(loss, on_fake)

    def outputs(
        self, gan: Gan, real: Tensor, labels: tuple[Tensor, ...], fake: Tensor, fake_labels: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor | float]:
        """D's outputs on real and on generated images, and a loss of D's own beside the adversarial one (0)."""
        if getattr(gan.d, "batch_statistics", False):
            on_real, beside = self.on_real(gan, gan.prepared(real), labels)
            return on_real, gan.run_d(gan.prepared(fake), *fake_labels), beside
        both = (torch.cat([*labels, *fake_labels]),) if labels else ()
        on_real, on_fake = gan.run_d(gan.prepared(torch.cat([real, fake])), *both).chunk(2)
        return on_real, on_fake, 0.0

    def on_real(self, gan: Gan, x: Tensor, labels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        """D's outputs on prepared real images alone, and its own loss."""
        return gan.run_d(x, *labels), 0.0

    def loss_of_d(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """The adversarial loss of D, with LeCam regularisation; moves its averages."""
        loss = self.loss.d(on_real, on_fake)
        if weight := self.options["lecam"]:
            real, fake = ranks.mean(on_real.detach().mean()), ranks.mean(on_fake.detach().mean())
            moved = 1 - LECAM_DECAY if self.averaging else 1.0  # the first values count whole
            self.averaging = True
            self.real.lerp_(real, moved)
            self.fake.lerp_(fake, moved)
            loss = loss + weight * lecam(on_real, on_fake, self.real, self.fake)
        return loss

    def r1_due(self) -> bool:
        """Whether this step of D carries the R1 penalty; counts the step."""
        self.steps_d += 1
        return self.gamma > 0 and (self.steps_d - 1) % R1_EVERY == 0

    def gradient_penalty(self, gan: Gan, real: Tensor, labels: tuple[Tensor, ...]) -> Tensor:
        """R1 at real images as they are before augmentation, in float32, without its weight."""
        x = real.detach().float().requires_grad_()
        return r1_penalty(gan.d(gan.prepared(x), *labels), x)

    def plan(self, network: str) -> Hashable:
        """What the Python of the next step of 'g' or 'd' depends on, of what changes along a run: whether a lazy
        penalty is due, say. A step is recorded once for each; `steps_d` and `steps_g` are those before it."""
        if network == "d":
            return self.averaging, self.gamma > 0 and self.steps_d % R1_EVERY == 0
        return ()

    def counts(self) -> list[int]:
        """The whole numbers in what is `kept`."""
        return [int(value) for value in self.state_dict().values() if isinstance(value, int)]

    def set_counts(self, counts: Sequence[int]) -> None:
        numbers = [(name, value) for name, value in self.state_dict().items() if isinstance(value, int)]
        for (name, value), count in zip(numbers, counts, strict=True):
            setattr(self, name, type(value)(count))

    def state_dict(self) -> dict[str, Any]:
        """What decides the next step, by name."""
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the form of the present one."""
        for name in self.kept:
            value = state[name]
            setattr(self, name, value.to(self.device).clone() if isinstance(value, Tensor) else value)

    def migrated(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state of up to format 6, where one objective served all families, in the present form."""
        averages, (steps_d, steps_g) = state["averages"].unbind(), state["steps"]
        known = dict(zip(("real", "fake", "length"), averages, strict=True))
        known |= {"averaging": state["averaging"], "steps_d": steps_d, "steps_g": steps_g}
        return {name: known.get(name, value) for name, value in self.state_dict().items()}


def loss(found: Any) -> Loss:
    """The object itself.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(found, Loss):
        raise TypeError("Loss (rggan.steps), an adversarial loss")
    return found


HINGE = Loss(hinge_d, hinge_g)
NONSATURATING = Loss(nonsaturating_d, nonsaturating_g)
LOSSES: Registry[Loss] = Registry(
    "`loss`", {"hinge": "rggan.steps:HINGE", "nonsaturating": "rggan.steps:NONSATURATING"}, "rggan.losses", loss
)
