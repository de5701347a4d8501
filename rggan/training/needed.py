"""What a training needs of memory at the very least, before it is allocated: options that cannot be are refused.

All in here are lower bounds, so that nothing is refused that would run.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from rggan import memory, ranks
from rggan.config import TrainConfig
from rggan.device import random_kept
from rggan.errors import UserError
from rggan.gan import Gan
from rggan.generation.build import build
from rggan.networks import FAMILIES
from rggan.run.folder import Run
from rggan.training.checkpoint import checkpoints, kimg_of

FLOAT = 4  # bytes
OF_G = 5 * FLOAT  # of each of G's weights: itself, its gradient, Adam's two averages, the EMA
OF_D = 4 * FLOAT
LEAST = {"batch": 1, "score_samples": 2, "width_g": 1, "width_d": 1, "z_dim": 1}  # the options that memory depends on
# More weights than networks have for each of width x width, and of width x (z_dim + classes): where even these fit,
# they are not counted, which takes a second.
SQUARES, PRODUCTS = 20_000, 4096
VALUES = 1000  # likewise, of each pixel value of a picture, those that are kept for the gradients
NEVER = 1 << 80  # bytes
NEAR = 1.05  # how near to the largest value that fits the search comes


class Unnormed(TorchFunctionMode):
    """Without the iterations that a new spectral norm makes, which take seconds for networks without values."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.mv:
            return args[0].new_empty(args[0].shape[0])
        return args[0] if func is F.normalize else func(*args, **(kwargs or {}))


