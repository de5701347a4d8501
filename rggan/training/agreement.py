"""Whether all ranks of a run have the same options and images, and hold the same networks, masks and signals."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rggan import ranks
from rggan.config import TrainConfig
from rggan.data import ImageSet
from rggan.errors import Failed, UserError
from rggan.training.sparsity import adaptive_targets
from rggan.training.state import Stateful
from rggan.training.together import agreed


class Disagreement(Failed):
    """Ranks hold different networks."""


def parts_of(training: Stateful) -> Iterator[tuple[str, Any]]:
    """What must be the same on all ranks, by what it is called."""
    decisions = [
        *(schedule.state_dict() for schedule in training.schedules),
        *(target.state_dict() for target in adaptive_targets(training.pruners)),
        *(pruner.phase for pruner in training.pruners),
        None if training.balance is None else training.balance.state_dict(),
        None if training.ada is None else training.ada.state_dict(),
        training.images,
    ]
    yield "the random numbers", torch.get_rng_state()
    yield "the sums of losses", training.loss_sums
    yield "the phases and signals", json.dumps(decisions, sort_keys=True, default=str).encode()
    for name, network in (("G", training.gan.g), ("D", training.gan.d)):
        for pruner in training.pruners:
            for layer in pruner.layers if pruner.model is network else ():
                yield f"the mask of {layer.name} of {name}", layer.mask
                yield f"the thresholds of {layer.name} of {name}", layer.threshold
        for key, tensor in network.state_dict().items():
            if isinstance(tensor, Tensor):
                yield f"{key} of {name}", tensor
    for key, tensor in training.ema.network.state_dict().items():
        if isinstance(tensor, Tensor):
            yield f"{key} of the EMA", tensor


def digest(part: Tensor | bytes) -> str:
    """
    >>> digest(torch.zeros(2)) == digest(torch.zeros(2)), digest(torch.zeros(2)) == digest(torch.ones(2))
    (True, False)
    """
    if isinstance(part, Tensor):
        if part.is_floating_point():  # there are many NaN
            part = part.nan_to_num(nan=7e7)
        part = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.blake2b(part, digest_size=8).hexdigest()


def check_agreement(training: Stateful) -> None:
    """Raises Disagreement, on all ranks, where one holds other things than rank 0; it names the first that differs."""
    if ranks.count() == 1:
        return
    own = [(name, digest(part)) for name, part in parts_of(training)]
    told = ranks.of_all(own)
    for number, other in enumerate(told):
        for first, found in zip_longest(told[0], other, fillvalue=("what is pruned", "")):
            if first != found:
                raise Disagreement(
                    f"Rank {number} does not hold what rank 0 holds at kimg {training.images / 1000:.1f}: {found[0]} "
                    "differs. What was saved before is kept; different machines or versions of PyTorch may do that."
                )


def refuse_ranks(config: TrainConfig) -> None:
    """Raises UserError where several ranks cannot train this, or were started with different options."""
    if (count := ranks.count()) == 1:
        return
    same("options", config.to_json(), "start all with the same command")
    if config.batch % count:
        down = config.batch // count * count
        near = [str(n) for n in (down, down + count) if n]
        raise UserError(f"`batch` {config.batch} is not divided by {count} ranks: take {' or '.join(near)}.")
    if re.fullmatch(r"cuda:\d+", config.device):
        raise UserError(f"`device` {config.device} is one GPU, and each rank takes its own: give cuda.")
    if config.compile:
        raise UserError("`compile` is for a run of one process: leave it out, or start it without torchrun.")
    if config.capture == "on":
        raise UserError("`capture` on is for a run of one process: leave it out, or start it without torchrun.")


def refuse_other_images(data: ImageSet) -> None:
    """Raises UserError where a rank has read other images than rank 0."""
    told = {"images": len(data), "size": list(data.shape), "content": data.identity[:16]}
    same("images", told, "give all machines the same files under `data`")


def same(what: str, told: Mapping[str, Any], advice: str) -> None:
    """Raises UserError where a rank tells something else than rank 0; it names what differs.

    >>> same("options", {"lr": 0.1}, "start all with the same command")
    """
    found = ranks.of_all(dict(told))
    for number, other in enumerate(found):
        names = [name for name in {**found[0], **other} if found[0].get(name) != other.get(name)]
        if names:
            both = ", ".join(f"{name} {other.get(name)} (rank 0: {found[0].get(name)})" for name in names[:5])
            raise UserError(f"Rank {number} has other {what} than rank 0: {both}; {advice}.")


def seen_by_all(folder: Path) -> None:
    """Raises UserError where another rank does not see this folder, which rank 0 can write."""
    if ranks.count() == 1:
        return
    place = folder
    while not os.path.exists(place) and place != place.parent:  # it may not have been made yet
        place = place.parent
    mark = ranks.of_first(place / f".ranks-{secrets.token_hex(8)}")
    with agreed():
        try:
            if ranks.first():
                mark.touch()
        except OSError as error:
            raise UserError(f"Cannot write to the folder {folder}: {error.strerror}.") from error
    blind = [number for number, sees in enumerate(ranks.of_all(os.path.exists(mark))) if not sees]
    if ranks.first():
        mark.unlink(missing_ok=True)
    if blind:
        hosts = ranks.of_all(socket.gethostname())
        raise UserError(
            f"Rank {blind[0]} on {hosts[blind[0]]} does not see the folder {folder} of rank 0: give an `outdir` on a "
            "disk that all machines share, under the same path."
        )
