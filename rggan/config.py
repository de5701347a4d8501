"""Every option of a training run, declared once: this makes the command line, the JSON and the Python API."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from rggan.data.decode import Resize, parse_size
from rggan.data.images import Channels
from rggan.data.source import FORMS, named_form
from rggan.errors import UserError
from rggan.methods import RULES, SCHEDULES
from rggan.networks import FAMILIES
from rggan.options import HERE, check_options, schedule_of
from rggan.pairs import as_words
from rggan.presets import DEFAULT, PRESETS, pruning, settings
from rggan.registry import PLACE, Registry
from rggan.steps import LOSSES


@dataclass(frozen=True)
class TrainConfig:
    """Train a generator on a folder of pictures. The same command again continues an unfinished run."""

    data: str = "digits"
    """Folder or zip of pictures, .npz or .npy array, CIFAR archive, hf:NAME of a Hugging Face data set; 'digits' are
    scikit-learn's 1,797 handwritten digits; package.module:FORM:PLACE is PLACE in a form of your own."""
    outdir: Path = Path("runs")
    """Runs are numbered folders in here."""
    resolution: int | str | None = None
    """Side in pixels (16 to 256), or HEIGHTxWIDTH like 64x96; without it, a square that the median picture fills."""
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
    memory_share: float = 0.25
    """Images that take more than this share of the memory are memory-mapped from a cache ($RGGAN_CACHE)."""

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

    kimg: float = 1000.0
    """Length: thousands of real images that the discriminator sees."""
    snap: float = 20.0
    """Evaluate, let the schedule decide, and save, every so many kimg."""
    batch: int = 64
    """Batch size."""
    seed: int = 0
    """Fixes subset, initialisation, order and latents."""
    mirror: bool = False
    """Flip images left to right at random."""
    aug: Literal["diff", "ada", "none"] = "diff"
    """DiffAugment (color, translation, cutout), adaptive augmentation, or none."""
    ada_target: float = 0.6
    """Mean sign of D's outputs on real images that adaptive augmentation holds (ada)."""
    ada_kimg: float = 500.0
    """Its probability may go from 0 to 1 within so many kimg (ada)."""
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
    lr: float = 2e-4
    """Adam's learning rate."""
    lr_d: float | None = None
    """That of D, if another."""
    lr_decay: float | None = None
    """From this share of the run on, both learning rates fall evenly to 0 at its end."""
    lr_dense: float = 1.0
    """Factor of G's learning rate while G is in a dense phase."""
    finale: float = 0.0
    """Last share of the run in which G is dense again (its weights come back over --fade, or over the first half of
    it), with a lower learning rate and a longer average; D goes on as before. 0: none."""
    finale_lr: float = 0.1
    """Factor of G's learning rate in the finale."""
    finale_ema: float | None = None
    """Decay of the average in the finale; without it, a quarter as much is forgotten per step as before."""
    finale_dense: bool = True
    """Integrate G in the finale; without it, only its learning rate and its average change."""
    rewind: float | None = None
    """Once the masks have reached their target, kept weights go back to where they were after so many kimg."""
    beta1: float = 0.0
    """Adam's decay of the gradients' average."""
    beta2: float = 0.9
    """Adam's decay of their squares' average."""
    ema: float = 0.999
    """Decay of the generator's average per generator step."""

    rule: str = "threshold"
    """Which weights are pruned: threshold, RG-GAN's with the straight-through gradient; hard, the same with masked
    weights frozen; published, the variant of the paper's own code; baselines: magnitude (gradual), oneshot (Re-GAN's),
    static (a random choice), set, rigl; or none (dense training). Or package.module:RULE, a rule of your own: that is
    code, and it runs."""
    rule_options: tuple[str, ...] = ()
    """Options that a rule of your own brings, as name=value."""
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
    networks: Literal["both", "g", "d"] = "both"
    """Which networks are pruned. Where nothing says it, rggan train prunes D by --target-d auto, and G too if one of
    its options is given; 'both', --rule, --penalty, or --schedule without a target ask for the paper's own way, both by
    a penalty."""
    target_g: float | str | None = None
    """Density that G shall reach, above 0 and at most 1; 'auto': one that follows how far D overfits; a run folder: the
    densities that its G had; without it, --penalty alone decides (other rules: 0.5)."""
    target_d: float | str | None = None
    """The same of D."""
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
    fade: float = 0.0
    """Over so many kimg integrated weights come back; 0: at once."""
    dead_band: float = 0.0
    """The phase stays while the score is this near to the mean of the last five, as a share of it (overfit: while the
    statistic is this near to its target)."""
    period: int = 5
    """Evaluations of a phase (periodic); it begins dense, as Re-GAN does."""
    balance: bool = False
    """Move D's density by the balance of the game (ADAPT-like; set and rigl)."""

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
    device: str = "auto"
    """'cpu', 'cuda', 'cuda:1'; 'auto' takes a GPU if there is one."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic of the networks; 'auto' is bf16 where the processor multiplies it faster."""
    compile: bool = False
    """Compile both networks (torch.compile): slow to start, then faster."""

    callbacks: tuple[str, ...] = ()
    """package.module:CALLBACK of your own, called at the beginning, after each evaluation and at the end: that is code,
    and it runs."""

    resume: Path | None = None
    """Continue this run folder; options given beside it change it (those that a run can change)."""
    config: Path | None = None
    """Take all options from this config.json; others given on the command line override it."""
    dry_run: Annotated[bool, tyro.conf.arg(aliases=["-n"])] = False
    """Print configuration and data summary, and exit."""

    def __post_init__(self) -> None:
        """Raises UserError for a value out of its range."""
        object.__setattr__(self, "data", str(self.data))
        object.__setattr__(self, "outdir", Path(self.outdir))
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            flag = f"--{name.replace('_', '-')}"
            if get_origin(kind) is tuple:
                words = as_words(value) if isinstance(value, Mapping | list | tuple) else (None,)
                if not all(isinstance(word, str) for word in words):
                    what = "package.module:CALLBACK" if name == "callbacks" else "name=value"
                    raise UserError(f"{flag} takes words like {what}, not {value!r}.")
                object.__setattr__(self, name, words if name == "callbacks" else tuple(sorted(words)))
                continue
            choices = next((k for k in (kind, *get_args(kind)) if get_origin(k) is Literal), None)
            if choices is not None:
                if value not in get_args(choices) and not (value is None and type(None) in get_args(kind)):
                    raise UserError(f"{flag} is one of {', '.join(get_args(choices))}, not {value}.")
            else:
                kinds = get_args(kind) or (kind,)
                fits = (
                    type(value) in kinds
                    or (float in kinds and type(value) is int)
                    or (Path in kinds and isinstance(value, Path))
                )
                if not fits or (isinstance(value, float) and not math.isfinite(value)) or not is_name(value):
                    raise UserError(f"{flag} cannot be {value!r}.")
        check_options(self)

    def schedule_of(self, network: Literal["g", "d"]) -> str:
        """The schedule of one network.

        >>> TrainConfig(target_d="auto").schedule_of("d"), TrainConfig(target_d="auto").schedule_of("g")
        ('always', 'score')
        """
        return schedule_of(vars(self), network)

    @classmethod
    def of(cls, name: str, **options: Any) -> TrainConfig:
        """The settings of a preset or a family of networks, and what is pruned by default (`presets.pruning`), with
        these options instead of theirs: what `rggan train` takes. `TrainConfig()` alone is the paper's method.

        Raises:
            UserError: there is no such preset or family.

        >>> config = TrainConfig.of("fastgan", batch=8)
        >>> config.beta1, config.networks, config.target_d
        (0.5, 'd', 'auto')
        """
        if name not in PRESETS and ":" not in name and name not in FAMILIES.names():
            raise UserError(f"Unknown --cfg {name}; there are auto, {', '.join([*PRESETS, *FAMILIES.names()])}.")
        return cls(**{**settings(name), **pruning(options), **options})

    def to_json(self) -> dict[str, Any]:
        """What is saved beside the weights."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}
        del values["config"], values["dry_run"], values["resume"], values["cfg"], values["callbacks"]
        values["init"] = None if self.init is None else str(self.init)
        if self.resolution is not None:
            height, width = parse_size(self.resolution)
            values["resolution"] = height if height == width else f"{height}x{width}"
        return {**values, "data": plain(self.data), "outdir": str(self.outdir)}

    @classmethod
    def from_json(cls, path: Path) -> TrainConfig:
        """Read a run's config.json.

        Raises:
            UserError: no such file, no JSON, or an option that this version does not know.
        """
        try:
            values = json.loads(Path(path).read_text())
            refuse_code(values)
            values.pop("callbacks", None)  # never from a file
            values["outdir"] = Path(values.get("outdir", "runs"))
            if values.get("init") is not None:
                values["init"] = Path(values["init"])
            return cls(**values)
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"Cannot take options from {path}: {reason}.") from error

    def differences(self, saved: dict[str, Any]) -> dict[str, str]:
        """The options in which a saved run differs from this one, each with '--lr (0.0002 there, 0.0001 here)'.

        Options that say where and how a run works do not count; those that the saved run does not know have
        their default there.
        """
        there, here = {**TrainConfig().to_json(), **saved}, self.to_json()
        return {
            name: f"--{name.replace('_', '-')} ({there[name]} there, {here[name]} here)"
            for name in here
            if name not in HERE and there[name] != here[name]
        }

    def same_run(self, saved: dict[str, Any]) -> bool:
        """Whether saved options describe this run (where it works may differ)."""
        return not self.differences(saved) and set(saved) <= set(self.to_json())


def refuse_code(options: dict[str, Any]) -> None:
    """Raises ValueError where saved options name code that is not installed and that the user did not name."""
    registries: dict[str, Registry[Any]] = {"network": FAMILIES, "rule": RULES, "loss": LOSSES}
    registries |= dict.fromkeys(("schedule", "schedule_g", "schedule_d"), SCHEDULES)
    if (named := named_form(str(options.get("data")))) is not None and not FORMS.knows(named[0]):
        told = f"give --data {options['data']} (train), or --trust {named[0]} (others)"
        raise ValueError(f"it names code, which runs only where you name it too: {told}")
    for name, registry in registries.items():
        value = options.get(name)
        if isinstance(value, str) and PLACE.fullmatch(value) and not registry.knows(value):
            flag = f"--{name.replace('_', '-')} {value}"
            told = f"give {flag} (train), or --trust {value} (others)"
            raise ValueError(f"it names code, which runs only where you name it too: {told}")


def is_name(value: object) -> bool:
    """False for text that no file can be called.

    >>> is_name("my pictures"), is_name("a\\0b")
    (True, False)
    """
    try:
        return not isinstance(value, str | Path) or b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def plain(data: str) -> str:
    """'pictures/' is 'pictures'; what may be no path stays as it is: hf:user/set, or what a form of others reads.

    >>> plain("pictures/"), plain("hf:user/set"), plain("my_forms:WEB:https://a.org/b/")
    ('pictures', 'hf:user/set', 'my_forms:WEB:https://a.org/b/')
    """
    no_path = data.startswith("hf:") or "://" in data or named_form(data) is not None
    return data if no_path else str(Path(data))
