"""What is done with each kind of input, and what must hold of what is accepted."""

from __future__ import annotations

import copy
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from rggan.config import TrainConfig
from rggan.data import load_images
from rggan.data.audit.doctor import inspect
from rggan.data.audit.mend import write_copy
from rggan.data.decode import CHANNELS, open_picture, parse_color, parse_size, to_pixels
from rggan.data.images import ImageSet
from rggan.data.picture import Picture
from rggan.data.source import list_pictures
from rggan.errors import UserError
from rggan.evaluation.features import collect_cached
from rggan.evaluation.saved import read_statistics
from rggan.generation.generator import Generator
from rggan.metrics import feature_network, frechet_distance
from rggan.run.folder import Run
from rggan.run.log import RunLog
from rggan.run.outdir import find_run
from rggan.training.checkpoint import FORMAT
from rggan.training.loop import Loop, given_up
from rggan.training.setup import description_of, make_gan
from rggan.training.trainer import Training
from tests.faults import inputs, stored
from tests.faults.drill import flat
from tests.faults.fuzz import Broken, Found, faults
from tests.faults.hostile import Seeds, make_seeds
from tests.faults.work import LIGHT, WORKS

RULES = ("threshold", "published")
SIZES: dict[str, Any] = {
    **{"width_g": 8, "width_d": 8, "z_dim": 8, "batch": 4, "score_samples": 4, "d_steps": 1},
    **{"device": "cpu", "precision": "fp32"},
}
UNUSUAL = tuple(sorted({one.format for one in (WORKS | LIGHT).values()} - {""}))
ROW = {"tick": 0, "kimg": 0.004, "score": 1.0, "diversity": 1.0, "density_g": 1.0, "density_d": 1.0, "phase": "prune"}


class Heard(RunLog):
    """A log that remembers."""

    def __init__(self, run: Path) -> None:
        super().__init__(Run(run), Console(file=io.StringIO()))
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)
        super().say(line)


class Tools:
    """What is made once for all inputs: the seeds, and a tiny training by each rule."""

    def __init__(self, seed: int, count: int, folder: Path) -> None:
        torch.set_num_threads(1)
        np.save(folder / "tiny.npy", np.random.default_rng(0).integers(0, 256, (12, 16, 16), dtype=np.uint8))
        self.data = load_images(folder / "tiny.npy", 16)
        self.folder = folder
        self.loops: dict[str, Loop] = {}
        self.good: dict[str, Any] = {}
        files = {}
        for rule in RULES:
            loop = self.take_loop(rule)
            loop.training.step()
            loop.rows = [{**ROW}]
            stream = io.BytesIO()
            torch.save({"format": FORMAT, **loop.state_dict()}, stream)
            files[rule] = stream.getvalue()
            self.good[rule] = torch.load(io.BytesIO(files[rule]), weights_only=True)
            self.loops[rule] = loop
        self.seeds: Seeds = make_seeds(seed, count, folder, files)
        self.network = feature_network("steering")
        self.few = self.data.take(np.arange(6))

    def take_loop(self, rule: Any) -> Loop:
        """One that nothing is amiss with: who takes it, gives it back in `loops` if that is still so."""
        if rule in self.loops:
            return self.loops.pop(rule)
        config = TrainConfig(**SIZES, rule=rule, outdir=self.folder)
        return Loop(config, Training(config, self.data, self.data), "key", Run(self.folder), Heard(self.folder))


def read_set(tools: Tools, path: Path, random: Random, out: Path) -> tuple[str, Callable[[], None]]:
    """A set of pictures: accepted and named as bad make up what was given, and the bad ones are bad alone."""
    os.environ["RGGAN_CACHE"] = str(out / "cache")
    share = 1e-15 if random.random() < 0.1 else 0.25
    refusal = None
    resize: Any = random.choice(("crop", "fit", "stretch"))  # to fit, a line of a picture is left with no height
    try:
        load_images(path, random.choice((16, 16, 16, None)), resize=resize, memory_share=share)
    except UserError as error:
        refusal = error
        tell(error)
    size: Any = random.choice((16, "8x24", (33, 17)))
    channels: Any = random.choice(("auto", *CHANNELS))
    background = random.choice(("white", "#ff8800"))
    kept = load_images(
        path, size, skip_bad=True, channels=channels, resize=resize, background=background, memory_share=share
    )
    how = (parse_size(size), CHANNELS.get(channels, 3), resize, parse_color(background))
    if (refusal is None) != (not kept.skipped):
        raise Broken(f"refused: {refusal}, but left out: {kept.skipped[:3]}")
    return "left out" if kept.skipped else "read", lambda: compare(list_pictures(path), kept, how)