class Needs:
    """Of a training with these options, as a function of those of them in `LEAST`.

    network: the generator, as `Generator` describes it.
    """

    def __init__(self, config: TrainConfig, network: Mapping[str, Any]) -> None:
        self.config, self.network = config, network
        self.values: dict[str, int] = {name: getattr(config, name) for name in LEAST}
        self.counted: dict[tuple[Any, ...], int] = {}

    def made(self, make: Callable[[], nn.Module], trained: int, otherwise: int, *key: Any) -> int:
        """Bytes of a network's weights in training, `trained` for each that is trained.

        otherwise: where it cannot be made so. key: what it depends on.
        """
        if (key := (trained, *key)) not in self.counted:
            found = otherwise
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with torch.device("meta"), Unnormed():
                    parameters = list(make().parameters())
                found = sum(p.numel() * (trained if p.requires_grad else FLOAT) for p in parameters)
            self.counted[key] = found
        return self.counted[key]

    def weights(self, of_g: int = OF_G, of_d: int = OF_D, **values: int) -> int:
        """Bytes for both networks, of_g and of_d for each of their weights that is trained."""
        otherwise = NEVER if values else 0  # what was asked for is told when it is made with values
        values = {**self.values, **values}
        network = {**self.network, "width": values["width_g"], "z_dim": values["z_dim"]}
        size, channels, classes = tuple(network["resolution"]), network["channels"], network["classes"]
        discriminator = FAMILIES.get(self.config.network).discriminator
        of_d = FLOAT if self.config.freeze_d else of_d

        def d() -> nn.Module:
            made: nn.Module = discriminator(size, channels, values["width_d"], classes=classes)
            return made

        return self.made(lambda: build(network), of_g, otherwise, "g", values["width_g"], values["z_dim"]) + self.made(
            d, of_d, otherwise, "d", values["width_d"]
        )

    def besides(self, **values: int) -> int:
        """Bytes for a batch's real and generated images, or else for those of an evaluation; and the latents."""
        values = {**self.values, **values}
        pixels = self.network["channels"] * math.prod(self.network["resolution"])
        latents = (values["batch"] // ranks.count() + values["score_samples"]) * values["z_dim"] * FLOAT
        step = values["batch"] // ranks.count() * pixels * 2 * FLOAT
        judged = values["score_samples"] // ranks.count() * pixels
        return latents + max(step, judged)

    def all(self, **values: int) -> int:
        return self.weights(**values) + self.besides(**values)

    def at_most(self) -> int:
        """More than `all`, without a look at the networks."""
        widths = [self.values["width_g"], self.values["width_d"]]
        others = self.values["z_dim"] + self.network["classes"]
        squares = SQUARES * sum(width**2 for width in widths)
        return OF_G * (squares + PRODUCTS * sum(widths) * others) + self.besides()

    def sentence(self, free: int, needed: Callable[..., int], small: Callable[[], Gan], where: str = "") -> str:
        """Which option it is that asks for too much, and how much of it would fit."""
        whole = needed()
        saved = {name: whole - needed(**{name: least}) for name, least in LEAST.items()}
        name = max(saved, key=lambda name: saved[name])
        value, least = self.values[name], LEAST[name]
        if needed(**{name: least}) > free:
            asked = [name for name in sorted(saved, key=lambda name: -saved[name]) if saved[name] > whole / 10]
            words = " and ".join(f"`{name}` {self.values[name]:,}" for name in asked or [name])
            return (
                f"{words} need{'s' * (len(asked) < 2)} about {memory.size(whole)} of memory{where}, and "
                f"{memory.size(free)} are free: take much less."
            )
        low, high = least, value
        while high - low > 1 and high > NEAR * low:
            middle = min(high - 1, max(low + 1, math.isqrt(low * high)))
            low, high = (middle, high) if needed(**{name: middle}) <= free else (low, middle)
        if name == "batch":
            low = min(low, largest_batch(small(), free)[0])
        return memory.too_much(f"`{name}`", value, whole, free, low, where)


def free_on(device: torch.device) -> int:
    """Bytes that may still be taken there."""
    if device.type != "cuda":
        return memory.available()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for itself
    return torch.cuda.mem_get_info(device)[0] + kept


def refuse_too_much(
    config: TrainConfig, network: Mapping[str, Any], device: torch.device, small: Callable[[], Gan]
) -> None:
    """
    Args:
        network: as for `Needs`. device: where is trained. small: makes both networks for a batch of 1.

    Raises:
        UserError: weights, one batch or an evaluation need more memory than is free.
    """
    needs, free = Needs(config, network), free_on(device)
    where = " on the GPU" if device.type == "cuda" else ""
    if needs.at_most() > free and needs.all() > free:
        raise UserError(needs.sentence(free, needs.all, small, where))
    if not where or needs.at_most() <= (host := memory.available()):
        return

    def there(**values: int) -> int:  # where they are made
        return needs.weights(FLOAT, FLOAT, **values)

    if there() > host:
        raise UserError(needs.sentence(host, there, small))


def refuse_batch(config: TrainConfig, gan: Gan) -> None:
    """
    Args:
        gan: as it was made: of its weights there is no gradient, average or EMA yet.

    Raises:
        UserError: a step needs more memory than is free for what it keeps of a batch.
    """
    if ranks.count() > 1 or config.compile:  # ranks may see different memory; what is compiled keeps less
        return
    values, free = math.prod(gan.batches.shape) * FLOAT, free_on(gan.device)
    if config.batch * values * VALUES <= free / 2:
        return
    most, needed = largest_batch(gan, free)
    if config.batch > most:
        where = " on the GPU" if gan.device.type == "cuda" else ""
        raise UserError(memory.too_much("`batch`", config.batch, needed(config.batch), free, most, where))


def largest_batch(gan: Gan, free: int) -> tuple[int, Callable[[int], int]]:
    """(The largest batch for which a step has enough memory, batch -> bytes that it needs); 0: none.

    gan: as it was made: of its weights there is no gradient, average or EMA yet.
    """
    of_g, of_d = (sum(p.numel() for p in each) for each in (gan.g.parameters(), gan.trained_d))
    besides, each = (OF_G - FLOAT) * of_g + (OF_D - FLOAT) * of_d, max(1, values_kept(gan))
    return max(0, free - besides) // each, lambda batch: batch * each + besides


def values_kept(gan: Gan) -> int:
    """Bytes that the forward pass of one image keeps for the gradients: G's, or twice D's, which is of two images."""

    def kept(network: nn.Module, *inputs: Tensor) -> int:
        found: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor), gan.autocast():
            network(*inputs)
        return sum(tensor.untyped_storage().nbytes() for tensor in found.values())

    of_g, of_d = [], []
    with random_kept(gan.device), torch.enable_grad():
        for network in (gan.g, gan.d):
            network.eval()  # which moves no average
        try:
            for count in (1, 2):  # the difference is an image's
                drawn = gan.sampler.draw(count)
                images = torch.zeros(count, *gan.batches.shape, device=gan.device)
                of_g.append(kept(gan.g, *drawn))
                of_d.append(kept(gan.d, images, *drawn[1:]))
        finally:
            for network in (gan.g, gan.d):
                network.train()
    return max(0, of_g[1] - of_g[0], 2 * (of_d[1] - of_d[0]))


@contextlib.contextmanager
def enough_memory(config: TrainConfig, run: Callable[[], Run | None]) -> Iterator[None]:
    """Tells what a run keeps, and how it goes on, where what is done in here finds no more memory.

    Raises:
        OutOfMemory: so it is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # PyTorch's are of the second kind
        if not memory.is_used_up(error):
            raise
        found = run()
        states = [] if found is None else checkpoints(found.checkpoints)
        kept = f"{found} holds the state of kimg {max(map(kimg_of, states)):.1f}" if states else "no state is kept yet"
        raise memory.OutOfMemory(
            f"The memory is used up at `batch` {config.batch:,}, `width_g` {config.width_g:,} and `width_d` "
            f"{config.width_d:,}; {kept}. With more free memory the same command "
            f"{'continues from there' if states else 'begins anew'}; smaller ones are another run."
        ) from error
