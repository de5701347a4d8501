"""Which weights are pruned. A rule sees all layers of one network; a schedule decides when it acts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

from rggan.pruning.form import fitted
from rggan.pruning.kind import Kind, as_kind, own_rule_kind
from rggan.pruning.layer import Layer
from rggan.pruning.regrowth import Regrowth
from rggan.pruning.target import Course, Target


class Rule:
    """The interface that a `Pruner` calls. The base class prunes nothing.

    `begin` runs once, when a pruner takes the rule. While the pruner prunes, `gradient` runs before each optimizer
    step and converts the dense gradient into the one that the optimizer sees, and `update` runs after it and updates
    the masks. `refresh` rebuilds the masks from the rule's state when pruning resumes after a dense phase. Whenever one
    of them runs, `layer.weight` holds the dense weight. They run at every step and must not synchronise with the device
    (no `.item()`). If several optimizers train one network, `gradient` gets the layers of the one that steps, `update`
    all of them.

    min_fan: the minimum number of unmasked weights in each output neuron and each input channel, enforced whatever the
    rule does; 0: none.
    binary: whether its masks are 0 or 1, rather than between.
    masked: what an optimizer step does to masked weights. 'train': they are updated like all others, and stored by the
    pruner. 'freeze': they are stored unchanged, bit for bit, whatever momentum and weight decay do. 'zero': they are
    lost.
    """

    min_fan = 0
    binary = False
    masked: Literal["train", "freeze", "zero"] = "train"
    reached = True  # whether the masks have reached their target density
    taken = False  # by a pruner: a rule has state, and serves one network
    behind_norm = False  # whether the mask is applied after a spectral norm, rather than before it
    target: Target | Course | None = None  # the course of its density
    regrowth: Regrowth | None = None  # regrows weights by importance

    @property
    def courses(self) -> list[Course]:
        """The courses of its densities; empty without a target."""
        if isinstance(self.target, Target):
            return list(self.target.courses.values())
        return [] if self.target is None else [self.target]

    def begin(self, layers: Sequence[Layer]) -> None: ...

    def gradient(self, layers: Sequence[Layer]) -> None: ...

    def update(self, layers: Sequence[Layer]) -> None: ...

    def refresh(self, layers: Sequence[Layer]) -> None: ...

    def places(self) -> Hashable:
        """Where tensors of its own lie that others may replace."""
        return ()

    def prepare(self, layers: Sequence[Layer]) -> None:
        """Before a step that may be recorded: write the numbers that it depends on to tensors on the device."""

    def plan(self) -> Hashable | None:
        """What the Python of `gradient` and `update` depends on at the next step besides tensors, which are changed in
        place; None: it must run. A step can be recorded as a CUDA graph once for each plan; a replay counts `steps`.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def checked(self, state: dict[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
        """Returns the state if `load_state_dict` can take it. Nothing is changed.

        Raises:
            ValueError, KeyError, TypeError: the state is invalid.
        """
        return dict(state)

    def fitted(self, state: dict[str, Any]) -> dict[str, Any]:
        """Returns the state if its types, lengths and shapes are those of the current one; for `checked`.

        Raises:
            ValueError: they are not.
        """
        clean: dict[str, Any] = fitted(self.state_dict(), state, "rule")
        if clean.get("steps", 0) < 0:
            raise ValueError("the rule's steps are none")
        return clean


def rule_kind(found: Any) -> Kind[Rule]:
    """See `as_kind`."""
    return as_kind(found, Rule, own_rule_kind)
