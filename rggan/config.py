"""The options of a training run together: checked, saved and read, compared."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rggan.data.decode import parse_size
from rggan.data.source import FORMS, named_form
from rggan.declared import (
    Augmentation,
    AutoTarget,
    Data,
    Device,
    Finale,
    Keeping,
    Length,
    Loss,
    Network,
    Optimisation,
    Pruning,
    Schedule,
    Start,
)
from rggan.errors import UserError
from rggan.methods import RULES, SCHEDULES
from rggan.networks import FAMILIES
from rggan.options import HERE, check_options, schedule_of
from rggan.pairs import as_words
from rggan.presets import PRESETS, pruning, settings
from rggan.registry import PLACE, Registry
from rggan.steps import LOSSES

NEVER_SAVED = ("config", "dry_run", "resume", "cfg", "callbacks", "track")
WORDS = {"callbacks": "package.module:CALLBACK", "track": "tensorboard"}  # what options of several words look like


@dataclass(frozen=True)
class TrainConfig(  # fields of the last base come first
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

    # In Python: `TrainConfig()` is the paper's method, `TrainConfig.of(NETWORK)` what `rggan train` takes.

    def __post_init__(self) -> None:
        """Raises UserError for a value out of its range."""
        object.__setattr__(self, "data", str(self.data))
        object.__setattr__(self, "outdir", Path(self.outdir))
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            flag = f"`{name}`"
            if get_origin(kind) is tuple:
                if name == "track":
                    value = listed(value)
                words = as_words(value) if isinstance(value, Mapping | list | tuple) else (None,)
                if not all(isinstance(word, str) for word in words):
                    raise UserError(f"{flag} takes words like {WORDS.get(name, 'name=value')}, not {value!r}.")
                object.__setattr__(self, name, words if name in WORDS else tuple(sorted(words)))
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
            known = ", ".join([*PRESETS, *FAMILIES.names()])
            if name == "auto":
                raise UserError(
                    f"`cfg` auto looks at pictures, on the command line only; in Python take one of {known}."
                )
            raise UserError(f"Unknown `cfg` {name}; there are auto, {known}.")
        return cls(**{**settings(name), **pruning(options), **options})

    def to_json(self) -> dict[str, Any]:
        """What is saved beside the weights."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}
        for name in NEVER_SAVED:
            del values[name]
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
            for name in ("callbacks", "track"):  # never from a file: code runs, and data are sent, where they are named
                values.pop(name, None)
            values["outdir"] = Path(values.get("outdir", "runs"))
            if values.get("init") is not None:
                values["init"] = Path(values["init"])
            return cls(**values)
        except UserError:  # its own sentence
            raise
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"Cannot take options from {path}: {reason}.") from error

    def differences(self, saved: dict[str, Any]) -> dict[str, str]:
        """The options in which a saved run differs from this one, each with '`lr` (0.0002 there, 0.0001 here)'.

        Options that say where and how a run works do not count; those that the saved run does not know have
        their default there.
        """
        there, here = {**TrainConfig().to_json(), **saved}, self.to_json()
        return {
            name: f"`{name}` ({there[name]} there, {here[name]} here)"
            for name in here
            if name not in HERE and there[name] != here[name]
        }

    def same_run(self, saved: dict[str, Any]) -> bool:
        """Whether saved options describe this run (where it works may differ)."""
        return not self.differences(saved) and set(saved) <= set(self.to_json())


def listed(names: Any) -> Any:
    """Names that may stand together with commas, each once; what is neither text nor a list of it stays as it is.

    >>> listed("wandb, trackio"), listed(["wandb,trackio", "wandb"])
    (('wandb', 'trackio'), ('wandb', 'trackio'))
    """
    words = [names] if isinstance(names, str) else names
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return names
    return tuple(dict.fromkeys(part.strip() for word in words for part in word.split(",") if part.strip()))


def refuse_code(options: dict[str, Any]) -> None:
    """Raises ValueError where saved options name code that is not installed and that the user did not name."""
    registries: dict[str, Registry[Any]] = {"network": FAMILIES, "rule": RULES, "loss": LOSSES}
    registries |= dict.fromkeys(("schedule", "schedule_g", "schedule_d"), SCHEDULES)
    if (named := named_form(str(options.get("data")))) is not None and not FORMS.knows(named[0]):
        told = f"give `data` {options['data']} (train), or `trust` {named[0]} (others)"
        raise ValueError(f"it names code, which runs only where you name it too: {told}")
    for name, registry in registries.items():
        value = options.get(name)
        if isinstance(value, str) and PLACE.fullmatch(value) and not registry.knows(value):
            flag = f"`{name}` {value}"
            told = f"give {flag} (train), or `trust` {value} (others)"
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
