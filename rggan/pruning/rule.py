"""WHICH weights are pruned. A rule sees all layers of one network; when it acts is a schedule's choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rggan.pruning.form import fitted
from rggan.pruning.kind import Kind, as_kind, own_rule_kind
from rggan.pruning.layer import Layer
from rggan.pruning.regrowth import Regrowth
from rggan.pruning.target import Course, Target


class Rule:
    """What a `Pruner` asks of a rule. The base class prunes nothing.

    `begin` runs once, when a pruner takes the rule. While the pruner prunes, `gradient` runs before each
    optimizer step and turns the dense gradient into what the optimizer sees, and `update` runs after it
    and moves the masks. `refresh` makes the masks from the rule's state, when pruning begins again after a
    dense phase. Whenever one of them runs, `layer.weight` holds the dense weight. None of them may wait for the
    device (no `.item()`): they run at every step. Where several optimizers train one network, `gradient` gets the
    layers of the one that steps, `update` all of them.

    min_fan: so many weights stay unmasked at least in each output neuron and in each input channel, by whatever the
    rule does; 0: as many as it likes.
    masked: what the optimizer's step does to masked weights. 'train': what it does to all others; they are kept
    aside meanwhile. 'freeze': they are kept aside, bit for bit, whatever momentum and decay do. 'zero': they are lost.
    """

    min_fan = 0
    masked: Literal["train", "freeze", "zero"] = "train"
    reached = True  # whether the masks have come to the density that they shall have
    taken = False  # by a pruner: a rule has state, and serves one network
    behind_norm = False  # whether the mask stands behind a spectral norm, rather than before it
    target: Target | Course | None = None  # where its densities go
    regrowth: Regrowth | None = None  # what brings weights back by their importance

    @property
    def courses(self) -> list[Course]:
        """Of its densities; none where it has no target."""
        if isinstance(self.target, Target):
            return list(self.target.courses.values())
        return [] if self.target is None else [self.target]

    def begin(self, layers: Sequence[Layer]) -> None: ...

    def gradient(self, layers: Sequence[Layer]) -> None: ...

    def update(self, layers: Sequence[Layer]) -> None: ...

    def refresh(self, layers: Sequence[Layer]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def checked(self, state: dict[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
        """A state, with the keys of the present one, that `load_state_dict` can take. Nothing is changed.

        Raises:
            ValueError, KeyError, TypeError: this is none.
        """
        return dict(state)

    def fitted(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state, if all in it has the type, length and shape of what is in the present one; for `checked`.

        Raises:
            ValueError: it has not.
        """
        clean: dict[str, Any] = fitted(self.state_dict(), state, "rule")
        if clean.get("steps", 0) < 0:
            raise ValueError("the rule's steps are none")
        return clean


def rule_kind(found: Any) -> Kind[Rule]:
    """See `as_kind`."""
    return as_kind(found, Rule, own_rule_kind)
