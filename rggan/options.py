"""Which values of the options of a training run make sense, and which options go together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rggan.data.decode import parse_color, parse_size
from rggan.data.depth import parse_white
from rggan.data.picture import parse_formats
from rggan.errors import UserError, nearest
from rggan.files import check_name
from rggan.methods import RULES, SCHEDULES, kind_of_rule, rules_with, schedules_with
from rggan.networks import FAMILIES, check_resolution
from rggan.pairs import as_words, read_pairs
from rggan.ranges import check_ranges, digits
from rggan.registry import called
from rggan.steps import LOSSES, Steps

TrainConfig = Any  # that of rggan.config, which looks itself through with what stands here

# Options that say where and how a run works, not what it computes: they may differ when it is resumed.
HERE = (
    *("outdir", "device", "compile", "capture", "memory_share", "keep", "on_write_error"),
    *("dry_run", "config", "resume", "cfg", "callbacks", "track"),
)
# Options that may change in the middle of a run (with --resume): no saved state has their shape.
CHANGEABLE = (
    *("data", "kimg", "lr", "lr_d", "ema", "aug", "mirror", "d_steps", "penalty", "threshold_lr", "precision"),
    *("gamma", "lecam", "path_length", "style_mixing", "dropout_d", "dynamic_d", "ada_target", "ada_kimg"),
    *("beta1", "beta2"),
    *("set_point", "adapt_kimg", "adapt_band", "lr_decay", "lr_dense", "finale", "finale_lr", "finale_ema"),
    *("patience", "rollbacks", "rollback_lr"),
)
# Options of pruning: a rule says which of the first mean something to it, any rule takes the second, a schedule says
# which of the third it has a use for. Others would be ignored: they are refused.
OF_RULES = (
    *("target_g", "target_d", "granularity", "granularity_g", "granularity_d", "regrow", "penalty", "threshold_lr"),
    *("floor", "ramp", "ramp_shape", "balance", "rewind", "distribution", "min_fan"),
)
OF_ANY_RULE = ("schedule", "schedule_g", "schedule_d", "networks", "fade", "dead_band", "period", "lr_dense")
OF_SCHEDULES = ("fade", "dead_band", "period")
WORDS = {"callbacks": "package.module:CALLBACK", "track": "tensorboard", "formats": "TGA"}  # what words look like
ADAPTIVE = ("signal", "set_point", "adapt_kimg", "adapt_band", "density_low", "density_high")  # of an 'auto' target
FINALE = ("finale_lr", "finale_ema", "finale_dense")


def check_kinds(config: Any) -> None:
    """Brings the options of an `Options` into one form ('data' as text, 'outdir' as a path, name=value sorted).

    Raises:
        UserError: a value of another kind than its option's.
    """
    object.__setattr__(config, "data", str(config.data))
    object.__setattr__(config, "outdir", Path(config.outdir))
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        flag = f"`{name}`"
        if get_origin(kind) is tuple:
            if name == "track":
                value = listed(value)
            words = as_words(value) if isinstance(value, Mapping | list | tuple) else (None,)
            if not all(isinstance(word, str) for word in words):
                raise UserError(f"{flag} takes words like {WORDS.get(name, 'name=value')}, not {value!r}.")
            object.__setattr__(config, name, words if name in WORDS else tuple(sorted(words)))
            continue
        choices = next((k for k in (kind, *get_args(kind)) if get_origin(k) is Literal), None)
        if choices is not None:
            if value not in get_args(choices) and not (value is None and type(None) in get_args(kind)):
                known = get_args(choices)
                raise UserError(f"{flag} is one of {', '.join(known)}, not {value}{nearest(str(value), known) or '.'}")
        else:
            kinds = get_args(kind) or (kind,)
            fits = (
                type(value) in kinds
                or (float in kinds and type(value) is int)
                or (Path in kinds and isinstance(value, Path))
            )
            if type(value) is int and abs(value) >= 10**30:
                raise UserError(f"{flag} cannot be {digits(value)}.")
            if not fits or (isinstance(value, float) and not math.isfinite(value)):
                raise UserError(f"{flag} cannot be {value!r}.")
            check_name(name, value)


def check_options(config: TrainConfig) -> None:
    """Raises UserError for a value out of its range, or for options that contradict each other."""
    if config.resolution is not None:
        parse_size(config.resolution)
    parse_color(config.background)
    for name, parse in (("white_level", parse_white), ("formats", parse_formats)):
        object.__setattr__(config, name, parse(getattr(config, name)))
    check_ranges(vars(config))
    check_course(config)
    check_rule(config)
    check_network(config)


def check_course(config: TrainConfig) -> None:
    """Raises UserError for targets, and shares of the run, that are none or exclude each other."""
    for name in ("target_g", "target_d"):
        target = getattr(config, name)
        flag = f"`{name}`"
        if isinstance(target, str) and (number := number_of(target)) is not None:  # as the command line reads it
            target = number
            object.__setattr__(config, name, number)
        if isinstance(target, float | int) and not 0 < target <= 1:
            raise UserError(f"{flag} is a density: above 0 and at most 1, not {target}.")
        if isinstance(target, str):  # a run
            check_name(name, Path(target))
    if not 0 < config.density_low <= config.density_high <= 1:
        raise UserError(
            f"`density_low` {config.density_low} and `density_high` {config.density_high} exclude each other: 0 < low "
            "<= high <= 1."
        )
    default = {field.name: field.default for field in dataclasses.fields(config)}
    if "auto" not in (config.target_g, config.target_d):
        own = FAMILIES.get(config.network).settings  # what a family brings is not asked for
        for name in ADAPTIVE:
            if getattr(config, name) not in (default[name], own.get(name, default[name])):
                raise UserError(f"`{name}` goes with `target_d` auto or `target_g` auto.")
    for name in FINALE:
        if not config.finale and getattr(config, name) != default[name]:
            raise UserError(f"`{name}` goes with `finale`.")
    if config.rewind is not None and config.rewind >= config.kimg:
        raise UserError(f"`rewind` {config.rewind:g} lies outside the run of {config.kimg:g} kimg.")


def check_network(config: TrainConfig) -> None:
    """Raises UserError for options that the network or the augmentation has no use for, or that contradict."""
    default = {field.name: field.default for field in dataclasses.fields(config)}
    family = FAMILIES.get(config.network)
    loss = LOSSES.get(config.loss)
    if loss.steps is not None and family.steps is not Steps:
        raise UserError(
            f"`loss` {config.loss} brings its own training steps, and so does `network` {config.network}: replace one."
        )
    for name, titles in only_of_families().items():
        if name not in family.options and getattr(config, name) != default[name]:
            raise UserError(f"`{name}` means nothing with `network` {config.network}: it is {titles}'s.")
    keep_values(config, "network_options", given_to_network(config))
    network_arguments(config)
    for name in ("ada_target", "ada_kimg"):
        if config.aug != "ada" and getattr(config, name) != default[name]:
            raise UserError(f"`{name}` means nothing with `aug` {config.aug}: it goes with ada.")
    for asked, record in ((f"`network` {config.network}", family), (f"`loss` {config.loss}", loss)):
        if (reason := called(asked, record.refuses, vars(config))) is not None:
            raise UserError(reason)
    penalised = bool(config.gamma) or config.path_length > 0 or (config.gamma is None and family.r1 is not None)
    if config.compile and penalised:
        raise UserError(
            "`compile` and a gradient penalty exclude each other (torch.compile has no second derivative): "
            "leave `compile` out, or give `gamma` 0 and no `path_length`."
        )
    kind = kind_of_rule(config.rule)
    if kind is not None and kind.behind_norm and family.normed_generator:
        raise UserError(
            f"`rule` {config.rule} masks behind the spectral norm, and {config.network}'s G has one: its EMA cannot "
            "follow. Take `rule` hard, or another `network`."
        )
    if config.init is None and (config.init_d is not None or config.freeze_d):
        raise UserError("`init_d` (the run that D starts from) and `freeze_d` (its blocks that stay) go with `init`.")
    if config.resolution is not None:
        check_resolution(parse_size(config.resolution), family.sizes)


def only_of_families() -> dict[str, str]:
    """The options of a run that mean something to some built-in families only, and what these are called.

    >>> only_of_families()["style_mixing"]
    'Projected StyleGAN2 and StyleGAN2'
    """
    found: dict[str, list[str]] = {}
    for family in map(FAMILIES.get, FAMILIES.builtin):
        for name in family.options:
            found.setdefault(name, []).append(family.sizes.title)
    return {name: " and ".join(titles) for name, titles in found.items()}


def own_of_network(config: TrainConfig) -> dict[str, int]:
    """What the family's generator takes besides the options of a run, with its defaults."""
    arguments = FAMILIES.get(config.network).arguments
    return {name: argument.default for name, argument in arguments.items() if name not in vars(config)}


