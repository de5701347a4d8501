"""Transfer: training begins with the weights of another run, and D's first blocks may stay as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rggan.errors import LONGEST, UserError
from rggan.generation.build import build
from rggan.generation.storage import described, read_generator
from rggan.pruning.form import told
from rggan.pruning.packing import from_bits
from rggan.pruning.select import chains
from rggan.pruning.tracing import without_norms
from rggan.run.folder import Run
from rggan.run.places import WEIGHTS, find_weights
from rggan.training.checkpoint import checkpoints, readable, why
from rggan.training.screen import most_bytes

Shapes = Mapping[str, Sequence[int]]  # of the tensors of a shrunk generator that are smaller


def shapes_at(path: Path) -> Shapes | None:
    """Those of the generator of a run, a snapshot or a file; None where it is not shrunk, or cannot be read."""
    with contextlib.suppress(UserError):
        return (described(path) or {}).get("shapes")
    return None


def shapes_in(states: Path, network: dict[str, Any]) -> Shapes | None:
    """The shapes of a run's G by its newest training state, whatever became of what it began from; None where G is not
    shrunk, or no state can be read.

    states: their folder. network: as `build` takes it, without shapes.
    """
    with torch.device("meta"):
        module = without_norms(build(network))
    most = most_bytes(*[module] * 4)  # D is not known here
    state = next(readable(states, lambda text: None, most), None)
    if state is None:
        return None
    with contextlib.suppress(
        KeyError, TypeError, ValueError, IndexError
    ):  # what no state is does not fit later, and is told then
        whole, found = module.state_dict(), tensors_in("G", state["training"]["ema"]["network"])
        if found.keys() != whole.keys():
            return None  # with its norms, as no shrunk one is
        shapes = {name: list(found[name].shape) for name in whole if found[name].shape != whole[name].shape}
        with torch.device("meta"):
            build({**network, "shapes": shapes})
        return shapes or None
    return None


@torch.no_grad()
def masked_as_trained(d: nn.Module, masks: Mapping[str, Any]) -> None:
    """Multiply masks into D's weights where its state does not hold them: behind a spectral norm (the published rule).

    masks: `Pruner.state_dict()["layers"]`; those of another form are left out.

    The norm scales the masked weight anew: such a layer keeps its directions, not its size.
    """
    for module_name, module in d.named_modules():
        for tensor, chain in chains(module).items():
            name = f"{module_name}.{tensor}" if module_name else tensor
            layer, size = masks.get(name), (-(-chain.original.numel() // 8),)
            kept = layer.get("kept") if isinstance(layer, dict) and layer.get("hidden", "") is None else None
            if isinstance(kept, Tensor) and kept.dtype == torch.uint8 and kept.shape == size:
                chain.original.mul_(from_bits(kept, chain.original.shape).to(chain.original))


def start_from(
    path: Path, path_d: Path | None, network: dict[str, Any], width_d: int, g: nn.Module, d: nn.Module
) -> None:
    """Load both networks from a run's newest training state: G its average, D as it is, both without masks. Of a
    generator that is no run, such as a shrunk one, G alone is loaded, and D keeps its fresh weights.

    path_d: the run that D comes from, if not from `path`.

    Where they differ in the alpha channel alone, its weights in G's last and D's first layer begin anew, but not in a
    shrunk G.

    Raises:
        UserError: there is no state that can be read, or the networks are others.
    """
    most, alone = most_bytes(g, d), is_generator_alone(path)
    state = None if alone else state_of("init", path, most)
    found = read_generator(path)[0].state_dict() if state is None else state.g
    load(f"`init` {path}: its generator", g, found, differences(path, network), shapes_at(path) is None)
    if path_d is not None:
        state = state_of("init_d", path_d, most)
    if state is None:
        return
    named = f"`init` {path}" if path_d is None else f"`init_d` {path_d}"
    of_d = {name: network[name] for name in ("name", "resolution", "channels", "classes")}  # D is made of these
    load(f"{named}: its discriminator", d, state.d, differences(path_d or path, of_d, width_d))
    names = {name for name, _ in d.named_modules()}
    for masks in state.masks:
        if all(name.rpartition(".")[0] in names for name in masks):  # D's, not G's
            masked_as_trained(d, masks)


def is_generator_alone(path: Path) -> bool:
    """Whether there is a generator that is no run, and no snapshot of one."""
    if checkpoints(Run(path).checkpoints) or find_weights(path) is None:
        return False
    around = Run.around(path)
    if around is None:
        return True
    own = [place for snapshot in (around.best, around.last) for place in (snapshot, snapshot / WEIGHTS)]
    return path.resolve() not in {place.resolve() for place in (around.path, *own)}


class Beginning(NamedTuple):
    """What another run begins with: the tensors of G's average and of D, and the masks of each pruned network."""

    g: Mapping[str, Tensor]
    d: Mapping[str, Tensor]
    masks: Sequence[Mapping[str, Any]]


