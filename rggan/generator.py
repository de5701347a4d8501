"""A trained generator: save it, load it, make pictures. The same seed gives the same picture."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rggan.data.pictures import to_pil, to_uint8
from rggan.errors import UserError
from rggan.networks import GENERATORS

FORMAT = 1
WEIGHTS, CONFIG = "generator.safetensors", "config.json"
# Pictures are always computed this many at a time: convolution libraries choose their algorithm by the
# batch size, so that a picture made alone could differ in its last bit from the same one among others.
BATCH = 16


class Generator:
    """A generator with its description.

    Args:
        network: z [N, z_dim] (, labels [N]) -> images in -1..1, [N, C, H, W]; it is set to evaluation mode.
        config: {"network": {"name", "resolution", "channels", "width", "z_dim", "classes"},
            "classes": [names], "trained": {...}}.

    Raises:
        UserError: an unknown or missing device.

    >>> from rggan.networks import SNGANGenerator
    >>> network = {"name": "sngan", "resolution": 16, "channels": 1, "width": 8, "z_dim": 128, "classes": 0}
    >>> generator = Generator(SNGANGenerator(16, 1, 8), {"network": network, "classes": []})
    >>> [picture.size for picture in generator(2, seed=7)]
    [(16, 16), (16, 16)]
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
        if path.name == WEIGHTS:
            path = path.parent
        if not (path / WEIGHTS).exists() and (path / "best" / WEIGHTS).exists():
            path = path / "best"
        if not (path / WEIGHTS).is_file() or not (path / CONFIG).is_file():
            raise UserError(f"There is no {WEIGHTS} with its {CONFIG} in {path}; give a run or snapshot folder.")
        try:
            config = json.loads((path / CONFIG).read_text())
            if config["format"] > FORMAT:
                raise UserError(f"{path} was written by a newer rggan (format {config['format']}): upgrade to read it.")
            network = build(config["network"])
            network.load_state_dict(load_file(path / WEIGHTS))
            return cls(network, config, device)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"The generator in {path} is damaged or foreign: {reason}.") from error

    def save(self, folder: str | Path) -> None:
        """Write generator.safetensors and config.json, each whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        (folder / f".{WEIGHTS}.part").write_bytes(save(state, {"format": "pt"}))
        (folder / f".{CONFIG}.part").write_text(json.dumps({"format": FORMAT, **self.config}, indent=2) + "\n")
        for name in (WEIGHTS, CONFIG):
            os.replace(folder / f".{name}.part", folder / name)

    def __call__(self, n: int, seed: int = 0, label: int | str | None = None) -> list[Image.Image]:
        """Pictures of the seeds `seed` to `seed + n - 1`."""
        return [to_pil(image) for image in self.images(range(seed, seed + n), label)]

    @torch.inference_mode()
    def images(self, seeds: Sequence[int], label: int | str | None = None) -> Tensor:
        """uint8 [len(seeds), C, H, W] on the CPU; a picture depends on its seed (and label) alone.

        A class-conditional generator draws the class from the seed unless `label` (index or name) is given.

        Raises:
            UserError: an unknown class, or a class for a generator that has none.
        """
        number = self.class_number(label)
        made = []
        for start in range(0, len(seeds), BATCH):
            part = list(seeds[start : start + BATCH])
            z, labels = self.latents(part + [0] * (BATCH - len(part)), number)
            made.append(to_uint8(self.network(z) if labels is None else self.network(z, labels))[: len(part)].cpu())
        return torch.cat(made) if made else torch.empty(0, dtype=torch.uint8)

    def latents(self, seeds: Sequence[int], number: int | None) -> tuple[Tensor, Tensor | None]:
        """(z [N, z_dim], labels [N] or None), each drawn by its own seed on the CPU."""
        zs, labels = [], []
        for seed in seeds:
            random = torch.Generator().manual_seed(seed)
            zs.append(torch.randn(self.config["network"]["z_dim"], generator=random))
            drawn = torch.randint(max(1, len(self.classes)), (), generator=random)
            labels.append(drawn if number is None else torch.tensor(number))
        conditional = self.config["network"]["classes"] > 0
        return torch.stack(zs).to(self.device), torch.stack(labels).to(self.device) if conditional else None

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
    """The generator network that a config describes, with fresh weights."""
    arguments = dict(network)
    name = arguments.pop("name")
    if name not in GENERATORS:
        raise UserError(f"Unknown network {name}; there are {', '.join(GENERATORS)}.")
    return GENERATORS[name](**arguments)