def given_to_network(config: TrainConfig) -> dict[str, Any]:
    """The values of `network_options`.

    Raises:
        UserError: the family has no such options.
    """
    return read_pairs(config.network_options, own_of_network(config), "`network_options`")


def keep_values(config: TrainConfig, name: str, values: Mapping[str, Any]) -> None:
    """Write options of one's own as their values read, so that strength=0.50 is the same run as strength=0.5."""
    object.__setattr__(config, name, tuple(sorted(as_words(values))))


def network_arguments(config: TrainConfig) -> dict[str, int]:
    """What the generator takes besides what all take: from the option of this name, or from `network_options`.

    Raises:
        UserError: a name or value that the family has no use for.
    """
    family = FAMILIES.get(config.network)
    own = own_of_network(config)
    given = {**own, **given_to_network(config)}
    found = {name: given[name] if name in given else getattr(config, name) for name in family.arguments}
    for name, value in found.items():
        low, high = family.arguments[name][1:]
        if not low <= value <= high:
            flag = f"`network_options` {name}" if name in own else f"`{name}`"
            raise UserError(f"{flag} lies from {low} to {high}, not at {value}.")
    return found


def check_rule(config: TrainConfig) -> None:
    """Raises UserError for options of pruning that the rule or the schedule has no use for."""
    default = {field.name: field.default for field in dataclasses.fields(config)}
    kind = kind_of_rule(config.rule)
    for name in (*OF_RULES, *OF_ANY_RULE):
        if getattr(config, name) == default[name] or (kind and (name in OF_ANY_RULE or name in kind.options)):
            continue
        rules = rules_with(name) if name in OF_RULES else tuple(RULES.builtin)
        raise UserError(f"`{name}` means nothing with `rule` {config.rule}; it goes with {', '.join(rules)}.")
    keep_values(config, "rule_options", own_of_rule(config))
    used = [config.schedule_of(name) for name in ("g", "d") if config.networks in ("both", name)]
    uses = {option for name in used for option in SCHEDULES.get(name).options}
    for name in OF_SCHEDULES:
        if name == "fade" and config.finale and config.finale_dense and config.networks != "d":
            continue
        if getattr(config, name) != default[name] and name not in uses:
            there, schedules = " and ".join(dict.fromkeys(used)), ", ".join(schedules_with(name))
            raise UserError(f"`{name}` means nothing with `schedule` {there}; it goes with {schedules}.")
    own = own_of_schedules(config, used)
    keep_values(config, "schedule_options", {name: v for values in own.values() for name, v in values.items()})
    targets = {name: getattr(config, f"target_{name}") for name in ("g", "d") if config.networks in ("both", name)}
    if any(config.granularity_of(name) == "row" for name in targets):
        check_rows(config, kind is not None and kind.penalised)
    for name in ("g", "d"):
        for option in (f"target_{name}", f"schedule_{name}", f"granularity_{name}"):
            if getattr(config, option) is not None and name not in targets:
                raise UserError(f"`{option}` means nothing with `networks` {config.networks}.")
    gradual = kind is not None and kind.ramps
    ramps = [t for t in targets.values() if isinstance(t, float | int) or (t is None and gradual)]
    for name in ("ramp", "ramp_shape"):
        if getattr(config, name) != default[name] and not ramps:
            raise UserError(f"`{name}` leads to a target: it goes with `target_g`, `target_d`.")
    if kind is not None and kind.penalised and "target_g" in kind.options:
        for name in ("distribution", "min_fan"):
            if getattr(config, name) is not None and not any(targets.values()):
                raise UserError(f"`{name}` goes with a target: give `target_g` or `target_d`.")
        if config.penalty is not None and all(targets.values()):
            raise UserError("`penalty` decides how many weights go where no target does: leave one of them out.")
        for name, target in targets.items():
            least = config.density_low if target == "auto" else target
            if isinstance(least, float | int) and config.regrow >= least:
                what = "`density_low`" if target == "auto" else f"`target_{name}`"
                raise UserError(f"`regrow` {config.regrow} must be below {what} {least:g}; raise that, or regrow less.")
    if config.balance and config.networks != "both":
        raise UserError("`balance` moves D's density by what G does: it goes with `networks` both.")
    if config.balance and isinstance(config.target_d, str):
        raise UserError("`balance` moves D's density, and so does `target_d` auto: leave one of them out.")
    check_along(config, bool(ramps), used)


