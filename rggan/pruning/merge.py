"""State dicts: that of a pruned model under plain names, and those of rggan 0.1, which contained the masks."""

from __future__ import annotations

import copy
import re

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rggan.pruning.packing import pack
from rggan.pruning.published import bake, masks_behind
from rggan.pruning.wrappers import unwrapped

MASK = re.compile(r"(.*)parametrizations\.(\w+)\.(\d+)\.mask")


@torch.no_grad()
def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Returns the model's sparse weights under the names of the unpruned model.

    Equals `model.state_dict()`, detached and without wrappers (DistributedDataParallel, `torch.compile`). Only under
    `PublishedThreshold`, whose mask is applied after a spectral norm, norm and mask are merged into the weight of a
    model without that norm. The model is only read; the tensors are not copied.

    >>> from rggan.pruning import Pruner
    >>> plain, pruned = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> pruner = Pruner(pruned, torch.optim.SGD(pruned.parameters()))
    >>> plain.load_state_dict(merged_state_dict(pruned))
    <All keys matched successfully>
    """
    model = unwrapped(model, nn.DataParallel, DistributedDataParallel)
    if masks_behind(model):
        model = copy.deepcopy(model)
        for owner, tensor in masks_behind(model):
            bake(owner, tensor)
    return {name: value.detach() for name, value in model.state_dict().items()}


@torch.no_grad()
def split_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor | None]]]:
    """Splits a state dict that contains masks, as rggan 0.1 wrote it, into (model state, {name: layer state}).

    The first loads into the model, the second is now `Pruner.state_dict()["layers"]`. With a mask after a spectral norm
    (`PublishedThreshold`) the weight stays dense, as the mask multiplies the normalised weight.

    >>> w, mask = torch.ones(2, 2), torch.eye(2)
    >>> names = {"a.parametrizations.weight.original": w, "a.parametrizations.weight.0.mask": mask}
    >>> plain, layers = split_state(names | {"a.parametrizations.weight.0.threshold": torch.zeros(2)})
    >>> plain, layers["a.weight"]["hidden"]
    ({'a.weight': tensor([[1., 0.],
            [0., 1.]])}, tensor([1., 1.]))
    """
    state, layers = dict(state), {}
    for name in [name for name in state if MASK.fullmatch(name)]:
        match = MASK.fullmatch(name)
        assert match is not None
        path, tensor, place = match[1], match[2], int(match[3])
        chain = f"{path}parametrizations.{tensor}."
        mask, threshold = state.pop(name), state.pop(f"{chain}{place}.threshold")
        weight = state.pop(f"{chain}original")
        if mask.shape != weight.shape:
            raise ValueError(f"the mask of {path}{tensor} is {list(mask.shape)}, its weight {list(weight.shape)}")
        others = [other for other in state if other.startswith(chain)]
        for other in others:  # a spectral norm after the mask takes its index
            number, _, rest = other.removeprefix(chain).partition(".")
            if int(number) > place:
                state[f"{chain}{int(number) - 1}.{rest}"] = state.pop(other)
        state[f"{chain}original" if others else f"{path}{tensor}"] = weight if place else weight * mask
        layers[f"{path}{tensor}"] = pack(mask, threshold, None if place else weight)
    return state, layers
