"""The options of a run that was asked for: those that were given, and what they bring along."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rggan.auto import chosen, settled
from rggan.config import TrainConfig
from rggan.data.named import check_named
from rggan.errors import UserError, nearest
from rggan.networks import FAMILIES
from rggan.options import CHANGEABLE, HERE
from rggan.presets import DEFAULT, pruning
from rggan.run.folder import Run
from rggan.run.places import OPTIONS


class NoPictures(UserError):
    """Nothing says what to train on."""


def asked(given: Mapping[str, Any]) -> tuple[TrainConfig, list[str]]:
    """What `rggan train` takes with these options, and the lines that say what `cfg` and `score` auto chose, and why.

    `config` or `resume` bring along the options of another run, `cfg` or `network` theirs; where none of them is given
    it is `cfg` auto.

    Raises:
        NoPictures: none are named. UserError: no such option, file, run, preset or family; options that exclude each
            other.

    >>> config, why = asked({"data": "digits", "device": "cpu"})
    >>> config.network, len(why)
    ('sngan', 4)
    >>> asked({"data": "digits", "network": "fastgan"})[1]
    []
    """
    config, why = unsettled(given)
    config, chosen_score = with_score(config)
    return config, [*why, *chosen_score]


def with_score(config: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """With what `score` auto takes, so that the run's config.json has it, and the line that says so."""
    score, why = settled(config)
    return (dataclasses.replace(config, score=score) if why else config), why


def unsettled(given: Mapping[str, Any]) -> tuple[TrainConfig, list[str]]:
    """`asked`, with `score` as it was given."""
    known = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in given:
        if name not in known:
            raise UserError(f"There is no option {name}{nearest(name, known) or '.'}")
    file, run, cfg, network = (given.get(name) for name in ("config", "resume", "cfg", "network"))
    if file is not None and run is not None:
        raise UserError("`config` starts a run like another, `resume` continues one: give one of them.")
    if cfg is not None and (file is not None or run is not None):
        raise UserError("`cfg` starts a run by its own settings: leave it out beside `config` and `resume`.")
    if file is not None:
        return like(Path(file), given), []
    if run is not None:
        return continued(Path(run), given), []
    if "data" not in given:
        raise NoPictures(
            "Training needs pictures: `rggan train PICTURES` takes a folder or a zip of them, `rggan train digits` the "
            "built-in handwritten digits."
        )
    if cfg not in (None, "auto") and network is not None:
        raise UserError("`cfg` names a network already: leave `network` out, or give `cfg` auto.")
    if cfg == "auto" or (cfg is None and network is None):
        options, why = chosen(given)
        return TrainConfig(**options), why
    if cfg is None and network != DEFAULT:
        FAMILIES.get(str(network))
    return TrainConfig.of(str(cfg or network), **given), []


def like(file: Path, given: Mapping[str, Any]) -> TrainConfig:
    """A run with the options of that config.json, but for those that are given."""
    config = TrainConfig.from_json(file)
    if "data" not in given:
        check_named(file, config.data, "name it yourself if it shall be read, as PICTURES (`data`)")
    if (config.networks, config.target_d) == ("d", "auto"):  # that run left it open, too
        return dataclasses.replace(config, **{**pruning(given), **given})
    return dataclasses.replace(config, **given)


def continued(run: Path, given: Mapping[str, Any]) -> TrainConfig:
    """The options of this run with those that are given."""
    before = TrainConfig.from_json(Run.named(run).path / OPTIONS)
    if "data" not in given:
        check_named(run, before.data, "name it yourself if it shall be read, as PICTURES (`data`)")
    here = {"outdir": run.parent, **given}
    if here.get("score") == "auto":  # what that took when the run began
        del here["score"]
    try:
        return dataclasses.replace(before, **here)
    except UserError:
        # What a run cannot change is the reason, more than what it does not go with.
        for name, value in here.items():
            if name not in (*CHANGEABLE, *HERE) and str(value) != str(old := getattr(before, name)):
                raise UserError(
                    f"{run} differs in `{name}` ({old} there, {value} here): a run cannot change that; leave it out, "
                    "or train another run without `resume`."
                ) from None
        raise
