"""Extractors by name: built-in networks, those of installed packages, programs in files, functions by their place."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rggan.device import with_float64
from rggan.errors import UserError, reason
from rggan.memory import is_used_up
from rggan.metrics.features import Extractor, feature_network, resized
from rggan.metrics.imagenet import imagenet_network
from rggan.metrics.inception import inception_file
from rggan.registry import PLACE, Registry

DIGITS = 3  # of the features on the probe, which stand in a function's hash


class Program:
    """An `Extractor` around somebody's program: uint8 [N, 3, H, W] -> [N, D] or [N, D, 1, 1].

    Args:
        resolution: the side of the square that it reads; images are resized to it first. None: it takes any size.
        batch: how many images it takes at a time; None: any number.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Any],
        name: str,
        digest: str = "",
        resolution: int | None = None,
        batch: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.run, self.name, self.hash = run, name, digest
        self.resolution, self.batch = resolution, batch
        side = f"{resolution}x{resolution}"
        self.resize = "its own" if resolution is None else f"bicubic, antialiased, to {side}, rounded"
        self.device = torch.device(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Raises UserError where the program fails or gives no [N, D]."""
        x = images.float() if self.resolution is None else resized(images.float(), self.resolution)
        x = x.round().to(torch.uint8).expand(-1, 3, -1, -1)
        if self.batch is None:
            return self.features(x)
        parts = []
        for part in x.split(self.batch):
            filled = torch.cat([part, part[-1:].expand(self.batch - len(part), -1, -1, -1)])
            parts.append(self.features(filled)[: len(part)])
        return torch.cat(parts)

    def features(self, x: Tensor) -> Tensor:
        shape = f"uint8 [{', '.join(map(str, x.shape))}]"
        try:
            features = self.run(x)
        except Exception as error:  # of somebody else's program
            if is_used_up(error):
                raise
            raise UserError(f"The extractor {self.name} fails on images {shape}: {reason(error)}.") from error
        if not isinstance(features, Tensor):
            raise UserError(f"The extractor {self.name} gives a {type(features).__name__}, not a tensor of features.")
        if features.dim() > 2 and features.shape[2:].numel() == 1:
            features = features.flatten(1)
        if features.dim() != 2 or len(features) != len(x) or not features.is_floating_point():
            given = f"{str(features.dtype).removeprefix('torch.')} {list(features.shape)}"
            raise UserError(f"The extractor {self.name} gives {given} for images {shape}; it must give [{len(x)}, D].")
        return features


@dataclass(frozen=True)
class BuiltIn:
    """An extractor of this package, loaded onto a device when it is used."""

    on: Callable[[str], Extractor]


REPORTING, STEERING = BuiltIn(partial(feature_network, "reporting")), BuiltIn(partial(feature_network, "steering"))
IMAGENET = BuiltIn(imagenet_network)
INCEPTION = BuiltIn(lambda device: published(device))


def accept(found: Any) -> BuiltIn | Callable[[Tensor], Any]:
    """Raises TypeError for what is neither a function (or a module) nor built in."""
    if not isinstance(found, BuiltIn) and not callable(found):
        raise TypeError("function or module from uint8 images [N, 3, H, W] to features [N, D]")
    return found


EXTRACTORS: Registry[BuiltIn | Callable[[Tensor], Any]] = Registry(
    "`features`",
    {name: f"{__name__}:{name.upper()}" for name in ("reporting", "steering", "imagenet", "inception")},
    "rggan.extractors",
    accept,
    besides=("a file with a TorchScript or exported (.pt2) program",),
)


def runs_code(spec: str) -> bool:
    """Whether `load_extractor` would run somebody's program or function, neither built in nor of an installed package.

    >>> runs_code("reporting"), runs_code("my_networks:features")
    (False, True)
    """
    return spec not in EXTRACTORS.names() and (os.path.isfile(spec) or PLACE.fullmatch(spec) is not None)


def load_extractor(spec: str, device: str = "cpu") -> Extractor:
    """The extractor that `spec` names, in evaluation mode.

    Args:
        spec: 'steering' or 'reporting', the shipped networks; 'imagenet', that of the extra `rggan[pretrained]`;
            'inception', the published network, see `inception_place`; a name that an installed package gives by the
            entry point group `rggan.extractors`; a file: a TorchScript program, or (.pt2) an exported one; or
            'package.module:OBJECT'. Entry points and places name a function, or a module that is called, from uint8
            [N, 3, H, W] to floats [N, D]; its attribute `resolution`, if it has one, is the side of the square that it
            wants. All but the built-in ones are programs that run here, so take only such as you trust.

    Raises:
        UserError: nothing of that name, or it is not what it should be; an installed package uses a built-in name; the
            extra or the file of a built-in one is missing.

    >>> load_extractor("reporting").resize
    'bicubic, antialiased, to 32x32'
    """
    path = Path(spec)
    if spec not in EXTRACTORS.names() and os.path.isfile(path):
        return exported(path, device) if path.suffix == ".pt2" else scripted(path, device)
    if not PLACE.fullmatch(spec) and spec not in EXTRACTORS.names() and (path.suffix or path.parent != Path()):
        raise UserError(f"`features` {spec}: there is no such file.")
    found = EXTRACTORS.get(spec)
    return found.on(device) if isinstance(found, BuiltIn) else program_of(found, spec, device)


def published(device: str) -> Program:
    """The Inception network of published FIDs. Raises UserError as `inception_file`."""
    program = scripted(inception_file(), device)
    program.name = "inception"
    return program


def scripted(path: Path, device: str) -> Program:
    with foreign_told(path, "TorchScript program"):
        module = torch.jit.load(path, map_location=device).eval()
        arguments = {argument.name for argument in module.forward.schema.arguments}
    # The published Inception network gives class probabilities unless it is asked for features.
    keywords = {"return_features": True} if "return_features" in arguments else {}
    resolution = getattr(module, "resolution", None)
    return Program(
        lambda x: module(x, **keywords),
        path.name,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        resolution if isinstance(resolution, int) else None,
        device=device,
    )


def exported(path: Path, device: str) -> Program:
    with foreign_told(path, "exported program (.pt2)"):
        program = torch.export.load(path)
        names = program.graph_signature.user_inputs
        (shape,) = [node.meta["val"].shape for node in program.graph.nodes if node.name in names]
        count, _, height, width = (side if type(side) is int else None for side in shape)
        module = program.module().to(device)
    if height != width:
        raise UserError(f"`features` {path}: it wants images of {height}x{width}; only squares are supported.")
    return Program(module, path.name, hashlib.sha256(path.read_bytes()).hexdigest(), height, count, device)


@contextmanager
def foreign_told(path: Path, kind: str) -> Iterator[None]:
    """Whatever a file that is none makes torch say or raise becomes one sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise UserError(f"`features` {path}: this is no {kind} from uint8 images to features.") from error
    finally:
        logging.disable(before)


def program_of(function: Callable[[Tensor], Any], spec: str, device: str) -> Program:
    """An extractor around the function or module that `spec` names.

    Raises:
        UserError: it does not make features of images, or its `resolution` is none.
    """
    name, _, attribute = EXTRACTORS.place(spec).partition(":")
    if isinstance(function, nn.Module):
        function = function.to(device).eval()
    resolution = getattr(function, "resolution", None)
    if resolution is not None and (type(resolution) is not int or resolution < 1):
        raise UserError(f"`features` {spec}: its resolution must be the side of a square in pixels, not {resolution}.")
    program = Program(function, spec, resolution=resolution, device=device)
    # What a function computes cannot be hashed; its source can, and what it makes of a few pixels.
    probe = torch.arange(2 * 3 * 64 * 64, device=device).reshape(2, 3, 64, 64).mul(37).remainder(256).to(torch.uint8)
    try:
        with torch.no_grad():
            features = program(probe).to(with_float64(probe.device)).double()
    except UserError as error:
        raise UserError(f"{error} (If it takes one size only, give it an attribute called resolution.)") from error
    told = [name, attribute, *(f"{value:.{DIGITS}g}" for value in (features.mean().item(), features.std().item()))]
    if isinstance(function, nn.Module):
        for key, tensor in sorted(function.state_dict().items()):
            told += [key, hashlib.sha256(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy()).hexdigest()]
    try:
        source = inspect.getsource(sys.modules[name])
    except (OSError, TypeError):  # a compiled module
        source = ""
    program.hash = hashlib.sha256("\0".join([*told, source]).encode()).hexdigest()
    return program
