"""A trained generator: save it, load it, make pictures. The same seed gives the same picture."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rggan.data.pictures import to_pil, to_uint8
from rggan.errors import UserError, make_folder
from rggan.files import write_whole
from rggan.networks import FAMILIES, Styled
from rggan.registry import PLACE, called
from rggan.run.places import CONFIG, WEIGHTS, find_weights
from rggan.sampler import Sampler, mixed

FORMAT = 2  # 1: "resolution" was one number, and config.json the only place of the config
KEY = "rggan"  # of the config in the metadata of the weights
LARGEST_CONFIG = 1 << 24  # bytes
MOST_IMAGES = 1 << 60  # of all classes together: their sum is an int64
RANGES = {"channels": (1, 4), "width": (1, 65536), "z_dim": (1, 65536), "classes": (0, 1_000_000)}
TYPES = {torch.float32: "F32", torch.int64: "I64"}  # as the header names them
# Pictures are always computed this many at a time: convolution libraries choose their algorithm by the
# batch size, so that a picture made alone could differ in its last bit from the same one among others.
BATCH = 16


class Generator:
    """A generator with its description.

    Args:
        network: z [N, z_dim] (, labels [N]) -> images in -1..1, [N, C, H, W]; it is set to evaluation mode.
        config: {"network": {"name", "resolution": [H, W], "channels", "width", "z_dim", "classes"; of StyleGAN2
            "mapping_layers" too}, "classes": [names], "class_counts": [training images of each class] where that is
            known, "trained": {...}}.

    Raises:
        UserError: an unknown or missing device.

    >>> from rggan.networks.sngan import SNGANGenerator
    >>> network = {"name": "sngan", "resolution": [16, 24], "channels": 1, "width": 8, "z_dim": 128, "classes": 0}
    >>> generator = Generator(SNGANGenerator((16, 24), 1, 8), {"network": network, "classes": []})
    >>> [picture.size for picture in generator(2, seed=7)]
    [(24, 16), (24, 16)]
    """

    def __init__(self, network: nn.Module, config: dict[str, Any], device: str = "cpu") -> None:
        # One layout, so that a snapshot in training and the same one loaded make the same pictures to the last bit.
        network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.network = network.to(check_device(device)).eval()
        self.config = config
        self.device = device
        self.classes: list[str] = config["classes"]

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu") -> Generator:
        """Load a run folder (its best snapshot), a snapshot folder, or a generator.safetensors.

        Raises:
            UserError: nothing there, or a file that is damaged, foreign or newer than this version.
        """
        path = Path(path)
        weights = find_weights(path)
        if weights is None:
            raise UserError(f"There is no {WEIGHTS} in {path}; give a run or snapshot folder.")
        with damage_told(weights), safe_open(weights, "pt") as file:
            config = read_config(file, weights.with_name(CONFIG))
            newer = config["format"] > FORMAT
            if not newer:
                config = migrate(config)
                check_config(config)
                network = read_network(file, config["network"])
        if newer:
            raise UserError(f"{weights} was written by a newer rggan (format {config['format']}): upgrade to read it.")
        return cls(network, config, device)

    def save(self, folder: str | Path) -> None:
        """Write generator.safetensors, whole or not at all, and then config.json.

        The weights carry the config in their metadata and that is what is read, so that no kill leaves two files
        that do not fit. config.json is a copy for people.

        Raises:
            UserError: the folder cannot be made. OSError: the disk is full, say.
        """
        folder = Path(folder)
        make_folder(folder)
        config = {"format": FORMAT} | migrate(self.config)
        state = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        # One key only: safetensors writes several in any order, and the same generator shall be the same file.
        write_whole(folder / WEIGHTS, save(state, {KEY: json.dumps(config)}))
        write_whole(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())

    @property
    def style_network(self) -> Styled | None:
        """The network, where its pictures come from styles."""
        return self.network if isinstance(self.network, Styled) else None

    def __call__(
        self, n: int, seed: int = 0, label: int | str | None = None, truncation: float = 1.0
    ) -> list[Image.Image]:
        """Pictures of the seeds `seed` to `seed + n - 1`."""
        return [to_pil(image) for image in self.images(range(seed, seed + n), label, truncation)]

    def images(
        self,
        seeds: Sequence[int],
        label: int | str | None = None,
        truncation: float = 1.0,
        class_mix: str | None = None,
    ) -> Tensor:
        """uint8 [len(seeds), C, H, W] on the CPU; a picture depends on its seed (label and truncation) alone.

        A class-conditional generator draws the class from the seed unless `label` (index or name) is given: as often as
        in the data that it was trained on, or with `class_mix="even"` all equally often.
        With truncation below 1 pictures vary less and are often better: StyleGAN2 draws styles towards their average
        (Karras et al. 2019, appendix B; 0: all the same), the others draw latents beyond +-2 truncation again (the
        truncation trick of Brock et al. 2019, section 3.1).

        Raises:
            UserError: an unknown class, a class for a generator that has none, a truncation out of 0..1.
        """
        number = self.class_number(label)
        made = []
        for start in range(0, len(seeds), BATCH):
            points, labels = self.points(seeds[start : start + BATCH], number, truncation, class_mix)
            made.append(self.drawn(points, labels))
        return torch.cat(made) if made else torch.empty(0, dtype=torch.uint8)

    @torch.inference_mode()
    def points(
        self,
        seeds: Sequence[int],
        number: int | None = None,
        truncation: float = 1.0,
        class_mix: str | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Where the pictures of at least one seed come from, and their labels [N] or None; `drawn` draws them.

        StyleGAN2: styles, [N, style_count, w_dim]; others: latents, [N, z_dim]. number: of the class; None: drawn.
        """
        self.check_truncation(truncation)
        styled = self.style_network
        points, classes = [], []
        for start in range(0, len(seeds), BATCH):
            part = list(seeds[start : start + BATCH])
            z, labels = self.latents(part + [0] * (BATCH - len(part)), number, truncation, class_mix)
            if styled is not None:
                z = styled.styles(z, labels, truncation)
            points.append(z[: len(part)])
            classes.append(None if labels is None else labels[: len(part)])
        known = [labels for labels in classes if labels is not None]
        return torch.cat(points), torch.cat(known) if known else None

    @torch.inference_mode()
    def drawn(self, points: Tensor, labels: Tensor | None) -> Tensor:
        """Pictures of at least one of `points`, uint8 [N, C, H, W] on the CPU."""
        styled = self.style_network
        made = []
        for start in range(0, len(points), BATCH):
            place = torch.arange(start, start + BATCH, device=points.device).clamp(max=len(points) - 1)
            part = points[place]
            if styled is not None:
                images = styled.synthesis(part)
            else:
                images = self.network(part) if labels is None else self.network(part, labels[place])
            made.append(to_uint8(images)[: len(points) - start].cpu())
        return torch.cat(made)

    @torch.inference_mode()
    def parts(self, seeds: Sequence[int], batch: int = 250, class_mix: str | None = None) -> Iterator[Tensor]:
        """The pictures of `images`, uint8 [at most `batch`, C, H, W] at a time, about twice as fast.

        In larger batches and another memory layout, so that here and there a value is rounded to its neighbour.
        """
        network = copy.deepcopy(self.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for start in range(0, len(seeds), batch):
            z, labels = self.latents(seeds[start : start + batch], None, class_mix=class_mix)
            yield to_uint8(network(z) if labels is None else network(z, labels)).contiguous()

    def latents(
        self, seeds: Sequence[int], number: int | None, truncation: float = 1.0, class_mix: str | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """(z [N, z_dim], labels [N] or None), each drawn by its own seed; z of StyleGAN2 is left whole."""
        limit = None if truncation == 1 or self.style_network else 2 * truncation
        return self.sampler(class_mix)[0].of_seeds(seeds, number, limit)

    def sampler(self, class_mix: str | None = None) -> tuple[Sampler, str | None]:
        """What draws latents and classes, and the mix of these; None for a generator without.

        class_mix: see `rggan.sampler.mixed`.
        """
        network, counts, mix = self.config["network"], None, None
        if network["classes"]:
            counts, mix = mixed(network["classes"], self.config.get("class_counts"), class_mix)
        elif class_mix is not None:
            raise UserError("This generator was trained without classes (--cond): leave --class-mix out.")
        return Sampler(network["z_dim"], torch.device(self.device), counts=counts), mix

    def check_truncation(self, truncation: float) -> None:
        """Raises UserError where it is out of range, NaN too."""
        if self.style_network is not None and not 0 <= truncation <= 1:
            raise UserError(f"The truncation (--trunc) of a StyleGAN2 is a number from 0 to 1, not {truncation}.")
        if self.style_network is None and not 0 < truncation <= 1:
            raise UserError(f"The truncation (--trunc) is a number above 0, up to 1, not {truncation}.")

    def class_number(self, label: int | str | None) -> int | None:
        if label is None:
            return None
        if not self.config["network"]["classes"]:
            raise UserError("This generator was trained without classes (--cond): leave the class out.")
        if str(label) in self.classes:
            return self.classes.index(str(label))
        if str(label).isdecimal() and int(label) < len(self.classes):
            return int(label)
        raise UserError(f"There is no class {label}; there are {', '.join(self.classes)}.")


def check_device(name: str) -> torch.device:
    """'cpu', 'cuda' or 'cuda:1'; 'auto' takes a CUDA GPU if there is one.

    Raises:
        UserError: another name, or no such GPU here.

    >>> check_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"--device {name}: choose auto, cpu, cuda or cuda:N.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine or this build of PyTorch has no such CUDA GPU.")
    return device


def build(network: dict[str, Any]) -> nn.Module:
    """The generator network that a config describes, with fresh weights.

    Raises:
        UserError: an unknown name, or a resolution that the network cannot have.

    >>> network = {"name": "sngan", "resolution": [32, 48], "channels": 4, "width": 8, "z_dim": 16, "classes": 0}
    >>> build(network)(torch.zeros(1, 16)).shape
    torch.Size([1, 4, 32, 48])
    """
    arguments = dict(network)
    name = arguments.pop("name")
    return called(f"--network {name}", FAMILIES.get(name).generator, **arguments)


def migrate(config: dict[str, Any]) -> dict[str, Any]:
    """The config in the present format.

    >>> migrate({"format": 1, "network": {"resolution": 32}})
    {'format': 2, 'network': {'resolution': [32, 32]}}
    """
    network = dict(config["network"])
    if isinstance(network["resolution"], int):
        network["resolution"] = [network["resolution"]] * 2
    return config | {"format": FORMAT, "network": network}


@contextmanager
def damage_told(weights: Path) -> Iterator[None]:
    """Turn whatever a hostile file makes json, safetensors and torch raise into one sentence."""
    try:
        yield
    except Exception as error:
        text = str(error) or type(error).__name__
        reason = "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip().rstrip(".")
        raise UserError(f"The generator in {weights} is damaged or foreign: {reason}.") from error


def read_config(file: Any, beside: Path) -> dict[str, Any]:
    """The config from the metadata of opened weights, or from the config.json beside them (format 1)."""
    text = (file.metadata() or {}).get(KEY)
    if text is None:
        if not beside.is_file():
            raise ValueError(f"neither its metadata nor a {CONFIG} beside it say what it is")
        with beside.open("rb") as stream:
            text = stream.read(LARGEST_CONFIG + 1).decode()
    if len(text) > LARGEST_CONFIG:
        raise ValueError("its config is too long")
    config = json.loads(text)
    if not isinstance(config, dict) or type(config.get("format")) is not int:
        raise ValueError("its config has no format")
    return config


def check_config(config: dict[str, Any]) -> None:
    """Refuse what no generator has (ValueError), before anything is built from it."""
    network, classes = config["network"], config["classes"]
    if not FAMILIES.knows(name := network["name"]):
        if PLACE.fullmatch(str(name)):
            raise ValueError(
                f"its network {name} is code that is not installed; to let it run, name it: --trust {name}"
            )
        raise ValueError(f"there is no network {name}")
    ranges = RANGES | {name: (low, high) for name, (_, low, high) in FAMILIES.get(name).arguments.items()}
    for name, (low, high) in ranges.items():
        if type(network[name]) is not int or not low <= network[name] <= high:
            raise ValueError(f"{name} is not a number from {low} to {high}")
    if unknown := set(network) - {"name", "resolution", *ranges}:
        raise ValueError(f"no {network['name']} network has {', '.join(sorted(unknown))}")
    if network["channels"] == 2:
        raise ValueError("pictures have 1, 3 or 4 channels, not 2")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes are not a list of names")
    if network["classes"] and len(classes) != network["classes"]:
        raise ValueError(f"{len(classes)} names for {network['classes']} classes")
    counts = config.get("class_counts")
    if counts is None:
        return
    known = isinstance(counts, list) and len(counts) == network["classes"] and all(type(n) is int for n in counts)
    if not known or min(counts) < 0 or not 0 < sum(counts) <= MOST_IMAGES:
        raise ValueError("its class_counts are no numbers of images, one for each class")


def read_network(file: Any, description: dict[str, Any]) -> nn.Module:
    """The described network with the weights of an opened file; memory is taken only once both are known to fit."""
    with torch.device("meta"):
        network = build(description)
    expected = network.state_dict()
    if set(file.keys()) != set(expected):
        raise ValueError(f"its tensors are not those of the {description['name']} network that its config describes")
    for name, value in expected.items():
        header = file.get_slice(name)
        shape, kind = list(value.shape), TYPES[value.dtype]
        if header.get_shape() != shape or header.get_dtype() != kind:
            found = f"{header.get_dtype()} {header.get_shape()}"
            raise ValueError(f"{name} is {found}, but its config describes {kind} {shape}")
    # Copied, because what safetensors gives is a view of the file, which may change or go.
    state = {name: file.get_tensor(name).clone() for name in expected}
    for name, value in state.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite values")
    network.load_state_dict(state, assign=True)
    return network