def compare(pictures: list[Picture], kept: ImageSet, how: Any) -> None:
    if len(kept.names) + len(kept.skipped) != len(pictures):
        raise Broken(f"{len(pictures)} given, {len(kept.names)} accepted, {len(kept.skipped)} left out")
    good, bad = [], []
    for picture in pictures:
        try:
            good.append((picture.name, to_pixels(open_picture(picture), *how)))
        except (ValueError, OSError, MemoryError) as error:
            bad.append((picture.name, error))
    if [name for name, _ in good] != list(kept.names) or [name for name, _ in bad] != list(kept.skipped):
        raise Broken(f"{kept.skipped[:3]} are left out, but alone these cannot be read: {bad[:3]}")
    pixels = np.stack([values for _, values in good])[..., : kept.shape[0]]
    if not np.array_equal(pixels.transpose(0, 3, 1, 2), kept.images.numpy()):
        raise Broken("a picture of the set has other pixels than alone")
    "".join((*kept.names, *kept.classes)).encode()  # can be printed


def tell(error: Exception | str) -> None:
    """Look at what a person would be told."""
    if wrong := faults(str(error)):
        raise Broken(wrong[0])


def read_zip(tools: Tools, path: Path, random: Random, out: Path) -> Found:
    """The same, and a mended copy: of so many pictures as it says, each of which can be read."""
    found = outcome, check = read_set(tools, path, random, out)
    pictures = list_pictures(path)
    try:
        told = write_copy(pictures, inspect(pictures), out / "copy")
    except UserError as error:
        tell(error)
        return found

    def check_both() -> None:
        check()
        compare_copy(pictures, told, out / "copy")

    return outcome, check_both


def compare_copy(pictures: list[Picture], told: dict[str, Any], copy: Path) -> None:
    files = [file for file in copy.rglob("*") if file.is_file()]
    if len(files) != told["written"] or told["written"] + len(told["left_out"]) != len(pictures):
        raise Broken(
            f"{len(pictures)} given, {told['written']} written, {len(files)} there, {told['left_out']} left out"
        )
    for file in files:
        with Image.open(file) as image:
            image.load()


def read_generator(tools: Tools, path: Path, random: Random, out: Path) -> str:
    generator = Generator.from_pretrained(path)
    network = generator.config["network"]
    images = generator.images([0])
    if list(images.shape) != [1, network["channels"], *network["resolution"]] or images.dtype != torch.uint8:
        raise Broken(f"made {images.dtype} {list(images.shape)}")
    return "read"


def read_config(tools: Tools, path: Path, random: Random, out: Path) -> str:
    config = TrainConfig.from_json(path)
    TrainConfig().differences(config.to_json())
    find_run(config)
    if b"\0" in os.fsencode(config.outdir):
        raise Broken("no folder can be called that")
    return "read"


def read_runs(tools: Tools, path: Path, random: Random, out: Path) -> str:
    config = TrainConfig(outdir=path)
    found = find_run(config)
    for run in sorted(path.glob("0*")):
        Run(run).options()
        if not all(isinstance(row, dict) for row in Run(run).rows()):
            raise Broken("a row that is no dict")
    return "read" if found else "left out"


def read_state(tools: Tools, path: Path, random: Random, out: Path) -> str:
    """The newest state, or the good one before, and that exactly; with either the training goes on."""
    loop = tools.take_loop(path.name)
    loop.load_state_dict(copy.deepcopy(tools.good[path.name]))  # what was left of the input before is gone
    expected = content(loop)
    log = Heard(path)
    loop.run, loop.log = Run(path), log
    loop.load_newest()
    for line in log.lines:
        tell(line)
    if log.lines and content(loop) != expected:
        raise Broken("something of the damaged state is left in the training")
    check_optimizers(loop.training)
    loop.training.step()
    given_up(loop.rows, 1)
    _ = any(row["diversity"] > 0.5 for row in loop.rows)  # as the next tick asks
    torch.save(loop.state_dict(), io.BytesIO())
    tools.loops[path.name] = loop
    return "refused" if log.lines else "read"


def check_optimizers(training: Training) -> None:
    """Moments have their parameters' shapes: the fused steps do not look, and read and write beyond them."""
    for name, optimizer in (("opt_g", training.gan.opt_g), ("opt_d", training.gan.opt_d)):
        for parameter, state in optimizer.state.items():
            for key in ("exp_avg", "exp_avg_sq"):
                value = state.get(key)
                if not isinstance(value, Tensor) or value.shape != parameter.shape or value.dtype != parameter.dtype:
                    raise Broken(f"{name} took an {key} that does not fit its parameter {list(parameter.shape)}")