def check_rows(config: TrainConfig, offset: bool) -> None:
    """Raises UserError for what does not go with whole rows. offset: whether thresholds are shifted to a target."""
    if config.min_fan:
        raise UserError("`min_fan` is for single weights; with `granularity` row whole neurons go.")
    if (spread := config.distribution) == "erk" or (spread == "even" and offset):
        raise UserError(f"`distribution` {spread} is for single weights; with `granularity` row take global.")


def check_along(config: TrainConfig, ramps: bool, used: Sequence[str]) -> None:
    """Raises UserError for what shall happen along the run to networks that it cannot happen to.

    ramps: whether one of the networks' densities comes to its end by the clock. used: their schedules.
    """
    prunes_g = config.rule != "none" and config.networks != "d"
    if config.rule != "none" and config.schedule != "score" and config.schedule not in used:
        raise UserError(f"`schedule` {config.schedule} is used by neither network: leave it out.")
    if not config.finale_dense and not prunes_g:
        raise UserError("`finale_dense=False` keeps G sparse in the finale, and here G is not pruned: leave it out.")
    if config.lr_dense != 1 and (not prunes_g or config.schedule_of("g") == "always"):
        raise UserError("`lr_dense` is G's rate in dense phases, and here G has none: leave it out.")
    if config.rewind is None:
        return
    if not ramps:
        raise UserError("`rewind` waits until a target is reached: give `target_g` or `target_d` a density.")
    ramp = config.kimg / 2 if config.ramp is None else config.ramp
    if config.rewind >= ramp:
        raise UserError(
            f"`rewind` {config.rewind:g} must be below `ramp` {ramp:g}: it goes back to weights of before the target "
            "was reached."
        )


