"""What the program knows of a family of networks, in one record: the file that defines the family holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from rggan.networks.sizes import Sizes
from rggan.steps import Steps, always_possible


class Argument(NamedTuple):
    """A whole number that the generator of a family takes besides what all take, with its least and largest value."""

    default: int
    low: int
    high: int


@dataclass(frozen=True)
class Family:
    """A generator and a discriminator that are trained together, and what a run has to know of them.

    Args:
        generator: (resolution, channels, width, z_dim, classes, and its own `arguments`) -> a module: latents
            float [N, z_dim] (, labels int64 [N] if `classes`) -> images [N, C, H, W], about -1..1.
        discriminator: (resolution, channels, width, classes) -> a module with `blocks`, from the picture inwards:
            images (, labels) -> logits, float32 [N] or [N, patches]. Its attribute `batch_statistics`, if True, keeps
            real and generated images apart.
        sizes: which pictures it can make.
        settings: options of a run that it brings along, instead of their defaults.
        options: options of a run that mean something to such families only.
        arguments: of the generator, by name. One that is no option of a run is given by `--network-options`.
        whole: last parts of the names of layers that pruning leaves as they are ("to_rgb").
        r1: (pixels of a picture, batch) -> weight of the R1 penalty where none is given; None: no penalty.
        normed_generator: whether G's weights lie under a spectral norm.
        steps: what the two steps compute: `Steps` or a subclass.
        looks_through: name of the frozen pretrained network (`rggan.pretrained.Pretrained`) that D looks through.
        refuses: (options of a run by name) -> one sentence that says why these cannot be; None: they can.

    >>> from rggan.networks import FAMILIES
    >>> FAMILIES.get("biggan").sizes.title
    'BigGAN'
    """

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    sizes: Sizes
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    whole: tuple[str, ...] = ("to_rgb", "from_rgb")
    r1: Callable[[int, int], float] | None = None
    normed_generator: bool = False
    refuses: Callable[[Mapping[str, Any]], str | None] = always_possible
    steps: Callable[..., Steps] = Steps
    looks_through: str = ""


@runtime_checkable
class Styled(Protocol):
    """A generator whose images come from styles [N, style_count, w_dim], one for each layer, coarse to fine."""

    style_count: int

    def styles(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor: ...

    def synthesis(self, styles: Tensor) -> Tensor: ...


def family(found: Any) -> Family:
    """The object itself.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(found, Family):
        raise TypeError("Family (rggan.networks.family), which a network is named by")
    return found
