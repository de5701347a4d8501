"""Hostile files that this program stores: generators, options, runs, states, caches, statistics; `inputs` makes sets.

Pickles in here make the file `folder`/marker, should anybody unpickle them.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

from rggan.config import TrainConfig
from rggan.run.places import CONFIG, WEIGHTS
from tests.faults import caches as cache_faults
from tests.faults import states
from tests.faults.archives import entry, zipped
from tests.faults.hostile import NUMBERS, ODD_TEXTS, Evil, Seeds, altered, mutated, text_of

HUGE = ("of a million", "million", "of a long number", "no mask of its weight")  # states that take long to be made


def generators(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A saved generator with damaged bytes, an odd header or an odd config."""
    files = dict(random.choice(seeds.generators))
    act = random.random()
    length = int.from_bytes(files[WEIGHTS][:8], "little")
    header, data = json.loads(files[WEIGHTS][8 : 8 + length]), files[WEIGHTS][8 + length :]
    if act < 0.1:  # other values, or none changed
        files[WEIGHTS] = files[WEIGHTS][: 8 + length] + random.choice(
            (data, random.randbytes(len(data)), bytes(len(data)))
        )
    elif act < 0.25:
        files[WEIGHTS] = mutated(random, files[WEIGHTS], random.choice(seeds.generators)[WEIGHTS])
    else:
        text: bytes | None = None
        if act < 0.65:  # in the metadata, or beside the weights as format 1 had it
            config = text_of(random, json.loads(files[CONFIG]), seeds)
            metadata = header.pop("__metadata__")
            if random.random() < 0.7:
                header["__metadata__"] = {next(iter(metadata)): config.decode(errors="replace")}
            files[CONFIG] = config
        elif act < 0.75:
            text = text_of(random, header, seeds)
        else:
            header = altered(
                random, header, lambda: random.choice((seeds.odd(random), [0, 2**40], "F16", "I64", [0, len(data)]))
            )
        text = json.dumps(header).encode() if text is None else text
        told = random.choice(NUMBERS) if random.random() < 0.05 else len(text)
        files[WEIGHTS] = told.to_bytes(8, "little") + text + data
        if random.random() < 0.1:
            files[WEIGHTS] += random.choice((b"\0", data, b"x" * 1000))
    if random.random() < 0.05:
        del files[random.choice((WEIGHTS, CONFIG))]
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return random.choice((folder, folder / WEIGHTS))


