"""What differs between the options of runs, in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rggan.config import TrainConfig
from rggan.generation.discreet import told
from rggan.methods import RULES, SCHEDULES
from rggan.networks import FAMILIES
from rggan.options import HERE, OF_ANY_RULE, OF_RULES, OF_SCHEDULES, schedule_of
from rggan.presets import pruning, settings


def shown(name: str, value: Any) -> str:
    """
    >>> shown("target_g", 0.5), shown("target_g", None), shown("mirror", True)
    ('target_g 0.5', 'no target_g', 'mirror')
    """
    if value is True:
        return name
    return f"no {name}" if value is None or value is False else f"{name} {value}"


def in_backticks(name: str, value: Any) -> str:
    """For sentences and labels in which the command line spells options its own way.

    >>> in_backticks("target_g", 0.5), in_backticks("target_g", None), in_backticks("mirror", False)
    ('`target_g` 0.5', 'no `target_g`', '`mirror=False`')
    """
    return f"`{name}=False`" if value is False else shown(f"`{name}`", f"{value:g}" if type(value) is float else value)


def labels(runs: Sequence[dict[str, Any]], say: Callable[[str, Any], str] = shown) -> list[str]:
    """For each run (its saved options) those in which the runs differ; '' where they differ in nothing but the seed.

    Of paths stand the last parts alone (`discreet`): labels are on pages and plots. say: an option and its value.

    >>> labels([{"rule": "none", "seed": 0}, {"rule": "threshold", "seed": 0}, {"rule": "threshold", "seed": 1}])
    ['rule none', 'rule threshold', 'rule threshold']
    >>> labels([{"init": "a/best"}, {"init": "b/best"}, {"init": "a/best"}])
    ['init best', 'init best (2)', 'init best']
    """
    options = [meant(each) for each in runs]
    names = [name for name in dict.fromkeys(name for each in options for name in each) if name not in (*HERE, "seed")]
    differ = [name for name in names if len({json.dumps(each.get(name)) for each in options}) > 1]
    found = [{name: each.get(name) for name in differ if matters(name, each)} for each in options]
    texts = [", ".join(say(name, told(value)) for name, value in each.items()) for each in found]
    return numbered(texts, [json.dumps(each) for each in found])


def numbered(texts: Sequence[str], of: Sequence[str]) -> list[str]:
    """The texts, with a number where one would stand for several things.

    >>> numbered(["a", "a", "b", "a"], ["x", "y", "z", "x"])
    ['a', 'a (2)', 'b', 'a']
    """
    things: dict[str, list[str]] = {}
    for text, thing in zip(texts, of, strict=True):
        if thing not in things.setdefault(text, []):
            things[text].append(thing)
    places = [things[text].index(thing) + 1 for text, thing in zip(texts, of, strict=True)]
    return [text if place == 1 else f"{text} ({place})" for text, place in zip(texts, places, strict=True)]


def meant(saved: dict[str, Any]) -> dict[str, Any]:
    """Returns all options of a run; those that are missing, or have no effect, have their default."""
    default = TrainConfig().to_json()
    options = {**default, **saved}
    return {name: value if matters(name, options) else default.get(name) for name, value in options.items()}


def matters(name: str, options: dict[str, Any]) -> bool:
    """Whether an option has an effect with the run's rule and schedule.

    >>> matters("period", {"rule": "threshold", "schedule": "periodic"}), matters("target_g", {"rule": "none"})
    (True, False)
    """
    rule = str(options.get("rule"))
    if name in (*OF_RULES, *OF_ANY_RULE) and rule == "none":
        return False
    # The options of a rule or schedule that is not installed are unknown: its code is not run for a plot.
    if name in OF_RULES and RULES.knows(rule) and name not in RULES.get(rule).options:
        return False
    if name == "fade" and options.get("finale"):
        return True
    networks = [network for network in ("g", "d") if options.get("networks", "both") in ("both", network)]
    used = {schedule_of(options, network) for network in networks}
    return name not in OF_SCHEDULES or any(
        not SCHEDULES.knows(schedule) or name in SCHEDULES.get(schedule).options for schedule in used
    )


def base(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a training takes where these options alone are given: of the run's network, if it is known here."""
    plain = TrainConfig().to_json()
    network = options.get("network", plain["network"])
    if not isinstance(network, str) or not FAMILIES.knows(network):
        return {**plain, **pruning(given)}
    return {**plain, **settings(network), **pruning(given)}


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that have to be given to train the same: which networks are pruned depends on the others.

    >>> saved = TrainConfig.of("sngan", data="pictures", target_g=0.5, networks="both", target_d="auto").to_json()
    >>> given(saved)
    {'target_g': 0.5}
    """
    found: dict[str, Any] = {}
    for last in (
        ("networks", "target_d"),
        ("target_d",),
        (),
    ):  # what follows from others is looked at when those are known
        start = base(options, found)
        different = [name for name, value in options.items() if name in start and value != start[name]]
        found |= {name: options[name] for name in different if name not in (*HERE, "data", "network", *last)}
    if found.get("target_d", "") is None:  # a value that no option has: it follows from these
        del found["target_d"]
        found |= {name: options[name] for name in ("networks", "rule") if name in options}
    return {name: found[name] for name in options if name in found}