def own_of_rule(config: TrainConfig) -> dict[str, Any]:
    """The values of `rule_options`.

    Raises:
        UserError: the rule has no such options.
    """
    kind = kind_of_rule(config.rule)
    return read_pairs(config.rule_options, {} if kind is None else kind.own, "`rule_options`")


def own_of_schedules(config: TrainConfig, used: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The values of `schedule_options`, for each of the schedules that are used: those that it knows.

    Raises:
        UserError: none of them has such an option.
    """
    known = {name: SCHEDULES.get(name).own for name in used}
    every = {name: default for own in known.values() for name, default in own.items()}
    given = read_pairs(config.schedule_options, every, "`schedule_options`")
    return {name: {option: v for option, v in given.items() if option in own} for name, own in known.items()}


def schedule_of(options: Mapping[str, Any], network: str) -> str:
    """The schedule of one network, 'g' or 'd': its own, 'always' where its density follows something, or that of both.

    >>> schedule_of({"schedule": "score", "target_d": "auto"}, "d")
    'always'
    """
    follows = isinstance(options.get(f"target_{network}"), str)
    own: str | None = options.get(f"schedule_{network}")
    return own or ("always" if follows else options.get("schedule", "score"))


def number_of(text: str) -> float | None:
    """
    >>> number_of("0.5"), number_of("runs/00001")
    (0.5, None)
    """
    try:
        return float(text)
    except ValueError:
        return None


def listed(names: Any) -> Any:
    """Names that may stand together with commas, each once; what is neither text nor a list of it stays as it is.

    >>> listed("wandb, trackio"), listed(["wandb,trackio", "wandb"])
    (('wandb', 'trackio'), ('wandb', 'trackio'))
    """
    words = [names] if isinstance(names, str) else names
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return names
    return tuple(dict.fromkeys(part.strip() for word in words for part in word.split(",") if part.strip()))
