"""Every option of a training run, declared once: this makes the command line, the JSON and the Python API."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from rggan.data.decode import Resize, parse_color, parse_size
from rggan.data.images import Channels
from rggan.errors import UserError
from rggan.networks import GENERATORS, check_resolution
from rggan.presets import PRESETS, settings

# Options that say where and how a run works, not what it computes: they may differ when it is resumed.
HERE = ("outdir", "device", "compile", "memory_share", "keep", "on_write_error", "dry_run", "config", "resume", "cfg")
# Options that may change in the middle of a run (with --resume): no saved state has their shape.
CHANGEABLE = (
    *("data", "kimg", "lr", "lr_d", "ema", "aug", "mirror", "d_steps", "penalty", "threshold_lr", "precision"),
    *("gamma", "lecam", "path_length", "style_mixing", "beta1", "beta2", "ada_target", "ada_kimg"),
    *("patience", "rollbacks", "rollback_lr"),
)
WEIGHTS = ("gamma", "lecam", "path_length", "style_mixing", "freeze_d")  # that may be 0, but not below
# Which options of pruning go with which rules, and with which schedules. Others would be ignored: they are refused.
THRESHOLDS, RANKINGS = ("threshold", "hard"), ("magnitude", "oneshot", "static", "set", "rigl")
RULES_WITH = {
    ("target_g", "target_d"): (*THRESHOLDS, *RANKINGS),
    ("granularity", "regrow"): THRESHOLDS,
    ("penalty", "threshold_lr", "floor"): (*THRESHOLDS, "published"),
    ("ramp", "ramp_shape"): (*THRESHOLDS, "magnitude"),
    ("balance",): ("set", "rigl"),
    ("schedule", "networks", "fade", "dead_band", "period"): (*THRESHOLDS, "published", *RANKINGS),
}
SCHEDULES_WITH = {
    "fade": ("score", "periodic", "overfit"),
    "dead_band": ("score", "overfit"),
    "period": ("periodic",),
}


@dataclass(frozen=True)
class TrainConfig:
    """Train a generator on a folder of pictures. The same command again continues an unfinished run."""

    data: str = "digits"
    """Folder or zip of pictures, .npz or .npy array, CIFAR archive, hf:NAME of a Hugging Face data set; 'digits' are
    scikit-learn's 1,797 handwritten digits."""
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
    network: str = "sngan"
    """Architecture of both networks: sngan, stylegan2, fastgan or biggan; each brings its own settings below."""
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
    loss: Literal["hinge", "nonsaturating"] = "hinge"
    """The adversarial loss."""
    gamma: float | None = None
    """Weight of the R1 gradient penalty, taken every 16th step; without it, 0.0002 x pixels / batch for StyleGAN2 and
    0 for the others."""
    lecam: float = 0.0
    """Weight of the LeCam regularisation (published: 0.1 to 0.3)."""
    lr: float = 2e-4
    """Adam's learning rate."""
    lr_d: float | None = None
    """That of D, if another."""
    beta1: float = 0.0
    """Adam's decay of the gradients' average."""
    beta2: float = 0.9
    """Adam's decay of their squares' average."""
    ema: float = 0.999
    """Decay of the generator's average per generator step."""

    rule: Literal["threshold", "hard", "published", "magnitude", "oneshot", "static", "set", "rigl", "none"] = (
        "threshold"
    )
    """Which weights are pruned: RG-GAN's thresholds with the straight-through gradient, the same with masked
    weights frozen, the variant of the paper's own code; rivals: gradual magnitude pruning, Re-GAN's one-shot pruning, a
    static random choice, SET, RigL; or none (dense training)."""
    schedule: Literal["score", "always", "periodic", "overfit", "never"] = "score"
    """When: RG-GAN's rule on the last five scores; pruning from beginning to end; phases of --period evaluations in
    turn; while D overfits (by the signs of its outputs); or never (masks without effect)."""
    networks: Literal["both", "g", "d"] = "both"
    """Which networks are pruned."""
    target_g: float | None = None
    """Density that G shall reach, above 0 and at most 1; without it, --penalty alone decides (rivals: 0.5)."""
    target_d: float | None = None
    """The same of D."""
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
            if get_origin(kind) is Literal:
                if value not in get_args(kind):
                    raise UserError(f"{flag} is one of {', '.join(get_args(kind))}, not {value}.")
            else:
                kinds = get_args(kind) or (kind,)
                fits = (
                    type(value) in kinds
                    or (float in kinds and type(value) is int)
                    or (Path in kinds and isinstance(value, Path))
                )
                if not fits or (isinstance(value, float) and not math.isfinite(value)) or not is_name(value):
                    raise UserError(f"{flag} cannot be {value!r}.")
        if self.resolution is not None:
            parse_size(self.resolution)
        parse_color(self.background)
        positive = ("width_g", "width_d", "z_dim", "batch", "d_steps", "keep", "period", "mapping_layers")
        for name in positive:
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}.")
        for name in ("kimg", "snap", "lr", "lr_d", "memory_share", "rollback_lr", "ramp", "ada_kimg"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')} must be above 0, not {getattr(self, name)}.")
        if self.patience is not None and self.patience < 1:
            raise UserError(f"--patience must be at least 1, not {self.patience}.")
        for name in ("penalty", "threshold_lr", "rollbacks", "fade", "dead_band", *WEIGHTS):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"--{name.replace('_', '-')} must not be negative, but is {getattr(self, name)}.")
        for name in ("ema", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} must lie from 0 to below 1, not {getattr(self, name)}.")
        if not -1 < self.ada_target < 1:
            raise UserError(f"--ada-target is a mean of signs, between -1 and 1, not {self.ada_target}.")
        if not self.style_mixing <= 1:
            raise UserError(f"--style-mixing is a probability, from 0 to 1, not {self.style_mixing}.")
        for name in ("target_g", "target_d"):
            target = getattr(self, name)
            if target is not None and not 0 < target <= 1:
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag} is a density: above 0 and at most 1, not {target}.")
        if not 0 <= self.floor < 1 or not 0 <= self.regrow <= 1:
            raise UserError(f"--floor and --regrow are shares from 0 to 1, not {self.floor} and {self.regrow}.")
        self.check_rule()
        if self.score_samples < 2:
            raise UserError(f"--score-samples must be at least 2, not {self.score_samples}.")
        if self.network not in GENERATORS:
            raise UserError(f"Unknown --network {self.network}; there are {', '.join(GENERATORS)}.")
        self.check_network()
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed must lie from 0 to 2**63 - 1, not {self.seed}.")

    def check_network(self) -> None:
        """Raises UserError for options that the network or the augmentation has no use for, or that contradict."""
        default = {field.name: field.default for field in dataclasses.fields(self)}
        for name in ("mapping_layers", "style_mixing", "path_length"):
            if self.network != "stylegan2" and getattr(self, name) != default[name]:
                raise UserError(
                    f"--{name.replace('_', '-')} means nothing with --network {self.network}: it is StyleGAN2's."
                )
        for name in ("ada_target", "ada_kimg"):
            if self.aug != "ada" and getattr(self, name) != default[name]:
                raise UserError(f"--{name.replace('_', '-')} means nothing with --aug {self.aug}: it goes with ada.")
        if self.network == "biggan" and self.z_dim < 7:
            raise UserError(f"--z-dim {self.z_dim}: BigGAN gives each of its blocks a part of it; take 7 at least.")
        penalised = bool(self.gamma) or self.path_length > 0 or (self.gamma is None and self.network == "stylegan2")
        if self.compile and penalised:
            raise UserError(
                "--compile and a gradient penalty exclude each other (torch.compile has no second derivative): "
                "leave --compile out, or give --gamma 0 and no --path-length."
            )
        if self.rule == "published" and self.network in ("fastgan", "biggan"):
            raise UserError(
                f"--rule published masks behind the spectral norm, and {self.network}'s G has one: its average cannot "
                "follow. Take --rule hard, or --network sngan or stylegan2."
            )
        if self.freeze_d and self.init is None:
            raise UserError("--freeze-d keeps D's lower blocks as they were trained: it goes with --init.")
        if self.resolution is not None:
            check_resolution(parse_size(self.resolution), self.network)

    def check_rule(self) -> None:
        """Raises UserError for options of pruning that the rule or the schedule has no use for."""
        default = {field.name: field.default for field in dataclasses.fields(self)}
        for names, rules in RULES_WITH.items():
            given = [name for name in names if getattr(self, name) != default[name]]
            if given and self.rule not in rules:
                flag = f"--{given[0].replace('_', '-')}"
                raise UserError(f"{flag} means nothing with --rule {self.rule}; it goes with {', '.join(rules)}.")
        for name, schedules in SCHEDULES_WITH.items():
            if getattr(self, name) != default[name] and self.schedule not in schedules:
                flag = f"--{name.replace('_', '-')}"
                raise UserError(
                    f"{flag} means nothing with --schedule {self.schedule}; it goes with {', '.join(schedules)}."
                )
        targets = {name: getattr(self, f"target_{name}") for name in ("g", "d") if self.networks in ("both", name)}
        for name in ("g", "d"):
            if getattr(self, f"target_{name}") is not None and name not in targets:
                raise UserError(f"--target-{name} means nothing with --networks {self.networks}.")
        if self.rule in THRESHOLDS:
            for name in ("ramp", "ramp_shape"):
                if getattr(self, name) != default[name] and not any(targets.values()):
                    raise UserError(
                        f"--{name.replace('_', '-')} leads to a target: it goes with --target-g, --target-d."
                    )
            if self.penalty is not None and all(targets.values()):
                raise UserError("--penalty decides how many weights go where no target does: leave one of them out.")
            for name, target in targets.items():
                if target is not None and self.regrow >= target:
                    raise UserError(f"--regrow {self.regrow} must be below --target-{name} {target}.")
        if self.balance and self.networks != "both":
            raise UserError("--balance moves D's density by what G does: it goes with --networks both.")

    @classmethod
    def of(cls, name: str, **options: Any) -> TrainConfig:
        """The settings of a preset or a family of networks, with these options instead of theirs.

        Raises:
            UserError: there is no such preset or family.

        >>> TrainConfig.of("fastgan", batch=8).beta1
        0.5
        """
        if name not in PRESETS and name not in GENERATORS:
            raise UserError(f"Unknown --cfg {name}; there are auto, {', '.join([*PRESETS, *GENERATORS])}.")
        return cls(**{**settings(name), **options})

    def to_json(self) -> dict[str, Any]:
        """What is saved beside the weights."""
        values = dataclasses.asdict(self)
        del values["config"], values["dry_run"], values["resume"], values["cfg"]
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
    """'pictures/' is 'pictures'; a name like hf:user/set stays as it is.

    >>> plain("pictures/"), plain("hf:user/set")
    ('pictures', 'hf:user/set')
    """
    return data if data.startswith("hf:") else str(Path(data))
