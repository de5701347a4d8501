"""Every option of a training run, declared once: this makes the command line, the JSON and the Python API.

In groups, for whoever reads the help; `rggan.config.TrainConfig` has all of them side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rggan.data.decode import Resize
from rggan.data.images import Channels
from rggan.data.picture import MAX_PIXELS
from rggan.presets import DEFAULT


@dataclass(frozen=True)
class Data:
    """What the networks are trained on, and where the run goes."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="data", metavar="PICTURES")] = "digits"
    """Folder or zip of pictures, .npz or .npy array, CIFAR archive, hf:NAME of a Hugging Face data set; 'digits' are
    scikit-learn's 1,797 handwritten digits; package.module:FORM:PLACE is PLACE in a form of your own."""
    outdir: Path = Path("runs")
    """Runs are numbered folders in here."""
    resolution: int | str | None = None
    """Side in pixels (16 to 512), or HEIGHTxWIDTH like 64x96; else a square that the median picture fills, to 256."""
    channels: Channels = "auto"
    """'auto' is grey if every picture is, else rgb; 'rgba' keeps transparency, in the generated pictures too."""
    resize: Resize = "crop"
    """Pictures of another shape: crop the middle, fit all of the picture on the background, or stretch it."""
    background: str = "white"
    """Colour under transparency and beside fitted pictures: a name, or #ff8800."""
    max_images: int | None = None
    """Take at most so many images, drawn by the seed, equally from each class."""
    fraction: float = 1.0
    """Take this fraction of the images."""
    pattern: str = "*"
    """Take only files whose name fits this shell pattern."""
    skip_bad: bool = False
    """Leave unreadable files out (they are counted) instead of stopping."""
    cond: bool = False
    """Class-conditional: one class per top-level folder, or the labels of the data set."""
    white_level: float | str | None = None
    """Value that becomes white in pictures of more than 8 bits: 4095 for 12 bits, or 'auto', the largest in the set;
    without it, 65535."""
    max_pixels: int = MAX_PIXELS
    """Pictures that have more pixels are unreadable (JPEGs are read at a half to an eighth of their size instead)."""
    memory_share: float = 0.25
    """Images that take more than this share of the memory are memory-mapped from a cache ($RGGAN_CACHE)."""


@dataclass(frozen=True)
class Network:
    """Generator and discriminator."""

    cfg: str | None = None
    """Settings by name (sngan-cifar, stylegan2-32, stylegan2-256, fastgan-128, biggan-cifar), or 'auto': chosen from
    the pictures and the device. Other options override them. (In Python: TrainConfig.of.)"""
    network: str = DEFAULT
    """Architecture of both networks: sngan, stylegan2, fastgan or biggan; each brings its own settings below. Or
    package.module:FAMILY, a family of your own: that is code, and it runs."""
    network_options: tuple[str, ...] = ()
    """Options that a network of your own brings, as name=value."""
    width_g: int = 64
    """Channels of the generator (published: SNGAN 256, StyleGAN2 512, FastGAN and BigGAN 64)."""
    width_d: int = 64
    """Channels of the discriminator (published: SNGAN 128, the others as G)."""
    z_dim: int = 128
    """Dimension of the latents (and of StyleGAN2's styles)."""
    mapping_layers: int = 2
    """Layers between latents and styles (StyleGAN2; published: 8, and 2 in its settings for few images)."""
    style_mixing: float = 0.0
    """Probability that a picture takes its later styles from other latents in training (StyleGAN2; published: 0.9)."""
    path_length: float = 0.0
    """Weight of the path length penalty (StyleGAN2; published: 2)."""
    init: Path | None = None
    """Start from the trained weights of this run: the same networks, other pictures."""
    freeze_d: int = 0
    """Do not train D's first blocks, so many of them, next to the picture; with --init."""


@dataclass(frozen=True)
class Length:
    """How long, and in which portions."""

    kimg: float = 1000.0
    """Length: thousands of real images that the discriminator sees."""
    snap: float = 20.0
    """Evaluate, let the schedule decide, and save, every so many kimg."""
    batch: int = 64
    """Batch size."""
    seed: int = 0
    """Fixes subset, initialisation, order and latents."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to images on their way to the discriminator."""

    mirror: bool = False
    """Flip images left to right at random."""
    aug: Literal["diff", "ada", "none"] = "diff"
    """DiffAugment (color, translation, cutout), adaptive augmentation, or none."""
    ada_target: float = 0.6
    """Mean sign of D's outputs on real images that adaptive augmentation holds (ada)."""
    ada_kimg: float = 500.0
    """Its probability may go from 0 to 1 within so many kimg (ada)."""


