"""Transfer: training begins with the weights of another run, and D's first blocks may stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from rggan.errors import UserError
from rggan.pruning.packing import from_bits
from rggan.pruning.select import chains
from rggan.run.folder import Run
from rggan.training.checkpoint import checkpoints, readable


@torch.no_grad()
def masked_as_trained(d: nn.Module, masks: dict[str, Any]) -> None:
    """Multiply masks into D's weights where its state does not hold them: behind a spectral norm (the published rule).

    masks: `Pruner.state_dict()["layers"]`.

    The norm scales the masked weight anew: such a layer keeps its directions, not its size.
    """
    for module_name, module in d.named_modules():
        for tensor, chain in chains(module).items():
            name = f"{module_name}.{tensor}" if module_name else tensor
            if (layer := masks.get(name)) is not None and layer["hidden"] is None:
                chain.original.mul_(from_bits(layer["kept"], chain.original.shape).to(chain.original))


def start_from(run: Path, network: dict[str, Any], g: nn.Module, d: nn.Module) -> None:
    """Load both networks from a run's newest training state: G its average, D as it is, both without masks.

    Raises:
        UserError: the run has no state that can be read, or its networks are others.
    """
    folder = Run(run).checkpoints
    if not checkpoints(folder):
        raise UserError(f"`init` {run}: there is no training state (checkpoints/); give a run folder of rggan train.")
    state = next(readable(folder, lambda text: None), None)
    if state is None:
        raise UserError(f"`init` {run}: none of its training states can be read.")
    for name, module, found in (
        ("generator", g, state["training"]["ema"]["network"]),
        ("discriminator", d, state["training"]["d"]),
    ):
        own = module.state_dict()
        other = [key for key in own if key not in found or own[key].shape != found[key].shape]
        if other or len(own) != len(found):
            size = "x".join(map(str, network["resolution"]))
            raise UserError(
                f"`init` {run}: its {name} is another network than {network['name']} at {size} with these widths, "
                f"channels and classes (first difference: {(other or [key for key in found if key not in own])[0]})."
            )
        module.load_state_dict(found)
    names = {name for name, _ in d.named_modules()}
    for pruner in state["training"]["pruners"]:
        if all(name.rpartition(".")[0] in names for name in pruner["layers"]):  # D's, not G's
            masked_as_trained(d, pruner["layers"])


def freeze_lower(d: nn.Module, count: int) -> None:
    """Stop training D's first `count` blocks, those next to the picture.

    Mo, Cho and Shin 2020: "Freeze the Discriminator".

    Raises:
        UserError: D has no more blocks than that.
    """
    blocks: Any = d.blocks
    if count >= len(blocks) + (count == 0):
        raise UserError(f"`freeze_d` {count}: D has {len(blocks)} blocks here, and one at least must train.")
    for block in blocks[:count]:
        block.requires_grad_(False)
