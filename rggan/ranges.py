"""The ranges of options that are numbers, for all commands: an option of one name means one thing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rggan.errors import UserError


class Range(NamedTuple):
    """From `low` to `high`, both finite. above, below: these ends are themselves out of it. told: what the sentence
    says of the option, where "must be at least 1" says too little.

    >>> Range(0, 1, below=True).holds(0), Range(0, 1, below=True).holds(1), Range(0, 1).holds(float("nan"))
    (True, False, False)
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    told: str = ""

    def holds(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )

    def sentence(self, name: str, value: float) -> str:
        """What is said of a value out of it.

        >>> print(Range(1, 2000).sentence("batch", 0), Range(1, 2000).sentence("batch", 2001))
        `batch` must be at least 1, not 0. `batch` must be at most 2,000, not 2001.
        >>> print(Range(0, 1, below=True).sentence("ema", 1), Range(0, 9, above=True).sentence("lr", 0))
        `ema` must lie from 0 to below 1, not 1. `lr` must be above 0, not 0.
        """
        if isinstance(value, float) and not math.isfinite(value):
            return f"`{name}` cannot be {value}."
        if self.told:
            return f"`{name}` {self.told}, not {digits(value)}."
        if self.high == 1:
            low, high = ("above " if self.above else "from ") + f"{self.low:g}", "below 1" if self.below else "1"
            return f"`{name}` must lie {low} to {high}, not {digits(value)}."
        if value > self.high:
            return f"`{name}` must be at most {self.high:,}, not {digits(value)}."
        if self.low == 0 and not self.above and value < 0:
            return f"`{name}` must not be negative, but is {digits(value)}."
        return f"`{name}` must be {'above' if self.above else 'at least'} {self.low:g}, not {digits(value)}."


MANY = 10**9  # more than any option that counts something takes
WIDEST = 65_536  # channels of a network, and numbers of a latent: the largest that a generator's file may have
AT_LEAST_1, FROM_0, ABOVE_0 = Range(1, MANY), Range(0, MANY), Range(0, MANY, above=True)
WIDTH, DECAY, FACTOR = Range(1, WIDEST), Range(0, 1, below=True), Range(0, 1000, above=True)
SIGNS = "between -1 and 1"

RANGES: Mapping[str, Range] = {
    # of training
    **dict.fromkeys(("batch", "d_steps", "keep", "period", "patience", "shuffle_buffer"), AT_LEAST_1),
    **dict.fromkeys(("rollbacks", "min_fan", "freeze_d"), FROM_0),
    **dict.fromkeys(("gamma", "lecam", "path_length", "penalty", "threshold_lr", "fade", "dead_band"), FROM_0),
    **dict.fromkeys(("kimg", "snap", "ramp", "rewind", "ada_kimg", "adapt_kimg"), ABOVE_0),
    **dict.fromkeys(("lr", "lr_d", "lr_dense", "finale_lr", "memory_share"), FACTOR),
    **dict.fromkeys(("width_g", "width_d", "z_dim", "mapping_layers"), WIDTH),
    **dict.fromkeys(("ema", "beta1", "beta2", "finale_ema"), DECAY),
    "rollback_lr": Range(0, 1, above=True, told="must be above 0 and at most 1"),
    "fraction": Range(0, 1, above=True, told="must lie above 0 and at most 1"),
    "lr_decay": Range(0, 1, below=True, told="is a share of the run, from 0 to below 1"),
    "finale": Range(0, 1, below=True, told="is the last share of the run, from 0 to below 1"),
    "dropout_d": Range(0, 1, below=True, told="is a share, from 0 to below 1"),
    "dynamic_d": Range(0, 1, above=True, told="is a share of D's rows, above 0 and at most 1"),
    "style_mixing": Range(0, 1, told="is a probability, from 0 to 1"),
    "adapt_band": Range(0, 1, below=True, told="is 0 or more and below 1"),
    "ada_target": Range(-1, 1, above=True, below=True, told=f"is a mean of signs, {SIGNS}"),
    "set_point": Range(-1, 1, above=True, below=True, told=f"lies {SIGNS}"),
    "floor": Range(0, 1, below=True, told="is a share, from 0 to below 1"),
    "regrow": Range(0, 1, told="is a share, from 0 to 1"),
    "score_samples": Range(2, MANY),
    "white_level": Range(0, 1e38, above=True, told="is a value above 0 like 4095, or auto"),
    "seed": Range(0, 2**63 - 1, told="must lie from 0 to 2**63 - 1"),
    "max_images": Range(1, 10**12),
    "max_pixels": Range(1, 10**12),
    # of other commands
    "samples": Range(2, 10**8),
    "subset": Range(2, 10**8),
    "replicates": Range(1, 10**6),
    "walk": Range(1, 10**6, told="has 1 to 1,000,000 pictures between two seeds"),
    "fps": Range(1, 60, told="is 1 to 60 frames a second"),  # GIFs cannot tell much faster ones apart
    "mix_from": Range(1, 1000),
    "trunc": Range(0, 1, told="is a number from 0 to 1"),
    "opset": Range(1, 1000),
    "port": Range(1, 65535, told="is a number from 1 to 65535"),
    "targets": Range(0, 1, above=True, below=True, told="fall from below 1 to above 0"),
    "recover": ABOVE_0,
    "seconds": Range(0, 86_400, told="are 0 to 86,400"),
}


def check_ranges(values: Mapping[str, Any], ranges: Mapping[str, Range] = RANGES) -> None:
    """
    Args:
        values: of options by name; what is no number (NumPy's are) has no range. Of a tuple each is looked at.

    Raises:
        UserError: one is out of its range.

    >>> check_ranges({"batch": 8, "kimg": None, "target_g": "auto", "targets": (0.5, 2.0)})
    Traceback (most recent call last):
    rggan.errors.UserError: `targets` fall from below 1 to above 0, not 2.0.
    """
    for name, found in values.items():
        every: Iterable[Any] = found if isinstance(found, tuple) else (found,)
        for value in every if name in ranges else ():
            number = value.item() if getattr(value, "size", 0) == 1 else value
            if isinstance(number, int | float) and not ranges[name].holds(number):
                raise UserError(ranges[name].sentence(name, number))


def digits(value: int | float) -> str:
    """A number as text; of a very long one how long it is, as Python writes none of more than 4,300 digits.

    >>> digits(10), digits(-0.5), digits(-2 * 10**5000)
    ('10', '-0.5', 'a number of 5,001 digits')
    """
    if isinstance(value, float) or abs(value) < 10**30:
        return str(value)
    size = int(value.bit_length() * 0.30103)  # too small by one at most
    return f"a number of {size + (abs(value) >= 10**size):,} digits"
