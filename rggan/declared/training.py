"""Options of a training run: its data, where it goes, its networks, how they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rggan.data.decode import Resize
from rggan.data.images import Channels
from rggan.data.picture import MAX_PIXELS
from rggan.data.streams.read import BUFFER
from rggan.presets import DEFAULT


@dataclass(frozen=True)
class Data:
    """What the networks are trained on."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="data", metavar="PICTURES")] = "digits"
    """Folder, zip, array or data set: see docs/data.md

    Folder or zip of pictures, .npz or .npy array, CIFAR archive, hf:NAME of a Hugging Face data set; WebDataset shards
    (shards/{0000..0099}.tar) and hf-stream:NAME are read while the networks train; 'digits' are
    scikit-learn's 1,797 handwritten digits; package.module:FORM:PLACE is PLACE in a form of your own. On the command
    line it stands by its place; `--data PICTURES` means the same. [data.md](data.md) has all of it."""
    resolution: int | str | None = None
    """Shorter side in pixels, or HEIGHTxWIDTH

    16 to 512, as far as the network goes (like 64, or 64x96). Without it, a square that the median picture fills, to
    256."""
    channels: Channels = "auto"
    """auto, grey, rgb, or rgba (with transparency)

    'auto' is grey if every picture is, else rgb; 'rgba' keeps transparency, in the generated pictures too."""
    resize: Resize = "crop"
    """Pictures of other shapes: crop, fit, stretch

    Crop the middle, fit all of the picture on the background, or stretch it."""
    background: str = "white"
    """Colour under transparency: a name, #ff8800

    It is beside pictures, too, that are fitted."""
    cond: bool = False
    """Class-conditional: a class per top-level folder

    Or the labels of the data set."""
    pattern: str = "*"
    """Take only files whose name fits this pattern

    A shell pattern, like '*.png'."""
    max_images: int | None = None
    """Take at most so many images

    Drawn by the seed, equally from each class."""
    fraction: float = 1.0
    """Take this share of the images, 0 to 1"""
    skip_bad: bool = False
    """Leave unreadable files out instead of stopping

    They are counted."""
    white_level: float | str | None = None
    """Value of white in more than 8 bits; or auto

    4095 for 12 bits, or 'auto', the largest in the set; without it, 65535."""
    max_pixels: int = MAX_PIXELS
    """Larger pictures are unreadable, in pixels

    JPEGs are read at a half to an eighth of their size instead."""
    formats: tuple[str, ...] = ()
    """Read these formats too: TGA, DDS, PSD, ...

    By their names in Pillow. AVIF, BMP, GIF, HEIF, JPEG, JPEG 2000, MPO, PNG, PPM, TIFF and WebP always are."""
    shuffle_buffer: int = BUFFER
    """Images of a stream that are held in memory

    Of shards, which are read while the networks train ([data.md](data.md#shards-and-streams)): the more, the better
    they are shuffled."""
    memory_share: float = 0.25
    """Share of the memory that images may take

    Images that take more are memory-mapped from a cache ($RGGAN_CACHE)."""


@dataclass(frozen=True)
class Run:
    """Where a run goes and where it is computed, what is kept, and other ways to begin."""

    outdir: Path = Path("runs")
    """Runs are numbered folders in here"""
    resume: Path | None = None
    """Continue this run folder

    Options given beside it change it: those that a run can change ([running.md](running.md))."""
    device: str = "auto"
    """auto, cpu, cuda, or cuda:1

    'auto' takes a CUDA GPU if there is one. (Apple's MPS generates, but does not train.)"""
    seed: int = 0
    """Fixes subset, weights, order and latents"""
    dry_run: Annotated[bool, tyro.conf.arg(aliases=["-n"])] = False
    """Only print what would be trained, and how long"""
    config: Path | None = None
    """Take all options from this config.json

    That of another run, say. Others given on the command line override it."""
    track: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Show the run in tensorboard, wandb or trackio

    Several with commas, or the option again; or in package.module:TRACKER of your own. Nothing is sent without it.
    [trackers.md](trackers.md) has more."""
    callbacks: tuple[str, ...] = ()
    """package.module:CALLBACK of your own

    Called at the beginning, after each evaluation and at the end: that is code, and it runs."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic: auto, bf16 or fp32

    'auto' is bf16 where the processor multiplies it faster."""
    compile: bool = False
    """torch.compile both networks: slow to start

    Steps are faster then."""
    capture: Literal["auto", "on", "off"] = "auto"
    """CUDA graphs of the steps: auto, on or off

    A training step is recorded on a CUDA GPU and replayed, which is several times faster; 'auto' does, unless code of
    your own takes part in the step; 'on' records that too."""
    score: Literal["steering", "imagenet", "auto"] = "steering"
    """Score by steering, imagenet, or auto

    The score selects the best snapshot. 'imagenet', of the extra `rggan[pretrained]`, sees more of pictures from 64
    pixels on ([measured](evaluation.md)) and takes longer; 'auto' takes it for these, if it is installed and D does not
    look through a pretrained network. The run's config.json has what was taken."""
    score_samples: int = 2000
    """Images that each evaluation generates

    Always from the same latents."""
    patience: int | None = None
    """Stop after so many bad evaluations in succession

    Those whose score lies 50 % above the best; the best is kept."""
    keep: int = 2
    """Training states that are kept on disk

    The best generator is kept besides."""
    rollbacks: int = 3
    """How often it goes back to a good state

    That is what a run does that produced NaN, or collapsed to one picture."""
    rollback_lr: float = 0.5
    """Factor of the learning rates at each return"""
    on_write_error: Literal["stop", "go-on"] = "stop"
    """Disk full or read-only: stop or go-on

    'go-on' tries again at the next evaluation."""


