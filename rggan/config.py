"""The options of a training run together: checked, saved and read, compared."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rggan.auto import chosen
from rggan.bounded import read_json
from rggan.data.decode import parse_size
from rggan.data.source import FORMS, named_form
from rggan.data.streams.hub import STREAM
from rggan.data.streams.tars import runs_command
from rggan.declared import Options
from rggan.errors import UserError, first_line, nearest
from rggan.methods import RULES, SCHEDULES
from rggan.networks import FAMILIES
from rggan.options import HERE, check_kinds, check_options, schedule_of
from rggan.presets import PRESETS, pruning, settings
from rggan.registry import COMMAND, PLACE, TRUSTED, Registry
from rggan.steps import LOSSES

NEVER_SAVED = ("config", "dry_run", "resume", "cfg", "callbacks", "track")


@dataclass(frozen=True)
class TrainConfig(Options):
    """The options of a training run, checked.

    `TrainConfig.of("auto", data="pictures")` is what `rggan train pictures` takes; `TrainConfig()`, the paper's method.
    """

    def __post_init__(self) -> None:
        """Raises UserError for a value out of its range."""
        check_kinds(self)
        check_options(self)

    def schedule_of(self, network: Literal["g", "d"]) -> str:
        """The schedule of one network.

        >>> TrainConfig(target_d="auto").schedule_of("d"), TrainConfig(target_d="auto").schedule_of("g")
        ('always', 'score')
        """
        return schedule_of(vars(self), network)

    def granularity_of(self, network: Literal["g", "d"]) -> str:
        """What is pruned together in one network.

        >>> TrainConfig(granularity_g="row").granularity_of("g"), TrainConfig(granularity_g="row").granularity_of("d")
        ('row', 'weight')
        """
        own: str | None = getattr(self, f"granularity_{network}")
        return own or self.granularity

    @classmethod
    def of(cls, name: str, **options: Any) -> TrainConfig:
        """The settings of a preset or a family of networks, and what is pruned by default (`presets.pruning`), with
        these options instead of theirs. 'auto' chooses by the pictures at `data` and by the device.

        Raises:
            UserError: there is no such preset or family; or 'auto' is given no pictures.

        >>> config = TrainConfig.of("fastgan", batch=8)
        >>> config.beta1, config.networks, config.target_d
        (0.5, 'd', 'auto')
        >>> config = TrainConfig.of("auto", data="digits", device="cpu", batch=8)
        >>> config.network, config.width_g, config.batch
        ('sngan', 32, 8)
        """
        if name == "auto":
            return cls(**chosen(options)[0])
        if name not in PRESETS and ":" not in name and name not in FAMILIES.names():
            known = ["auto", *PRESETS, *FAMILIES.names()]
            raise UserError(f"Unknown `cfg` {name}; there are {', '.join(known)}{nearest(name, known) or '.'}")
        return cls(**{**settings(name), **pruning(options), **options})

    def to_json(self) -> dict[str, Any]:
        """What is saved beside the weights."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}
        for name in NEVER_SAVED:
            del values[name]
        for name in ("init", "init_d"):
            values[name] = None if getattr(self, name) is None else str(getattr(self, name))
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
            values = read_json(path)
            refuse_code(values)
            for name in ("callbacks", "track"):  # never from a file: code runs, and data are sent, where they are named
                values.pop(name, None)
            values["outdir"] = Path(values.get("outdir", "runs"))
            for name in ("init", "init_d"):
                if values.get(name) is not None:
                    values[name] = Path(values[name])
            return cls(**values)
        except UserError:  # its own sentence
            raise
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            why = getattr(error, "strerror", "") or first_line(error)
            raise UserError(f"Cannot take options from {path}: {why}.") from error

    def differences(self, saved: dict[str, Any]) -> dict[str, str]:
        """The options in which a saved run differs from this one, each with '`lr` (0.0002 there, 0.0001 here)'.

        Options that say where and how a run works do not count; those that the saved run does not know have
        their default there.
        """
        there, here = {**TrainConfig().to_json(), **saved}, self.to_json()
        return {
            name: f"`{name}` ({in_words(there[name])} there, {in_words(here[name])} here)"
            for name in here
            if name not in HERE and there[name] != here[name]
        }

    def same_run(self, saved: dict[str, Any]) -> bool:
        """Whether saved options describe this run (where it works may differ)."""
        return not self.differences(saved) and set(saved) <= set(self.to_json())


def in_words(value: Any) -> str:
    """
    >>> in_words(None), in_words(0.1), in_words(False)
    ('not given', '0.1', 'no')
    """
    return (
        "not given" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    )


def refuse_code(options: dict[str, Any]) -> None:
    """Raises ValueError where saved options name code that is not installed and that the user did not name."""
    registries: dict[str, Registry[Any]] = {"network": FAMILIES, "rule": RULES, "loss": LOSSES}
    registries |= dict.fromkeys(("schedule", "schedule_g", "schedule_d"), SCHEDULES)
    if (named := named_form(str(options.get("data")))) is not None and not FORMS.knows(named[0]):
        told = f"give `data` {options['data']} (train), or `trust` {named[0]} (others)"
        raise ValueError(f"it names code, which runs only where you name it too: {told}")
    if runs_command(data := str(options.get("data"))) and data not in TRUSTED:
        told = f"give `data` {data} (train), or `trust` {data} (others)"
        raise ValueError(f"it names a command, which runs only where you name it too: {told}")
    for name, registry in registries.items():
        value = options.get(name)
        if isinstance(value, str) and PLACE.fullmatch(value) and not registry.knows(value):
            flag = f"`{name}` {value}"
            told = f"give {flag} (train), or `trust` {value} (others)"
            raise ValueError(f"it names code, which runs only where you name it too: {told}")


def plain(data: str) -> str:
    """'pictures/' is 'pictures'; what may be no path stays as it is: hf:user/set, a command, or what a form of others
    reads.

    >>> plain("pictures/"), plain("hf:user/set"), plain("my_forms:WEB:https://a.org/b/")
    ('pictures', 'hf:user/set', 'my_forms:WEB:https://a.org/b/')
    """
    no_path = data.startswith(("hf:", STREAM, COMMAND)) or "://" in data or named_form(data) is not None
    return data if no_path else str(Path(data))