@dataclass(frozen=True)
class Loss:
    """Adversarial loss, penalties, and other reins of the discriminator."""

    d_steps: int = 2
    """Discriminator steps per generator step (published SNGAN: 5)."""
    loss: str = "hinge"
    """The adversarial loss: hinge or nonsaturating. Or package.module:LOSS, one of your own: code, and it runs."""
    gamma: float | None = None
    """Weight of the R1 gradient penalty, taken every 16th step; without it, 0.0002 x pixels / batch for StyleGAN2 and
    0 for the others."""
    lecam: float = 0.0
    """Weight of the LeCam regularisation (published: 0.1 to 0.3)."""
    dropout_d: float = 0.0
    """Share of the outputs of each of D's blocks that is dropped in training."""
    dynamic_d: float = 1.0
    """Each step trains D with random rows of its convolutions; their share falls evenly from 1 to this over the run
    (published: 0.5; with --rule none it is DynamicD alone)."""


@dataclass(frozen=True)
class Optimisation:
    """Adam, and the EMA of the generator's weights."""

    lr: float = 2e-4
    """Adam's learning rate."""
    lr_d: float | None = None
    """That of D, if another."""
    lr_decay: float | None = None
    """From this share of the run on, both learning rates fall evenly to 0 at its end."""
    lr_dense: float = 1.0
    """Factor of G's learning rate while G is in a dense phase."""
    beta1: float = 0.0
    """Adam's decay of the gradients' average."""
    beta2: float = 0.9
    """Adam's decay of their squares' average."""
    ema: float = 0.999
    """Decay of the generator's EMA per generator step."""


@dataclass(frozen=True)
class Finale:
    """The end of the run, and a return to its beginning."""

    finale: float = 0.0
    """Last share of the run in which G is dense again (its weights come back over --fade, or over the first half of
    it), with a lower learning rate and a longer EMA; D goes on as before. 0: none."""
    finale_lr: float = 0.1
    """Factor of G's learning rate in the finale."""
    finale_ema: float | None = None
    """Decay of the EMA in the finale; without it, a quarter as much is forgotten per step as before."""
    finale_dense: bool = True
    """Integrate G in the finale; without it, only its learning rate and its EMA change."""
    rewind: float | None = None
    """Once the masks have reached their target, kept weights go back to where they were after so many kimg."""


@dataclass(frozen=True)
class Pruning:
    """Which weights are pruned, and how many."""

    rule: str = "threshold"
    """Which weights are pruned: threshold, RG-GAN's with the straight-through gradient; hard, the same with masked
    weights frozen; published, the variant of the paper's own code; baselines: magnitude (gradual), oneshot (Re-GAN's),
    static (a random choice), set, rigl; or none (dense training). Or package.module:RULE, a rule of your own: that is
    code, and it runs."""
    rule_options: tuple[str, ...] = ()
    """Options that a rule of your own brings, as name=value."""
    networks: Literal["both", "g", "d"] = "both"
    """Which networks are pruned. Where nothing says it, rggan train prunes D by --target-d auto, and G too if one of
    its options is given; 'both', --rule, --penalty, or --schedule without a target ask for the paper's own way, both by
    a penalty."""
    target_g: float | str | None = None
    """Density that G shall reach, above 0 and at most 1; 'auto': one that follows how far D overfits; a run folder: the
    densities that its G had; without it, --penalty alone decides (other rules: 0.5)."""
    target_d: float | str | None = None
    """The same of D."""
    distribution: Literal["global", "even", "erk"] | None = None
    """How a target's density is spread: over all layers together, the same in each, or more where weights are few
    (Erdos-Renyi-kernel); without it, thresholds and oneshot are global, other rules even."""
    min_fan: int | None = None
    """So many weights each output neuron keeps at least, and each input channel; without it, 1 for thresholds whose
    target may fall below 0.1, else 0."""
    ramp: float | None = None
    """Over so many kimg of pruning the density falls to the target; without it, half of --kimg."""
    ramp_shape: Literal["cubic", "linear"] = "cubic"
    """How it falls: most at first, or evenly."""
    granularity: Literal["weight", "row"] = "weight"
    """Prune single weights, or whole rows (output neurons); thresholds and hard."""
    regrow: float = 0.0
    """Share of a network's weights that may come back every 50 steps by the size of their gradients; thresholds and
    hard."""
    penalty: float | None = None
    """Lambda, the push on the thresholds where no target is given (1; published: 1e-12)."""
    threshold_lr: float = 2e-4
    """How far a threshold moves per step."""
    floor: float = 0.01
    """A layer whose density falls to this is dense again; 0: never (thresholds, hard, published)."""
    balance: bool = False
    """Move D's density by the balance of the game (ADAPT-like; set and rigl)."""