@dataclass(frozen=True)
class Network:
    """Generator and discriminator."""

    cfg: str | None = None
    """A preset; auto (as without it) chooses

    'auto' chooses from the pictures and the device. Other options override what a preset brings. In Python:
    `TrainConfig.of(NAME, data=...)`.

    - sngan-cifar: SNGAN of the paper's width, 32 pixels
    - stylegan2-32: StyleGAN2 for 32 pixels, with ADA
    - stylegan2-256: StyleGAN2 for 256 pixels, with ADA
    - fastgan-128: FastGAN for 128 pixels
    - biggan-cifar: BigGAN for 32 pixels, by class"""
    network: str = DEFAULT
    """Architecture of G and D; without it, it is chosen

    For the pictures and the device, unless `--cfg` names a preset; it brings its own settings. package.module:FAMILY is
    a family of your own: that is code, and it runs.

    - sngan: small pictures, the fastest; the paper's own
    - stylegan2: the best pictures, on a GPU
    - fastgan: about a hundred large pictures, any machine
    - projected: the same, with ImageNet features in D
    - projected-stylegan2: as projected, StyleGAN2's G
    - biggan: many pictures with classes"""
    network_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="A=B")] = ()
    """Options of a network of your own, as name=value"""
    width_g: int = 64
    """Channels of the generator

    Published: SNGAN 256, StyleGAN2 512, FastGAN and BigGAN 64."""
    width_d: int = 64
    """Channels of the discriminator

    Published: SNGAN 128, the others as G."""
    z_dim: int = 128
    """Dimension of the latents

    And of StyleGAN2's styles."""
    init: Path | None = None
    """Start from the trained weights of this run

    The same networks, other pictures. Or from a generator alone, such as one of `rggan export --shrink`."""
    init_d: Path | None = None
    """D starts from this run, if not from --init

    Where `--init` is a generator alone, D begins anew without it."""
    freeze_d: int = 0
    """D's first blocks that stay as they are; --init

    They are those next to the picture; with `--init` only."""
    mapping_layers: int = 2
    """Layers from latents to styles; StyleGAN2

    Published: 8, and 2 in its settings for few images."""
    style_mixing: float = 0.0
    """Probability of mixed styles, 0 to 1; StyleGAN2

    That a picture takes its later styles from other latents in training (published: 0.9)."""
    path_length: float = 0.0
    """Weight of the path length penalty; StyleGAN2

    Published: 2."""


@dataclass(frozen=True)
class Training:
    """How long, with which loss, and with which steps."""

    kimg: float = 1000.0
    """Length: thousands of real images that D sees"""
    snap: float = 20.0
    """Evaluate and save every so many kimg

    The schedule decides then, too."""
    batch: int = 64
    """Images in a batch"""
    lr: float = 2e-4
    """Adam's learning rate"""
    lr_d: float | None = None
    """That of D, if another"""
    lr_decay: float | None = None
    """Share of the run from which the rates fall to 0

    From there on, both learning rates fall evenly to 0 at its end."""
    beta1: float = 0.0
    """Adam's decay of the gradients' average"""
    beta2: float = 0.9
    """Adam's decay of their squares' average"""
    ema: float = 0.999
    """Decay of G's EMA per step of G"""
    d_steps: int = 2
    """Steps of D for each step of G

    Published SNGAN: 5."""
    loss: str = "hinge"
    """Adversarial loss: hinge or nonsaturating

    Or package.module:LOSS, one of your own: code, and it runs."""
    gamma: float | None = None
    """Weight of the R1 penalty, every 16th step of D

    Without it, 0.0002 x pixels / batch for StyleGAN2 and 0 for the others."""
    lecam: float = 0.0
    """Weight of the LeCam regularisation of D

    Published: 0.1 to 0.3."""
    dropout_d: float = 0.0
    """Share of D's outputs that is dropped, 0 to 1

    Of the outputs of each of its blocks, in training."""
    dynamic_d: float = 1.0
    """Share of D's rows that train at the run's end

    Each step trains D with random rows of its convolutions; their share falls evenly from 1 to this over the run
    (published: 0.5; with `--rule none` it is DynamicD alone)."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to images on their way to the discriminator."""

    aug: Literal["diff", "ada", "none"] = "diff"
    """How D sees images, real and generated

    - diff: DiffAugment: colours, shifts and holes, always
    - ada: adaptive: as often as D overfits
    - none: the images as they are"""
    mirror: bool = False
    """Flip images left to right at random"""
    ada_target: float = 0.6
    """Mean sign of D on real images that ada holds

    From -1 to 1."""
    ada_kimg: float = 500.0
    """Kimg from probability 0 to 1, at the fastest

    Of the adaptive augmentation."""
