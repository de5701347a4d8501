"""Options of a training run: what is pruned, how far, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Pruning:
    """Which weights are pruned, how many, and when."""

    networks: Literal["both", "g", "d"] = "both"
    """Which networks are pruned: both, g, d; without it, d

    Where nothing says it, `rggan train` prunes D by `--target-d auto`, and G too if one of its options is given;
    'both', `--rule`, `--penalty`, or `--schedule` without a target ask for the paper's own way, both by a penalty."""
    target_g: float | str | None = None
    """Density that G shall reach: 0 to 1, or auto

    Above 0; 'auto': one that follows how far D overfits; a run folder: the densities that its G had. Without it,
    `--penalty` alone decides (other rules: 0.5)."""
    target_d: float | str | None = None
    """Density that D shall reach: 0 to 1, or auto

    As `--target-g`."""
    rule: str = "threshold"
    """Which weights are pruned

    package.module:RULE is a rule of your own: that is code, and it runs.

    - threshold: RG-GAN's: trainable thresholds, straight-through
    - hard: the same, with masked weights frozen
    - published: the variant of the paper's own code
    - magnitude: the smallest, gradually
    - oneshot: the smallest, all at once; Re-GAN's
    - static: a random choice, from the beginning on
    - set: the smallest go, random ones grow
    - rigl: the smallest go, those of large gradients grow
    - none: dense training"""
    rule_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="A=B")] = ()
    """Options of a rule of your own, as name=value"""
    schedule: str = "score"
    """When weights are pruned and come back

    A network whose target is 'auto', or that of a run, is left to its density: always. package.module:SCHEDULE is a
    schedule of your own: that is code, and it runs.

    - score: RG-GAN's: while the score gets better
    - always: from beginning to end
    - periodic: phases of `--period` evaluations in turn
    - overfit: while D overfits, by the signs of its outputs
    - never: masks without effect"""
    schedule_g: str | None = None
    """The same of G alone, if another"""
    schedule_d: str | None = None
    """The same of D alone, if another"""
    schedule_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="A=B")] = ()
    """Options of a schedule of your own, as name=value"""
    ramp: float | None = None
    """The density falls to its target in this, kimg

    Kimg of pruning; without it, half of `--kimg`."""
    ramp_shape: Literal["cubic", "linear"] = "cubic"
    """How it falls: cubic (most at first) or linear"""
    distribution: Literal["global", "even", "erk"] | None = None
    """Spread over layers: global, even or erk

    How a target's density is spread: over all layers together, the same in each, or more where weights are few
    (Erdos-Renyi-kernel). Without it, thresholds and oneshot are global, other rules even."""
    min_fan: int | None = None
    """Weights that each neuron and channel keeps

    Each output neuron at least, and each input channel; without it, 1 for thresholds whose target may fall below 0.1,
    else 0."""
    granularity: Literal["weight", "row"] = "weight"
    """Prune single weights, or whole rows

    A row goes with all that a residual sum, a normalisation or a style ties to it and with the columns that read it:
    `rggan export --shrink` removes it. Of each layer at least four stay. Thresholds, hard, magnitude, oneshot and
    static."""
    granularity_g: Literal["weight", "row"] | None = None
    """The same of G alone, if another"""
    granularity_d: Literal["weight", "row"] | None = None
    """The same of D alone, if another"""
    regrow: float = 0.0
    """Share that may come back every 50 steps, 0 to 1

    Share of a network's weights, by the size of their gradients; thresholds and hard."""
    penalty: float | None = None
    """Push on the thresholds where no target is given

    The paper's lambda (1; published: 1e-12)."""
    threshold_lr: float = 2e-4
    """How far a threshold moves per step"""
    floor: float = 0.01
    """Density at which a layer is made dense again

    0: never (thresholds, hard, published)."""
    balance: bool = False
    """Move D's density by the balance of the game

    ADAPT-like; set and rigl."""
    rewind: float | None = None
    """Rewind kept weights to this kimg, at the target

    Once the masks have reached their target, kept weights go back to where they were after so many kimg."""
    fade: float = 0.0
    """Integrated weights come back in this, kimg

    0: at once."""
    dead_band: float = 0.0
    """Share of the score's change that is ignored

    The phase stays while the score is this near to the mean of the last five, as a share of it (overfit: while the
    statistic is this near to its target)."""
    period: int = 5
    """Evaluations of a phase of `--schedule periodic`

    It begins dense, as Re-GAN does."""
    lr_dense: float = 1.0
    """Factor of G's learning rate in dense phases"""
    signal: Literal["r_t", "r_v", "balance"] = "r_t"
    """What a target of auto follows

    - r_t: the mean sign of D's outputs on training images
    - r_v: how far held-out images fall behind them
    - balance: the share of D's lead that a step of G takes away"""
    set_point: float = 0.5
    """Value of the signal that auto holds, -1 to 1

    While D is stronger its density falls, else it rises."""
    adapt_kimg: float = 10.0
    """auto changes by a factor of two in this, kimg

    At the fastest."""
    adapt_band: float = 0.05
    """Distance to the set point where it stays"""
    density_low: float = 0.02
    """Lowest density of auto, 0 to 1"""
    density_high: float = 1.0
    """Highest density of auto, at which it begins"""
    finale: float = 0.0
    """Last share of the run in which G is dense

    From 0 to 1; 0: none. Its weights come back over `--fade`, or over the first half of it, with a lower learning rate
    and a longer EMA; D goes on as before."""
    finale_lr: float = 0.1
    """Factor of G's learning rate in the finale"""
    finale_ema: float | None = None
    """Decay of the EMA in the finale

    Without it, a quarter as much is forgotten per step as before."""
    finale_dense: bool = True
    """Integrate G in the finale

    With `--no-finale-dense` only its learning rate and its EMA change."""
