"""A generator's folder in less room: what is zero costs a bit, and values may be rounded, with the loss measured."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from rggan.errors import UserError
from rggan.generation import packed
from rggan.generation.generator import Generator
from rggan.generation.packed import Kind
from rggan.generation.storage import write_packed
from rggan.run.places import WEIGHTS

SEEDS = range(64)  # whose pictures tell what rounding loses


class Packed(NamedTuple):
    """What was written.

    Attributes:
        size, dense: bytes of its weights' file, and of that with all weights whole.
        density: the share of weights that are not zero.
        mean, largest: difference of the pictures of seeds 0 to 63 in grey levels (0 to 255); 0 unless rounded.
    """

    size: int
    dense: int
    density: float
    mean: float
    largest: int


def write_sparse(generator: Generator, folder: str | Path, weights: Kind = "fp32") -> Packed:
    """Writes a generator's folder with zeros of its weights as bits; it is read as any other.

    Before it is put in place it is read back: values that are not rounded have to be the same (a negative zero becomes
    zero).

    Args:
        weights: what values of convolutions, linear layers and embeddings are rounded to: "fp32" (not at all), "fp16",
            or "int8", with a factor for each output channel. All others, and what is no parameter, stay whole.

    Raises:
        UserError: the file would not be smaller, or cannot be written.
    """
    with tempfile.TemporaryDirectory() as place:
        dense, small = Path(place, "dense"), Path(place, "small")
        generator.save(dense)
        write_packed(generator.network, generator.config, small, weights)
        size, whole = ((each / WEIGHTS).stat().st_size for each in (small, dense))
        found = Generator.from_pretrained(small, generator.device)
    if size >= whole:
        raise UserError(
            "Too few weights of this generator are 0 for a smaller file: prune G (`target_g`), or round its weights "
            "(`weights` fp16 or int8)."
        )
    check_equal(generator, found, weights)
    mean, largest = (0.0, 0) if weights == "fp32" else loss(generator, found)
    try:
        write_packed(generator.network, generator.config, Path(folder), weights)
    except OSError as error:
        raise UserError(f"Cannot write to the folder {folder}: {error.strerror or error}.") from error
    return Packed(size, whole, density(generator), mean, largest)


def check_equal(generator: Generator, found: Generator, weights: Kind) -> None:
    """Raises UserError where a tensor that is not rounded was read back differently."""
    own, other = generator.network.state_dict(), found.network.state_dict()
    rounded = packed.weights(generator.network) if weights != "fp32" else set()
    if wrong := [name for name in own if name not in rounded and not own[name].equal(other[name])]:
        raise UserError(f"{wrong[0]} was read back differently from what was written: nothing is written.")


def density(generator: Generator) -> float:
    """The share of weights that are not zero."""
    own = generator.network.state_dict()
    chosen = [own[name] for name in packed.weights(generator.network)]
    return sum(int(value.count_nonzero()) for value in chosen) / max(1, sum(value.numel() for value in chosen))


def loss(generator: Generator, other: Generator) -> tuple[float, int]:
    """The mean and the largest difference of the pictures of seeds 0 to 63, in grey levels."""
    apart = (generator.images(SEEDS).int() - other.images(SEEDS).int()).abs()
    return float(apart.float().mean()), int(apart.max())
