"""Begin from trained weights, and train only a part of D: the usual practice with few images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rggan.errors import UserError
from rggan.training.checkpoint import checkpoints, readable

MASK = re.compile(r"(.*)parametrizations\.(\w+)\.(\d+)\.mask")


@torch.no_grad()
def unmasked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's state without a pruner's masks: effective weights, under the names of a network without one.

    Where a mask stands behind a spectral norm (the published rule), the norm scales the masked weight anew: such a
    layer keeps its directions, not its size.

    >>> w, mask = torch.ones(2, 2), torch.eye(2)
    >>> names = {"a.parametrizations.weight.original": w, "a.parametrizations.weight.0.mask": mask}
    >>> unmasked(names | {"a.parametrizations.weight.0.threshold": torch.zeros(2)})
    {'a.weight': tensor([[1., 0.],
            [0., 1.]])}
    """
    state = dict(state)
    for name in list(state):
        if (match := MASK.fullmatch(name)) is None:
            continue
        path, tensor, place = match[1], match[2], int(match[3])
        chain = f"{path}parametrizations.{tensor}."
        weight = state.pop(f"{chain}original") * state.pop(name)
        del state[f"{chain}{place}.threshold"]
        others = [other for other in state if other.startswith(chain)]
        for other in others:  # a spectral norm behind the mask moves up into its place
            number, _, rest = other.removeprefix(chain).partition(".")
            if int(number) > place:
                state[f"{chain}{int(number) - 1}.{rest}"] = state.pop(other)
        state[f"{chain}original" if others else f"{path}{tensor}"] = weight
    return state


def start_from(run: Path, network: dict[str, Any], g: nn.Module, d: nn.Module) -> None:
    """Load both networks from a run's newest training state: G its average, D as it is, both without masks.

    Raises:
        UserError: the run has no state that can be read, or its networks are others.
    """
    if not checkpoints(run / "checkpoints"):
        raise UserError(f"--init {run}: there is no training state (checkpoints/); give a run folder of rggan train.")
    state = next(readable(run / "checkpoints", lambda text: None), None)
    if state is None:
        raise UserError(f"--init {run}: none of its training states can be read.")
    for name, module, found in (
        ("generator", g, state["training"]["ema"]["network"]),
        ("discriminator", d, state["training"]["d"]),
    ):
        own, found = module.state_dict(), unmasked(found)
        other = [key for key in own if key not in found or own[key].shape != found[key].shape]
        if other or len(own) != len(found):
            size = "x".join(map(str, network["resolution"]))
            raise UserError(
                f"--init {run}: its {name} is another network than {network['name']} at {size} with these widths, "
                f"channels and classes (first difference: {(other or [key for key in found if key not in own])[0]})."
            )
        module.load_state_dict(found)


def freeze_lower(d: nn.Module, count: int) -> None:
    """Stop training D's first `count` blocks, those next to the picture.

    Mo, Cho and Shin 2020: "Freeze the Discriminator".

    Raises:
        UserError: D has no more blocks than that.
    """
    blocks: Any = d.blocks
    if count >= len(blocks) + (count == 0):
        raise UserError(f"--freeze-d {count}: D has {len(blocks)} blocks here, and one at least must train.")
    for block in blocks[:count]:
        block.requires_grad_(False)