@dataclass(frozen=True)
class AutoTarget:
    """What a target of 'auto' follows."""

    signal: Literal["r_t", "r_v", "balance"] = "r_t"
    """What an 'auto' target follows: the mean sign of D's outputs on training images, how far held-out images fall
    behind them, or the share of D's lead that a step of G takes away."""
    set_point: float = 0.5
    """Value of the signal that an 'auto' target holds: while D is stronger its density falls, else it rises."""
    adapt_kimg: float = 10.0
    """An 'auto' density changes by a factor of two within so many kimg."""
    adapt_band: float = 0.05
    """It stays while the signal is this near to the set point."""
    density_low: float = 0.02
    """Lowest density of an 'auto' target."""
    density_high: float = 1.0
    """Highest density of an 'auto' target, at which it begins."""


@dataclass(frozen=True)
class Schedule:
    """When weights are pruned, and when they come back."""

    schedule: str = "score"
    """When: score, RG-GAN's rule on the last five scores; always, from beginning to end; periodic, phases of --period
    evaluations in turn; overfit, while D overfits (by the signs of its outputs); or never (masks without effect). A
    network whose target is 'auto', or that of a run, is left to its density: always. Or package.module:SCHEDULE, a
    schedule of your own: that is code, and it runs."""
    schedule_g: str | None = None
    """The same of G alone, if another."""
    schedule_d: str | None = None
    """The same of D alone, if another."""
    schedule_options: tuple[str, ...] = ()
    """Options that a schedule of your own brings, as name=value."""
    fade: float = 0.0
    """Over so many kimg integrated weights come back; 0: at once."""
    dead_band: float = 0.0
    """The phase stays while the score is this near to the mean of the last five, as a share of it (overfit: while the
    statistic is this near to its target)."""
    period: int = 5
    """Evaluations of a phase (periodic); it begins dense, as Re-GAN does."""


@dataclass(frozen=True)
class Keeping:
    """Scores, what is kept, and what is done when something goes wrong."""

    score_samples: int = 2000
    """Images that each evaluation generates, always from the same latents."""
    patience: int | None = None
    """Stop after so many evaluations in succession whose score lies 50 % above the best; the best is kept."""
    rollbacks: int = 3
    """How often a run that produced NaN, or collapsed to one picture, goes back to its last good state."""
    rollback_lr: float = 0.5
    """Learning rates are multiplied by this at every such return."""
    keep: int = 2
    """Training states that are kept on disk; the best generator is kept besides."""
    on_write_error: Literal["stop", "go-on"] = "stop"
    """Where the disk is full or read-only: stop, or go on and try again at the next evaluation."""
    track: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Show the run in tensorboard, wandb or trackio (several: with commas, or the option again), or in
    package.module:TRACKER of your own. Nothing is sent without it."""
    callbacks: tuple[str, ...] = ()
    """package.module:CALLBACK of your own, called at the beginning, after each evaluation and at the end: that is code,
    and it runs."""


@dataclass(frozen=True)
class Device:
    """Where it is computed, and how."""

    device: str = "auto"
    """'cpu', 'cuda', 'cuda:1'; 'auto' takes a CUDA GPU if there is one. (Apple's MPS generates, but does not train.)"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic of the networks; 'auto' is bf16 where the processor multiplies it faster."""
    compile: bool = False
    """Compile both networks (torch.compile): slow to start, then faster."""
    capture: Literal["auto", "on", "off"] = "auto"
    """Record a training step on a CUDA GPU and replay it (CUDA graphs), which is several times faster; 'auto' does,
    unless code of your own takes part in the step; 'on' records that too."""


@dataclass(frozen=True)
class Start:
    """Other ways to begin."""

    resume: Path | None = None
    """Continue this run folder; options given beside it change it (those that a run can change)."""
    config: Path | None = None
    """Take all options from this config.json; others given on the command line override it."""
    dry_run: Annotated[bool, tyro.conf.arg(aliases=["-n"])] = False
    """Print configuration and data summary, and exit."""


GROUPS: dict[str, type] = {
    "data": Data,
    "network": Network,
    "length": Length,
    "augmentation": Augmentation,
    "loss": Loss,
    "optimisation": Optimisation,
    "finale": Finale,
    "pruning": Pruning,
    "auto_target": AutoTarget,
    "schedule": Schedule,
    "keeping": Keeping,
    "device": Device,
    "start": Start,
}


@dataclass(frozen=True)
class Options(  # fields of the last base come first
    Start,
    Device,
    Keeping,
    Schedule,
    AutoTarget,
    Pruning,
    Finale,
    Optimisation,
    Loss,
    Augmentation,
    Length,
    Network,
    Data,
):
    """Train a generator on a folder of pictures. The same command again continues an unfinished run."""
