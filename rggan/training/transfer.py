"""Transfer: training begins with the weights of another run, and D's first blocks may stay as they are."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rggan.errors import UserError
from rggan.pruning.packing import from_bits
from rggan.pruning.select import chains
from rggan.run.folder import Run
from rggan.run.places import CONFIG
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
            layer = masks.get(name)
            whole = layer is not None and 0 <= 8 * len(layer["kept"]) - chain.original.numel() < 8
            if layer is not None and whole and layer["hidden"] is None:
                chain.original.mul_(from_bits(layer["kept"], chain.original.shape).to(chain.original))


def start_from(run: Path, network: dict[str, Any], width_d: int, g: nn.Module, d: nn.Module) -> None:
    """Load both networks from a run's newest training state: G its average, D as it is, both without masks.

    Where they differ in the alpha channel alone, its weights in G's last and D's first layer begin anew.

    Raises:
        UserError: the run has no state that can be read, or its networks are others.
    """
    folder = Run(run).checkpoints
    if not checkpoints(folder):
        around = Run.around(run)
        inside = around is not None and around.path.resolve() != run.resolve()
        what = f"give the run folder, {around}" if inside else "give a run folder of rggan train"
        raise UserError(f"`init` {run}: there is no training state (checkpoints/); {what}.")
    state = next(readable(folder, lambda text: None), None)
    if state is None:
        raise UserError(f"`init` {run}: none of its training states can be read.")
    other = differences(run, network, width_d)
    alike = list(other) == ["channels"] and {3, 4} == set(other["channels"])
    for name, module, found in (
        ("generator", g, state["training"]["ema"]["network"]),
        ("discriminator", d, state["training"]["d"]),
    ):
        own = module.state_dict()
        unlike = [key for key in own if key not in found or own[key].shape != found[key].shape]
        if (unlike and not alike) or own.keys() != found.keys():
            told = [f"{option} ({there} there, {here} here)" for option, (there, here) in other.items()]
            first = (unlike or [key for key in found if key not in own])[0]
            raise UserError(
                f"`init` {run}: its {name} is another network, which differs in {', '.join(told) or first}; the "
                "networks must be the same."
            )
        module.load_state_dict({key: overlaid(own[key], found[key]) for key in own})
    names = {name for name, _ in d.named_modules()}
    for pruner in state["training"]["pruners"]:
        if all(name.rpartition(".")[0] in names for name in pruner["layers"]):  # D's, not G's
            masked_as_trained(d, pruner["layers"])


def overlaid(own: Tensor, found: Tensor) -> Tensor:
    """The found values, as far as they go; where there are none, one's own.

    >>> overlaid(torch.zeros(2, 4), torch.ones(2, 3)).tolist()
    [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    """
    if own.shape == found.shape:
        return found
    both = tuple(slice(min(sides)) for sides in zip(own.shape, found.shape, strict=True))
    own = own.clone()
    own[both] = found[both]
    return own


def differences(run: Path, network: dict[str, Any], width_d: int) -> dict[str, tuple[Any, Any]]:
    """{option: (there, here)} in which the networks of a run differ from these; what it does not tell is left out."""
    there: dict[str, Any] = {}
    for snapshot in (Run(run).best, Run(run).last):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            there = dict(json.loads((snapshot / CONFIG).read_text())["network"])
    there |= {"width_d": (Run(run).options() or {}).get("width_d")}
    found = {}
    for name, here in {**network, "width_d": width_d}.items():
        if there.get(name) not in (None, here):
            values = (there[name], here)
            if name == "resolution":
                values = tuple("x".join(map(str, size)) for size in values)  # type: ignore[assignment]
            found[{"name": "network", "width": "width_g"}.get(name, name)] = values
    return found


def begun_anew(run: Path | None, network: dict[str, Any]) -> list[str]:
    """A line for people where `init` took over all but the alpha channel."""
    if run is None or "channels" not in (other := differences(run, network, 0)):
        return []
    there, here = other["channels"]
    return [f"init       of {there} channels, {here} here: what alpha adds to G's last and D's first layer begins anew"]


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
