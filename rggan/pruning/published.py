"""The variant of the paper's own code, whose mask is applied after a spectral norm and so is part of the network."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rggan.pruning.form import fitted_adam
from rggan.pruning.granularity import Weights
from rggan.pruning.kind import Kind
from rggan.pruning.layer import Layer
from rggan.pruning.neuron_thresholds import NeuronThresholds
from rggan.pruning.rule import Rule
from rggan.pruning.select import chains


class WeightMask(nn.Module):
    """A parametrization (`torch.nn.utils.parametrize`) that multiplies a weight by its mask, after all others.

    The mask is a non-persistent buffer: it is saved in the Pruner's state.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class BehindNorm(Layer):
    """A parametrized weight whose mask is applied after its parametrizations: nothing is swapped.

    owners: the modules that compute their tensor of this name from the parameter.
    """

    def __init__(self, *arguments: Any, owners: Sequence[tuple[nn.Module, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.owners, self.module, self.keeps = list(owners), WeightMask(self.mask), False
        for module, tensor in owners:
            parametrize.register_parametrization(module, tensor, self.module, unsafe=True)

    @torch.no_grad()
    def seen(self) -> Tensor:
        module, tensor = self.owners[0]
        value = self.weight.detach()
        for part in list(chains(module)[tensor])[:-1]:
            training = part.training
            value = part.eval()(value)  # in train mode a spectral norm would advance its power iteration
            part.train(training)
        return value.to(self.threshold.dtype)

    def open(self) -> None:
        self.match()

    def close(self) -> None:
        self.match()

    def freeze(self) -> None:
        pass

    def keep_alive(self) -> None:
        pass  # the norm is applied before the mask: no division by zero

    def match(self) -> None:
        self.mask = self.module.mask  # it moves with the model
        self.threshold = self.threshold.to(self.mask.device)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        mask, threshold, _ = self.checked(state)
        self.mask.copy_(mask)
        self.threshold.copy_(threshold)

    def detach(self) -> None:
        """Remove the mask, merging it and the norm into the weight."""
        for module, tensor in self.owners:
            bake(module, tensor)


@torch.no_grad()
def bake(module: nn.Module, tensor: str) -> None:
    """Replaces a parametrized tensor by a plain parameter with the computed value.

    Unlike `parametrize.remove_parametrizations`, which deletes a property from a class that deep copies of the module
    share, and so breaks them.
    """
    lists: Any = module.parametrizations
    weight = lists[tensor].original
    weight.copy_(lists[tensor].eval()())
    del lists[tensor]
    if len(lists) == 0:
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    module.register_parameter(tensor, weight)


def masks_behind(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Returns (module, tensor) of every weight with such a mask."""
    return [
        (module, tensor)
        for module in model.modules()
        for tensor, chain in chains(module).items()
        if isinstance(chain[-1], WeightMask)
    ]


class PublishedThreshold(NeuronThresholds):
    """The variant of the paper's own code, as measured (docs/method.md, "The published variant").

    Absolute units, the mask after the spectral norm, thresholds trained by Adam like the weights. The mask is detached
    there, so a threshold gets no gradient from the loss: its gradient is exactly `-lambda * exp(-t)`, and lambda acts
    only through Adam's epsilon. Pruned weights get no gradient.

    >>> rule = PublishedThreshold(penalty=1e-12)
    """

    behind_norm = True

    def __init__(
        self,
        penalty: float = 1e-12,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        floor: float = 0.01,
    ) -> None:
        super().__init__(penalty, lr, floor, Weights())
        self.betas = betas
        self.adam: torch.optim.Adam | None = None  # made at the first step
        self.saved: dict[str, Any] | None = None  # a loaded state of it

    def plan(self) -> Hashable | None:
        return () if self.adam is not None and self.adam.defaults["capturable"] else None

    def places(self) -> Hashable:
        return () if self.adam is None else tuple(t.data_ptr() for s in self.adam.state.values() for t in s.values())

    @torch.no_grad()
    def gradient(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            if layer.weight.grad is not None and not isinstance(layer, BehindNorm):  # autograd has masked these
                layer.weight.grad.mul_(layer.mask)

    @torch.no_grad()
    def update(self, layers: Sequence[Layer]) -> None:
        self.steps += 1
        thresholds = [layer.threshold for layer in layers]
        if self.adam is None:
            on_gpu = thresholds[0].device.type == "cuda"
            self.adam = torch.optim.Adam(thresholds, lr=self.lr, betas=self.betas, capturable=on_gpu)
            self.adam._warned_capturable_if_run_uncaptured = True
            if self.saved is not None:
                self.adam.load_state_dict(self.saved)
        for threshold in thresholds:
            threshold.grad = torch.exp(-threshold).mul_(-self.penalty)
        self.adam.step()
        self.refresh(layers)

    @torch.no_grad()
    def refresh(self, layers: Sequence[Layer]) -> None:
        self.granularity.show(layers, [layer.threshold.new_ones(()) for layer in layers])
        self.rescue(layers)

    def state_dict(self) -> dict[str, Any]:
        adam = self.saved if self.adam is None else self.adam.state_dict()
        return {"steps": self.steps, "target": None} | ({} if adam is None else {"adam": adam})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.saved, self.adam = state["steps"], state.get("adam"), None

    def checked(self, state: dict[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
        own = {key: value for key, value in self.state_dict().items() if key == "adam"}
        clean = self.fitted({key: value for key, value in state.items() if key != "adam"} | own)
        clean.pop("adam", None)
        if (adam := state.get("adam")) is None:
            return clean
        thresholds = [layer.threshold for layer in layers]
        groups = torch.optim.Adam(thresholds, self.lr, self.betas).state_dict()["param_groups"]
        return {**clean, "adam": fitted_adam(thresholds, groups, adam, "thresholds")}


KIND: Kind[Rule] = Kind(
    lambda wanted: PublishedThreshold(
        1e-12 if wanted.options["penalty"] is None else wanted.options["penalty"],
        wanted.options["threshold_lr"],
        floor=wanted.options["floor"],
    ),
    frozenset(("penalty", "threshold_lr", "floor")),
    penalised=True,
    behind_norm=True,
)
