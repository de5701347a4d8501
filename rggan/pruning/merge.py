"""Effective weights under the plain names: what a model that never heard of pruning can load."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize

from rggan.pruning.mask import WeightMask, chains


@torch.no_grad()
def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The model's state with every mask multiplied into its weight and gone from the names.

    Other parametrizations and their keys stay: under a spectral norm the masked raw weight is returned
    with the norm's vectors. Only where the mask stands *after* a norm (`PublishedThreshold`) norm and
    mask are merged into a plain weight. The model is only read; tensors that no mask touches are
    the model's own (detached), not copies. Wrappers (DistributedDataParallel, `torch.compile`) are seen
    through.

    >>> from rggan.pruning import Pruner
    >>> plain, pruned = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> pruner = Pruner(pruned, torch.optim.SGD(pruned.parameters()))
    >>> plain.load_state_dict(merged_state_dict(pruned))
    <All keys matched successfully>
    """
    while isinstance(model, nn.DataParallel | DistributedDataParallel | OptimizedModule):
        model = model._orig_mod if isinstance(model, OptimizedModule) else model.module
    state = {name: value.detach() for name, value in model.state_dict().items()}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for tensor, chain in chains(module).items():
            index = next((i for i, part in enumerate(chain) if isinstance(part, WeightMask)), None)
            if index is not None:
                _merge(state, f"{prefix}." if prefix else "", tensor, chain, index)
    return state


def _merge(
    state: dict[str, Tensor], prefix: str, tensor: str, chain: parametrize.ParametrizationList, index: int
) -> None:
    """Replace the keys of one parametrized weight by those it has without its mask."""
    stem = f"{prefix}parametrizations.{tensor}."
    old = {key: state.pop(key) for key in [key for key in state if key.startswith(stem)]}
    if index > 0 or len(chain) == 1:
        training = chain.training
        state[prefix + tensor] = chain.eval()()
        chain.train(training)
        return
    for key, value in old.items():
        place = re.fullmatch(r"(\d+)\.(.*)", key.removeprefix(stem))
        if place is None:  # 'original'
            state[key] = chain[0](value)
        elif int(place[1]) > 0:  # the mask was number 0: those behind it move up
            state[f"{stem}{int(place[1]) - 1}.{place[2]}"] = value