def content(loop: Loop) -> bytes:
    state = loop.state_dict()
    del state["tick"]  # has the time
    return b"".join(flat(state))


def begin(tools: Tools, path: Path, random: Random, out: Path) -> str:
    """Another run begins from these weights."""
    config = TrainConfig(**SIZES, init=path, outdir=out)
    gan = make_gan(config, tools.data, description_of(config, tools.data)["network"], None, True)
    for network in (gan.g, gan.d):
        if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
            raise Broken("weights that are no finite numbers")
    return "read"


def read_cached(tools: Tools, path: Path, random: Random, out: Path) -> str:
    """What is read from a cache that was spoiled is what was written, or is made anew with a line."""
    os.environ["RGGAN_CACHE"] = str(out / "cache")
    if random.random() < 0.3:
        return read_features(tools, random, out / "cache" / "features")
    expected = load_images(path, 16)
    load_images(path, 16, memory_share=1e-15)
    (pixels,) = (out / "cache").glob("*.u8")
    if random.random() < 0.85:
        stored.spoil(random, pixels, pixels.with_suffix(".json"))
    found = load_images(path, 16, memory_share=1e-15)
    if not torch.equal(found.images, expected.images) or found.skipped or found.hashes != expected.hashes:
        raise Broken("other images than are there")
    for note in found.notes:
        tell(note)
    return "left out" if found.notes else "read"


def read_features(tools: Tools, random: Random, folder: Path) -> str:
    """The same of features."""
    notes: list[str] = []
    expected = collect_cached(tools.network, tools.few, 4, "few", notes=notes)["whole"]
    (path,) = folder.glob("*.safetensors")
    if random.random() < 0.85:
        stored.spoil_features(random, path)
    found = collect_cached(tools.network, tools.few, 4, "few", notes=notes)["whole"]
    if not torch.equal(found.rows, expected.rows) or not torch.equal(found.statistics.mean, expected.statistics.mean):
        raise Broken("other features than were written")
    for note in notes:
        tell(note)
    return "left out" if notes else "read"


def read_moments(tools: Tools, path: Path, random: Random, out: Path) -> str:
    """Statistics that are taken have a finite distance to others, and none to themselves."""
    found = read_statistics(path).statistics
    scale = float(found.covariance.diagonal().sum())
    for distance, expected in (
        (frechet_distance(found, found), 0.0),
        (frechet_distance(found, found._replace(mean=found.mean + 1)), float(len(found.mean))),
    ):
        if not math.isfinite(distance):
            raise Broken(f"a distance of {distance}")
        if abs(distance - expected) > 1e-3 * scale + 1e-6 and float(found.mean.abs().max()) < 1e6:
            raise Broken(f"a distance of {distance} instead of {expected}")
    return "read"


def read_work(tools: Tools, path: Path, random: Random, out: Path) -> str:
    """The good picture is read whatever the other one is."""
    kept = load_images(path, 16, skip_bad=True, formats=UNUSUAL)
    if "good.png" not in kept.names or len(kept.names) + len(kept.skipped) != len(list_pictures(path, formats=UNUSUAL)):
        raise Broken(f"of two pictures {kept.names} are accepted and {kept.skipped} left out")
    return "left out" if kept.skipped else "read"


def read_archive(tools: Tools, path: Path, random: Random, out: Path) -> str:
    kept = load_images(path, 16, skip_bad=True)
    return "left out" if kept.skipped else "read"


Make = Callable[[Random, Path, Seeds], Path]
Attempt = Callable[[Tools, Path, Random, Path], Found]
KINDS: dict[str, tuple[float, Make, Attempt]] = {  # how often, how it is made, what is done
    "pictures": (34, inputs.pictures, read_set),
    "zips": (18, inputs.zips, read_zip),
    "arrays": (12, inputs.arrays, read_set),
    "CIFAR": (8, inputs.cifar, read_set),
    "generators": (8, stored.generators, read_generator),
    "configs": (8, stored.configs, read_config),
    "runs": (4, stored.runs, read_runs),
    "checkpoints": (8, stored.checkpoints, read_state),
    "inits": (6, stored.inits, begin),
    "caches": (6, stored.caches, read_cached),
    "statistics": (5, stored.statistics, read_moments),
    "archives": (3, inputs.tars, read_archive),
    "work": (1.5, inputs.work, read_work),
}