def configs(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A run's config.json with odd values."""
    path = folder / CONFIG
    values = TrainConfig().to_json()
    if random.random() < 0.5:  # one odd value, which is looked at alone
        usual = (1, 2, 64, 0.5, 0.9, True, False, None, "none", "hf:x", *values.values())
        name = random.choice(sorted(values))
        values[name] = random.choice((seeds.odd(random), random.choice(usual), values[name]))
        path.write_text(json.dumps(values))
    else:
        path.write_bytes(text_of(random, values, seeds))
    return path


def runs(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A folder of runs, with odd config.json and stats.jsonl."""
    values = TrainConfig(outdir=folder).to_json()
    keys = ("tick", "kimg", "score", "diversity", "density_g", "density_d", "loss_g", "loss_d", "decisions")
    row: dict[str, Any] = {**dict.fromkeys(keys, 1.0), "phase": "prune"}
    for number in range(random.choice((1, 2))):
        run = folder / f"{number:05d}-digits-16-sngan-threshold"
        run.mkdir()
        (run / CONFIG).write_bytes(json.dumps(values).encode() if number else text_of(random, values, seeds))
        rows = [text_of(random, row, seeds) if random.random() < 0.3 else json.dumps(row).encode() for _ in range(3)]
        stats = b"\n".join(rows)
        (run / "stats.jsonl").write_bytes(mutated(random, stats, b"") if random.random() < 0.3 else stats)
    return folder


def checkpoints(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A run with a good state and a newer one that is damaged, false or evil, under its old hash or the right one."""
    rule = random.choice(sorted(seeds.states))
    root = folder / "out" / rule / "checkpoints"  # what is said goes to the log beside
    root.mkdir(parents=True)
    good = seeds.states[rule]
    (root / f"state-000001.000-{short_hash(good)}.pt").write_bytes(good)
    act = random.random()
    content, named = good, None
    if act < 0.05:  # what is no file
        places = states.odd_places(folder)
        places[random.choice(sorted(places))](root / "state-000002.000-0123456789abcdef.pt")
        return root.parent
    if act < 0.2:  # as a disk or a cut power damages it
        content, named = mutated(random, good, good), short_hash(good)
    elif act < 0.4:
        content = mutated(random, good, good)
    elif act < 0.5:
        content = saved(
            random, random.choice(({"x": Evil(random, folder / "marker")}, Evil(random, folder / "marker")))
        )
    elif act < 0.55:
        content = pickle.dumps(Evil(random, folder / "marker"), random.randrange(6))
    elif act < 0.6:
        content = random.choice(ODD_TEXTS) or zipped(
            [entry("archive/data.pkl", pickle.dumps(Evil(random, folder / "marker")))]
        )
    else:
        content = odd_state(random, good, seeds)
    ending = "" if random.random() < 0.1 else f"-{named or short_hash(content)}"
    (root / f"state-000002.000{ending}.pt").write_bytes(content)
    return root.parent


def odd_state(random: Random, good: bytes, seeds: Seeds) -> bytes:
    """A whole file of a state that nothing has made."""
    act = random.random()
    if act < 0.1:
        contents = states.odd_contents(good)
        return contents[a_name(random, contents)]()
    state = torch.load(io.BytesIO(good), weights_only=True)
    if act < 0.5:
        made = states.odd_states(state)
        return states.saved(made[a_name(random, made)]())
    return saved(random, altered(random, state, lambda: odd_part(random, seeds)))


def a_name(random: Random, made: dict[str, Any]) -> str:
    """One of them; seldom one of those that take long."""
    names = [name for name in made if not any(part in name for part in HUGE)]
    return random.choice(sorted(made if random.random() < 0.01 else names))


def inits(random: Random, folder: Path, seeds: Seeds) -> Path:
    """A folder of a run to begin another from: its only state is damaged or foreign; or it is another thing."""
    good = seeds.states[random.choice(sorted(seeds.states))]
    states_in = folder / "run" / "checkpoints"
    states_in.mkdir(parents=True)
    act = random.random()
    if act < 0.05:
        places = states.odd_places(folder)
        places[random.choice(sorted(places))](states_in / "state-000001.000-0123456789abcdef.pt")
        return states_in.parent
    if act < 0.15:  # a generator alone
        for name, content in random.choice(seeds.generators).items():
            (folder / name).write_bytes(mutated(random, content, content) if random.random() < 0.5 else content)
        return folder
    content = mutated(random, good, good) if act < 0.3 else odd_state(random, good, seeds) if act < 0.95 else good
    (states_in / states.name_of(content, 1.0)).write_bytes(content)
    return states_in.parent


def saved(random: Random, state: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=random.random() > 0.05)
    return stream.getvalue()


def short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def odd_part(random: Random, seeds: Seeds) -> Any:
    """An odd value, or a tensor of another shape, type or layout."""
    if random.random() < 0.5:
        return seeds.odd(random)
    shape = random.choice(((), (0,), (1,), (3,), (8, 8), (8, 8, 3, 3), (1, 256)))
    tensor = torch.full(
        shape, random.choice((0, 1, 100)), dtype=random.choice((torch.float32, torch.uint8, torch.int64))
    )
    return random.choice(
        (tensor, tensor * torch.nan, tensor.bool(), tensor.double(), torch.zeros(1).expand(10**12), tensor.to_sparse())
    )


def caches(random: Random, folder: Path, seeds: Seeds) -> Path:
    """Pictures, and what is done to their cache: `spoil` does it, once there is one."""
    root = folder / "set"
    root.mkdir()
    for number in range(random.choice((1, 3, 6))):
        pixels = np.random.default_rng(random.getrandbits(32)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


def spoil(random: Random, pixels: Path, about: Path) -> None:
    """Damage a decoding cache: by a description, or anyhow."""
    act = random.random()
    faults = cache_faults.DECODED if act < 0.4 else cache_faults.REFUSED
    if act < 0.45:
        faults[random.choice(sorted(faults))](pixels, about)
        return
    for path in random.choice(((pixels,), (about,), (about,), (pixels, about))):
        path.write_bytes(mutated(random, path.read_bytes(), random.choice(ODD_TEXTS)[:5000]))


def spoil_features(random: Random, path: Path) -> None:
    if random.random() < 0.5:
        cache_faults.FEATURES[random.choice(sorted(cache_faults.FEATURES))](path)
    else:
        path.write_bytes(mutated(random, path.read_bytes(), path.read_bytes()))


def statistics(random: Random, folder: Path, seeds: Seeds) -> Path:
    """Saved statistics: covariances and what is none, of odd numbers, types and shapes; damaged bytes."""
    act = random.random()
    if act < 0.3:
        arrays_in: dict[str, Any] = dict(random.choice(list(cache_faults.STATISTICS.values()))[0])
    elif act < 0.5:
        arrays_in = dict(random.choice(list(cache_faults.COVARIANCES.values())))
    else:
        spread = [random.choice((0.0, 1.0, -1.0, 1e-12, 1e30, 1e300, -1e-9)) for _ in range(random.choice((1, 2, 5)))]
        arrays_in = cache_faults.statistics(cache_faults.spectrum(*spread), random.choice((0.0, 1.0, 1e200, np.nan)))
    if random.random() < 0.3:
        name = random.choice(("mu", "sigma"))
        values = np.atleast_1d(arrays_in[name])
        arrays_in[name] = random.choice((random.choice(seeds.arrays), values[:1], values.astype("f4"), np.array(3.0)))
    if random.random() < 0.3:
        arrays_in["rggan"] = np.array(text_of(random, {"images": 5, "extractor": "steering"}, seeds).decode("latin-1"))
    path = folder / "statistics.npz"
    np.savez(path, **{name: np.asarray(values) for name, values in arrays_in.items()})
    if random.random() < 0.2:
        path.write_bytes(mutated(random, path.read_bytes(), b""))
    return path
