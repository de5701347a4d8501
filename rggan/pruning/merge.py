"""State dicts: that of a pruned model as a plain one's, and those of before, which held the masks."""

from __future__ import annotations

import copy
import re

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from rggan.pruning.packing import pack
from rggan.pruning.published import bake, masks_behind

MASK = re.compile(r"(.*)parametrizations\.(\w+)\.(\d+)\.mask")


@torch.no_grad()
def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The model's sparse weights under the names of a model that never heard of pruning.

    That is what `model.state_dict()` is, detached, wrappers (DistributedDataParallel, `torch.compile`) seen through.
    Only under `PublishedThreshold`, whose mask stands behind a spectral norm, norm and mask are merged into the weight
    of a model without that norm. The model is only read; the tensors are its own, not copies.

    >>> from rggan.pruning import Pruner
    >>> plain, pruned = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> pruner = Pruner(pruned, torch.optim.SGD(pruned.parameters()))
    >>> plain.load_state_dict(merged_state_dict(pruned))
    <All keys matched successfully>
    """
    while isinstance(model, nn.DataParallel | DistributedDataParallel | OptimizedModule):
        model = model._orig_mod if isinstance(model, OptimizedModule) else model.module
    if masks_behind(model):
        model = copy.deepcopy(model)
        for owner, tensor in masks_behind(model):
            bake(owner, tensor)
    return {name: value.detach() for name, value in model.state_dict().items()}


@torch.no_grad()
def split_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor | None]]]:
    """(a model's state, {name: state of the layer}) of a state dict that holds masks, as rggan 0.1 wrote it.

    The first loads into the model, the second is what `Pruner.state_dict()["layers"]` is now. Behind a spectral norm
    (`PublishedThreshold`) the weight stays dense, as the mask does not multiply it itself.

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
        others = [other for other in state if other.startswith(chain)]
        for other in others:  # a spectral norm behind the mask moves up into its place
            number, _, rest = other.removeprefix(chain).partition(".")
            if int(number) > place:
                state[f"{chain}{int(number) - 1}.{rest}"] = state.pop(other)
        state[f"{chain}original" if others else f"{path}{tensor}"] = weight if place else weight * mask
        layers[f"{path}{tensor}"] = pack(mask, threshold, None if place else weight)
    return state, layers
