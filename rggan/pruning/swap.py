"""Swaps the weights: dense for each optimizer step, sparse in between. Also handles the two phases."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal

import torch
from torch.optim import Optimizer

from rggan.pruning.broadcast import broadcast_tensors
from rggan.pruning.fan import hold
from rggan.pruning.layer import Layer
from rggan.pruning.optimizers import Hooks, PruningWarning, plain_optimizers, trainers
from rggan.pruning.published import BehindNorm
from rggan.pruning.rule import Rule
from rggan.pruning.whole import close_all, keep_alive, open_all


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Disables gradients, and inference mode, whose tensors cannot be used outside of it."""
    with torch.inference_mode(False), torch.no_grad():
        yield


class Swap:
    """Applies a rule to the layers of one network at each step of the optimizers that train it.

    name: of the network, for messages.
    """

    def __init__(self, name: str, layers: Sequence[Layer], rule: Rule, optimizers: Sequence[Optimizer]) -> None:
        self.name, self.layers, self.rule, self.optimizers = name, list(layers), rule, list(optimizers)
        self.phase: Literal["prune", "dense"] = "prune"
        self.fading: tuple[int, int] | None = None  # (steps done, all steps) while integrated weights fade in
        self.fixed = False  # whether the masks are fixed
        self.steps = [0] * len(self.optimizers)
        self._open = 0  # nesting depth of `dense()`
        self._stepping: set[int] = set()  # optimizers between their gradients and the end of their step
        self._stepped: set[int] = set()  # optimizers that stepped since the rule's last update
        self._strangers: weakref.WeakSet[Optimizer] = weakref.WeakSet()  # other optimizers, already checked
        self._noticed: list[int] | None = None  # steps at the last evaluation
        self._warned: set[str] = set()
        self._loaded = any(bool(one.state) for one in self.optimizers)  # the optimizer was in use before
        self._move(self.rule.begin)
        # DistributedDataParallel may yet broadcast the weights of rank 0: the masks must then follow.
        self._unsent = any(bool((layer.mask != 1).any()) for layer in self.layers)
        self.hooks = Hooks(self.optimizers, self._before, self._after, self._foreign)

    # ---- between an optimizer's gradients and the end of its step ----

    @torch.no_grad()
    def _before(self, optimizer: Optimizer) -> None:
        if not any(self.steps) and not self._loaded and optimizer.state:
            self._warn(
                f"{self.name}: its optimizer was loaded, its Pruner was not, and begins with all masks "
                "one: call pruner.load_state_dict() too",
                above=4,
            )
        layers = self._of(optimizer)
        if all(layer.weight.grad is None for layer in layers):
            return  # it trains another network too, and this step is for that one
        self._stepping.add(id(optimizer))
        if self.phase == "dense" and self.fading is None:
            return
        if self._unsent:
            broadcast_tensors([t for layer in self.layers for t in (layer.mask, layer.threshold, layer.aside)])
            self._unsent = False
        open_all(layers)
        if self.phase == "prune" and not self.fixed:
            self.rule.gradient(layers)
            return
        for layer in layers:  # the derivative of weight * mask
            if layer.weight.grad is not None and not isinstance(layer, BehindNorm):
                layer.weight.grad.mul_(layer.mask)

    @torch.no_grad()
    def _after(self, optimizer: Optimizer) -> None:
        if id(optimizer) not in self._stepping:
            return  # its closure was not called, or the step was for another network
        self._stepping.remove(id(optimizer))
        self.steps[self.optimizers.index(optimizer)] += 1
        if self.phase == "dense" and self.fading is None:
            return
        layers = self._of(optimizer)
        for layer in layers if self.phase == "prune" else ():
            if self.fixed or self.rule.masked == "freeze":
                layer.freeze()
            elif self.rule.masked == "zero":
                layer.weight.mul_(layer.mask)
        # A round ends when all optimizers have stepped, or when one of them steps again before the others.
        again = id(optimizer) in self._stepped
        self._stepped.add(id(optimizer))
        if again or len(self._stepped) == len(self.optimizers):
            self._stepped = {id(optimizer)} if again else set()
            self._finish()
        else:
            self._close(layers)

    def _finish(self) -> None:
        """Update the masks at the end of a round."""
        if self.phase == "prune":
            if not self.fixed:
                self._move(self.rule.update)
            else:
                self._close(self.layers)
        elif self.fading is not None:
            done, steps = self.fading[0] + 1, self.fading[1]
            with self.dense():
                self.fading = (done, steps) if done < steps else None
                for layer in self.layers:
                    layer.mask.clamp_(min=done / steps)

    def _move(self, change: Callable[[Sequence[Layer]], None]) -> None:
        with plainly(), self.dense():
            change(self.layers)
            if self.rule.min_fan and self.phase == "prune":
                hold(self.layers, self.rule.min_fan)
            keep_alive(self.layers)

    def _of(self, optimizer: Optimizer) -> list[Layer]:
        return [layer for layer in self.layers if any(one is optimizer for one in layer.optimizers)]

    def _close(self, layers: Sequence[Layer]) -> None:
        """Apply the masks, if there are any in this phase; not within `dense()`."""
        if self._open:
            return
        for layer in layers:
            layer.keeps = (self.rule.masked != "zero" or self.fading is not None) and not isinstance(layer, BehindNorm)
            if not layer.hides:
                layer.fades = self.fading is not None or not self.rule.binary
        if self.phase == "prune" or self.fading is not None:
            close_all(layers)
            return
        for layer in layers:
            layer.aside = None

    def _foreign(self, optimizer: Optimizer) -> None:
        """Warn if another optimizer that steps trains one of these weights."""
        if self._stepping or optimizer in self._strangers:
            return  # it is part of one of our optimizers, or was checked before
        self._strangers.add(optimizer)
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if (layer := next((layer for layer in self.layers if id(layer.weight) in trained), None)) is not None:
            self._warn(
                f"{self.name}: another optimizer ({type(optimizer).__name__}) that its Pruner does not know trains "
                f"{layer.name}: masks do not move with it, and masked weights do. Give the Pruner all optimizers that "
                "train the model, or pruner.follow(optimizer) when a new one took over.",
                above=3,
            )

    def _warn(self, text: str, above: int = 1) -> None:
        """Warn once. above: stack frames between the caller and the user's line, which the warning names."""
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, PruningWarning, stacklevel=above + 2)

    def notice_idle(self) -> None:
        """Warn, at an evaluation, if an optimizer did not step since the last one: it may have been replaced."""
        if not self.layers:
            raise ValueError(f"{self.name}: its Pruner was detached; a schedule moves it no more")
        before, self._noticed = self._noticed, list(self.steps)
        for optimizer, then, now in zip(self.optimizers, before or [], self.steps, strict=False):
            if then == now:
                self._warn(
                    f"{self.name}: its {type(optimizer).__name__} did not step since the last decision, so no mask "
                    "moved: pruner.follow(optimizer) takes up a new one",
                    above=2,
                )

    def follow(self, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        """Switch to another optimizer, or a list of them, that trains the weights from now on.

        Raises:
            ValueError: it does not train one of the pruned weights.
        """
        optimizers = plain_optimizers(optimizer)
        trained = trainers(optimizers)
        if lost := [layer.name for layer in self.layers if id(layer.weight) not in trained]:
            raise ValueError(f"{lost[0]} is pruned, and the new optimizer does not train it")
        self.hooks.remove()
        for layer in self.layers:
            layer.optimizers = trained[id(layer.weight)]
        self.optimizers, self.steps, self._noticed, self._loaded = optimizers, [0] * len(optimizers), None, True
        self._stepping, self._stepped = set(), set()
        self.hooks = Hooks(self.optimizers, self._before, self._after, self._foreign)

    # ---- recorded steps ----

    def plan(self) -> Hashable | None:
        """What the Python of the next step of its optimizer depends on besides tensors; None: it must run.

        A step may be recorded as a CUDA graph once for each plan, as long as its tensors keep their `places`.
        """
        if len(self.optimizers) > 1 or self._unsent or not any(self.steps):
            return None
        if self.phase == "dense":
            return None if self.fading is not None else "dense"
        self.rule.prepare(self.layers)
        return "fixed" if self.fixed else self.rule.plan()

    def places(self) -> Hashable:
        """Where the tensors of a step lie: those of another phase, or of a state that was loaded, may lie elsewhere."""
        held = [t for layer in self.layers for t in (layer.weight, layer.mask, layer.threshold, layer.aside)]
        return self.rule.places(), tuple(None if t is None else t.data_ptr() for t in held)

    def counts(self) -> list[int]:
        """Numbers that a step moves, and whether the parameters hold sparse weights."""
        return [*self.steps, getattr(self.rule, "steps", 0), *(int(layer.hides) for layer in self.layers)]

    def set_counts(self, counts: Sequence[int]) -> None:
        rest = len(self.steps)
        self.steps = list(counts[:rest])
        if hasattr(self.rule, "steps"):
            self.rule.steps = counts[rest]
        for layer, hides in zip(self.layers, counts[rest + 1 :], strict=True):
            layer.hides = bool(hides)
        self._stepping, self._stepped, self._open = set(), set(), 0
        if isinstance(pull := getattr(self.rule, "pull", None), dict):
            pull.clear()  # of a recording that failed: never computed

    # ---- phases ----

    @contextlib.contextmanager
    def dense(self) -> Iterator[None]:
        """Context in which the parameters hold the dense weights; change masks only here. They are applied on exit.

        >>> from rggan.pruning import Pruner
        >>> model = torch.nn.Linear(3, 2)
        >>> pruner = Pruner(model, torch.optim.SGD(model.parameters()))
        >>> with pruner.dense():
        ...     _ = pruner.layers[0].mask[0].zero_()
        >>> int((model.weight == 0).sum())
        3
        """
        with plainly():
            open_all(self.layers)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            with plainly():
                self._close(self.layers)

    def refresh(self) -> None:
        """Rebuild the masks from the rule's state."""
        if self.phase == "prune" and not self.fixed:
            self._move(self.rule.refresh)

    @property
    def reached(self) -> bool:
        """Whether the density has reached the rule's target (for a target that does not follow a signal)."""
        return self.rule.reached

    @torch.inference_mode(False)
    @torch.no_grad()
    def prune(self) -> None:
        """Enter the pruning phase. Thresholds continue from their values; masks are applied immediately."""
        if self.phase == "prune":
            return
        with self.dense():
            if not self.fixed:
                for layer in self.layers:
                    layer.mask.fill_(1)  # a fade may not have ended
            self.phase, self.fading = "prune", None
            self._stepped.clear()
            self.refresh()

    @torch.inference_mode(False)
    @torch.no_grad()
    def integrate(self, fade: int = 0) -> None:
        """Enter the dense phase: integrate the learnt sparse weights into the dense network by setting all masks to 1.

        Masked weights return with the values that the rule kept. With `fade` their masks rise from 0 to 1 over that
        many optimizer steps; the other weights are not affected.
        """
        if not isinstance(fade, int) or fade < 0:
            raise ValueError(f"a fade takes a number of steps, 0 or more, not {fade!r}")
        if self.phase == "dense" and fade > 0:
            return  # already dense, or fading
        with self.dense():
            self._stepped.clear()
            self.phase, self.fading, self.fixed = "dense", (0, fade) if fade > 0 else None, False
            for layer in self.layers if fade == 0 else ():
                layer.mask.fill_(1)
