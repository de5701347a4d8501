"""The state of a training: taken, looked through before it is used, and taken up again to the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rggan.augment.ada import AdaptiveAugment
from rggan.config import TrainConfig
from rggan.gan import Gan
from rggan.pruning import Balance, Ledger, Pruner, Schedule
from rggan.pruning.form import fitted, fitted_adam, fitted_numbers
from rggan.steps import Steps
from rggan.training.capture import Recorder
from rggan.training.ema import EMA
from rggan.training.rates import in_finale
from rggan.training.rewinding import Rewinding
from rggan.training.sparsity import checked_pruner

MOST = 10**15  # of images, steps, seconds and whatever else a state counts


class Stateful:
    """A training as its state sees it: what decides the next step."""

    config: TrainConfig
    gan: Gan
    prune_g: Pruner | None
    pruners: list[Pruner]
    schedules: Sequence[Schedule]
    finale: bool
    rewinding: Rewinding | None
    balance: Balance | None
    ledgers: list[Ledger]
    ema: EMA
    steps: Steps
    recorder: Recorder
    ada: AdaptiveAugment | None
    images: int
    loss_sums: Tensor
    logit_sums: Tensor

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next step."""
        return state_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises what `checked` raises for a state of another form, and then nothing is changed."""
        take_up(self, checked(self, state))


def state_of(training: Stateful) -> dict[str, Any]:
    """Everything that decides the next step."""
    return {
        "g": training.gan.g.state_dict(),
        "d": training.gan.d.state_dict(),
        "opt_g": training.gan.opt_g.state_dict(),
        "opt_d": training.gan.opt_d.state_dict(),
        "pruners": [pruner.state_dict() for pruner in training.pruners],
        "schedules": [schedule.state_dict() for schedule in training.schedules],
        "finale": training.finale,
        "rewinding": None if training.rewinding is None else training.rewinding.state_dict(),
        "balance": training.balance.state_dict() if training.balance else None,
        "ledgers": [ledger.state_dict() for ledger in training.ledgers],
        "ema": training.ema.state_dict(),
        "batches": training.gan.batches.state_dict(),
        "steps": training.steps.state_dict(),
        "ada": None if training.ada is None else training.ada.state_dict(),
        "images": training.images,
        "loss_sums": training.loss_sums,
        "logit_sums": training.logit_sums,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(training.gan.device) if training.gan.device.type == "cuda" else None,
    }


def checked(training: Stateful, state: dict[str, Any]) -> dict[str, Any]:
    """The state, if every part of it has the form of the present one.

    Raises:
        ValueError, RuntimeError, TypeError: something does not fit. KeyError: it is not there.
    """
    own = state_of(training)
    parts = ("g", "d", "ema", "loss_sums", "logit_sums", "random", "images")
    clean = {name: fitted(own[name], state[name], name) for name in parts}
    for name, optimizer in (("opt_g", training.gan.opt_g), ("opt_d", training.gan.opt_d)):
        (group,) = optimizer.param_groups
        clean[name] = fitted_adam(group["params"], own[name]["param_groups"], state[name], name)
    if len(state["pruners"]) != len(training.pruners):
        raise ValueError(f"pruners has {len(state['pruners'])} entries, not {len(training.pruners)}")
    clean["pruners"] = [checked_pruner(*both) for both in zip(training.pruners, state["pruners"], strict=True)]
    saved = state["schedules"]
    if not saved:  # before format 3 `Always` was no schedule
        saved = [None] * len(training.schedules)
    clean["schedules"] = [one.checked(found) for one, found in zip(training.schedules, saved, strict=True)]
    clean["finale"] = bool(state.get("finale", False))
    clean["rewinding"] = None if training.rewinding is None else training.rewinding.checked(state.get("rewinding"))
    # States of older formats have no ledgers: these begin at the masks that it holds.
    clean["ledgers"] = None if state["ledgers"] is None else fitted(own["ledgers"], state["ledgers"], "ledgers")
    balance, clean["balance"] = state["balance"], None
    if training.balance is not None:
        sums = balance["sums"]
        fitted_numbers([balance["ratio"]], 1, "balance")
        clean["balance"] = {"sums": None if sums is None else fitted_numbers(sums, 3, "balance", 3)}
        clean["balance"]["ratio"] = balance["ratio"]
    clean["batches"] = training.gan.batches.checked(state["batches"])
    torch.Generator().set_state(clean["random"])  # raises RuntimeError where it is none
    clean["random_cuda"] = state["random_cuda"]
    if clean["random_cuda"] is not None and training.gan.device.type == "cuda":
        torch.Generator(training.gan.device).set_state(clean["random_cuda"])
    # States of older formats have no steps and no ADA: these begin afresh. Up to format 6 the former was "objective".
    steps = training.steps.migrated(state["objective"]) if "objective" in state else state.get("steps", own["steps"])
    clean["steps"] = fitted(own["steps"], steps, "steps")
    found = state.get("ada")
    clean["ada"] = own["ada"] if found is None or own["ada"] is None else fitted(own["ada"], found, "ada")
    if not all(0 <= count <= MOST for count in (clean["images"], clean["ema"]["updates"])):
        raise ValueError("its numbers of images and updates are none")
    return clean


def take_up(training: Stateful, state: dict[str, Any]) -> None:
    """Go on from a state that `checked` looked through."""
    training.recorder.forget()
    training.gan.g.load_state_dict(state["g"])
    training.gan.d.load_state_dict(state["d"])
    training.gan.opt_g.load_state_dict(state["opt_g"])
    training.gan.opt_d.load_state_dict(state["opt_d"])
    for pruner, saved in zip(training.pruners, state["pruners"], strict=True):
        pruner.load_state_dict(saved)
    # A run that is made longer leaves its finale again: its schedule takes G up.
    training.finale = state["finale"] and in_finale(training.config, state["images"])
    for schedule in training.schedules:
        schedule.released = (
            [training.prune_g] if training.finale and training.prune_g and training.config.finale_dense else []
        )
    for schedule, saved in zip(training.schedules, state["schedules"], strict=True):
        schedule.load_state_dict(saved)
    if training.rewinding is not None:
        training.rewinding.load_state_dict(state["rewinding"])
    if training.balance:
        training.balance.load_state_dict(state["balance"])
    for ledger, pruner, saved in zip(
        training.ledgers, training.pruners, state["ledgers"] or training.pruners, strict=True
    ):
        ledger.load_state_dict(Ledger(pruner).state_dict() if saved is pruner else saved)
    training.ema.load_state_dict(state["ema"])
    training.gan.batches.load_state_dict(state["batches"])
    training.steps.load_state_dict(state["steps"])
    if training.ada is not None:
        training.ada.load_state_dict(state["ada"])
    training.images = state["images"]
    training.loss_sums.copy_(state["loss_sums"])
    training.logit_sums.copy_(state["logit_sums"])
    torch.set_rng_state(state["random"])
    if training.gan.device.type == "cuda" and state["random_cuda"] is not None:
        torch.cuda.set_rng_state(state["random_cuda"], training.gan.device)
