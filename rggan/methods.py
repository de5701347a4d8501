"""Which weights are pruned, and when: rules and schedules by name."""

from __future__ import annotations

from rggan.pruning.kind import Kind
from rggan.pruning.rule import Rule, rule_kind
from rggan.pruning.schedule import Schedule, schedule_kind
from rggan.registry import Registry

NONE = "none"  # no rule: dense training
RULES: Registry[Kind[Rule]] = Registry(
    "`rule`",
    {
        "threshold": "rggan.pruning.threshold:KIND",
        "hard": "rggan.pruning.threshold:HARD",
        "published": "rggan.pruning.published:KIND",
        "magnitude": "rggan.pruning.ranking:MAGNITUDE",
        "oneshot": "rggan.pruning.ranking:ONE_SHOT",
        "static": "rggan.pruning.ranking:STATIC",
        "set": "rggan.pruning.evolving:KIND",
        "rigl": "rggan.pruning.evolving:RIGL",
    },
    "rggan.rules",
    rule_kind,
    besides=(NONE,),
)
SCHEDULES: Registry[Kind[Schedule]] = Registry(
    "`schedule`",
    {
        "score": "rggan.pruning.schedule:SCORE",
        "always": "rggan.pruning.schedule:ALWAYS",
        "periodic": "rggan.pruning.schedule:PERIODIC",
        "overfit": "rggan.pruning.overfit_schedule:KIND",
        "never": "rggan.pruning.schedule:NEVER",
    },
    "rggan.schedules",
    schedule_kind,
)


def kind_of_rule(name: str) -> Kind[Rule] | None:
    """None for 'none', which is no rule.

    Raises:
        UserError: there is none of this name.

    >>> kind_of_rule("published").behind_norm
    True
    """
    return None if name == NONE else RULES.get(name)


def rules_with(option: str) -> tuple[str, ...]:
    """The built-in rules to which an option of a run means something.

    >>> rules_with("balance")
    ('set', 'rigl')
    """
    return tuple(name for name in RULES.builtin if option in RULES.get(name).options)


def schedules_with(option: str) -> tuple[str, ...]:
    """
    >>> schedules_with("dead_band")
    ('score', 'overfit')
    """
    return tuple(name for name in SCHEDULES.builtin if option in SCHEDULES.get(name).options)