def state_of(option: str, path: Path, most: int) -> Beginning:
    """The newest training state of a run that can be read. most: bytes that it may take.

    Raises:
        UserError: there is none.
    """
    states = Run(path).checkpoints
    if not checkpoints(states):
        around = Run.around(path)
        inside = around is not None and around.path.resolve() != path.resolve()
        what = f"give the run folder, {around}" if inside else "give a run folder of rggan train"
        raise UserError(f"`{option}` {path}: there is no training state (checkpoints/); {what}.")
    state = next(readable(states, lambda text: None, most), None)
    if state is None:
        raise UserError(f"`{option}` {path}: none of its training states can be read; give another run.")
    try:
        found = state["training"]
        masks = [named_in("masks", pruner["layers"]) for pruner in found["pruners"]]
        return Beginning(tensors_in("G", found["ema"]["network"]), tensors_in("D", found["d"]), masks)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"`{option}` {path}: its newest training state is foreign ({why(error)}); give another run."
        ) from error


def named_in(what: str, found: Any) -> Mapping[str, Any]:
    """Raises ValueError for what is no dict of names."""
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"its {what} have no names")
    return found


def tensors_in(network: str, found: Any) -> Mapping[str, Tensor]:
    """Raises ValueError for what is none of the tensors of a network."""
    for name, tensor in named_in(f"tensors of {network}", found).items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} of {network} is no tensor")
    return found


def load(
    whose: str, module: nn.Module, found: Mapping[str, Tensor], other: Mapping[str, tuple[Any, Any]], alpha: bool = True
) -> None:
    """Load found weights, of the same network but for `other`; with `alpha`, the channel of it may be another.

    Raises:
        UserError: they are of another network, or no finite numbers.
    """
    own = module.state_dict()
    unlike = [key for key in own if key not in found or told(own[key]) != told(found[key])]
    alike = alpha and list(other) == ["channels"] and {3, 4} == set(other["channels"])
    alike = alike and all(key in found and in_alpha_alone(own[key], found[key]) for key in unlike)
    if (unlike and not alike) or own.keys() != found.keys():
        options = [f"{option} ({there} there, {here} here)" for option, (there, here) in other.items()]
        first = (unlike or [key for key in found if key not in own])[0]
        raise UserError(
            f"{whose} is another network, which differs in {', '.join(options) or first[:LONGEST]}; the networks must "
            "be the same."
        )
    if lost := [key for key in own if not bool(found[key].isfinite().all())]:
        raise UserError(f"{whose} has lost its numbers ({lost[0]} is not finite); give another run.")
    module.load_state_dict({key: overlaid(own[key], found[key]) for key in own})


def in_alpha_alone(own: Tensor, found: Tensor) -> bool:
    """Whether tensors differ in nothing but how many channels their images have.

    >>> in_alpha_alone(torch.zeros(2, 4), torch.zeros(2, 3)), in_alpha_alone(torch.zeros(2, 4), torch.zeros(9, 3))
    (True, False)
    """
    if own.dtype != found.dtype or own.dim() != found.dim():
        return False
    sides = [{a, b} for a, b in zip(own.shape, found.shape, strict=True) if a != b]
    return all(max(pair) * 3 == min(pair) * 4 for pair in sides)


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


def differences(path: Path, network: dict[str, Any], width_d: int | None = None) -> dict[str, tuple[Any, Any]]:
    """{option: (there, here)} in which the networks of a run, or of a generator, differ from these; what it does not
    tell is left out."""
    there: dict[str, Any] = {}
    for place in (path, Run(path).last):
        with contextlib.suppress(UserError):
            there = there or described(place) or {}
    there |= {"width_d": (Run(path).options() or {}).get("width_d")}
    found = {}
    for name, here in {**network, "width_d": width_d}.items():
        if here is not None and there.get(name) not in (None, here) and name != "shapes":
            values = (there[name], here)
            if name == "resolution":
                values = tuple("x".join(map(str, size)) for size in values)  # type: ignore[assignment]
            found[{"name": "network", "width": "width_g"}.get(name, name)] = values
    return found


def begun_anew(path: Path | None, path_d: Path | None, network: dict[str, Any]) -> list[str]:
    """Lines for people about what `init` could not take over: the alpha channel, or D."""
    if path is None:
        return []
    lines = []
    alone = path_d is None and is_generator_alone(path)
    others = {
        "G's last": differences(path, network),
        "D's first": {} if alone else differences(path_d or path, network),
    }
    anew = [whose for whose, other in others.items() if "channels" in other]
    if anew:
        there, here = others[anew[0]]["channels"]
        lines.append(
            f"init       of {there} channels, {here} here: what alpha adds to {' and '.join(anew)} layer begins anew"
        )
    if path_d is not None or alone:
        lines.append(f"init       G of {path}; D {'begins anew' if alone else f'is that of {path_d}'}")
    return lines


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
