"""A trained generator without its silent rows: a generator like any other, in a folder like any other."""

from __future__ import annotations

import torch

from rggan.export.shrink import NothingSilent, shrink
from rggan.export.sparse import density
from rggan.generation.build import build
from rggan.generation.generator import Generator
from rggan.pruning.tracing import without_norms

BATCH = 4  # pictures that it is tried on at once


def shrunk(generator: Generator) -> Generator:
    """Returns the generator without its silent rows (see `rggan.export.shrink.shrink`), on the same device.

    Its config has the shapes of the tensors that are smaller, as "shapes" of its network.

    Raises:
        UserError: nothing is silent, or without a row, which is named, the pictures are others.
    """
    z, labels = generator.latents(range(BATCH), None)
    inputs = [z, labels, 0.5] if generator.style_network is not None else [z] if labels is None else [z, labels]
    try:
        small = shrink(generator.network, *inputs)
    except NothingSilent as error:
        zeros = 1 - density(generator)
        what = "it was trained without masks" if zeros < 0.001 else f"{zeros:.0%} of its weights are zero, but no row"
        raise NothingSilent(
            f"There is nothing silent to remove in this generator: {what}; `granularity` row prunes whole rows."
        ) from error
    network = {key: value for key, value in generator.config["network"].items() if key != "shapes"}
    with torch.device("meta"):
        whole = without_norms(build(network)).state_dict()
    shapes = {
        name: list(tensor.shape) for name, tensor in small.state_dict().items() if tensor.shape != whole[name].shape
    }
    config = {**generator.config, "network": {**network, "shapes": shapes}}
    return Generator(small, config, generator.device)
