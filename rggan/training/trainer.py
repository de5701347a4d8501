"""One training: both networks, their pruners, the EMA and the evaluation; one step after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rggan import ranks
from rggan.augment.ada import AdaptiveAugment
from rggan.config import TrainConfig
from rggan.data import ImageSet
from rggan.device import random_kept
from rggan.errors import UserError
from rggan.generation.build import build
from rggan.pruning import Balance, Ledger, Pruner
from rggan.registry import called
from rggan.steps import Outcome
from rggan.training.capture import Part, make_recorder
from rggan.training.ema import EMA
from rggan.training.evaluator import Evaluator
from rggan.training.limits import DynamicRows
from rggan.training.needed import refuse_batch, refuse_too_much
from rggan.training.rates import ema_beta, in_finale, learning_rate, lr_factor, rows_of_d
from rggan.training.rewinding import Rewinding
from rggan.training.setup import description_of, device_of, foreign_steps, make_gan, make_steps
from rggan.training.signals import Signals
from rggan.training.sparsity import (
    Network,
    Rules,
    Schedules,
    adaptive_targets,
    make_rules,
    make_schedules,
    selection,
    steps_in,
    with_ramps,
)
from rggan.training.state import Stateful
from rggan.training.transfer import Shapes, differences, shapes_at

STATISTICS_BATCHES = 16  # from which the snapshot's batch statistics are taken


class Training(Stateful):
    """Everything that decides the next step.

    Args:
        data: the training images. reference: images that the score compares with.
        fresh: no state will be loaded, so that `init` counts.
        shapes: of the tensors of a shrunk G, where a state will be loaded; else they are those of `init`.
        rules, schedules: instead of those that the options make: by network, the others stay dense; and made of the
            pruners by network.

    Attributes:
        images: real ones that D has seen.
        loss_sums: of G's and D's losses since the last evaluation. logit_sums: of D's mean output on real images, of
            its sign there, and of its mean output on generated ones.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: ImageSet,
        reference: ImageSet,
        fresh: bool = True,
        rules: Rules | None = None,
        schedules: Schedules | None = None,
        shapes: Shapes | None = None,
    ) -> None:
        # The order in here is that in which random numbers are drawn: G, D, the network of the EMA.
        self.config, self.description = config, description_of(config, data)
        if fresh and config.init is not None and not differences(config.init, self.description["network"]):
            shapes = shapes_at(config.init)
        if shapes is not None:
            self.description["network"]["shapes"] = dict(shapes)
        self.ada = AdaptiveAugment(config.ada_target, config.ada_kimg) if config.aug == "ada" else None
        small = partial(make_gan, replace(config, batch=ranks.count()), data, self.description["network"], None, False)
        refuse_too_much(config, self.description["network"], device_of(config), small)
        torch.manual_seed(config.seed)
        self.gan = gan = make_gan(config, data, self.description["network"], self.ada, fresh)
        refuse_batch(config, gan)
        self.dynamic = None if config.dynamic_d == 1 else DynamicRows(gan.d, selection(config.network))
        rules = make_rules(config, gan) if rules is None else rules
        trained: dict[Network, tuple[nn.Module, torch.optim.Optimizer]] = {
            "g": (gan.g, gan.opt_g),
            "d": (gan.d, gan.opt_d),
        }
        own = {
            name: Pruner(*parts, rules[name], selection(config.network, config.granularity_of(name) == "row"))
            for name, parts in trained.items()
            if name in rules
        }
        self.prune_g, self.prune_d, self.pruners = own.get("g"), own.get("d"), list(own.values())
        self.schedules = (schedules or partial(make_schedules, config))(own)
        self.adaptive = adaptive_targets(self.pruners)
        self.rewinding = (
            None if config.rewind is None else Rewinding(with_ramps(self.pruners), round(config.rewind * 1000))
        )
        self.balance = Balance(self.prune_d) if config.balance and self.prune_d is not None else None
        self.ledgers = [Ledger(pruner) for pruner in self.pruners]
        self.ema = EMA(gan.place(build(self.description["network"])), gan.g, config.ema)
        self.evaluator = Evaluator(config, gan, data, reference)
        if self.evaluator.held_out is None and any(target.signal == "r_v" for target in self.adaptive):
            raise UserError("`signal` r_v compares with held-out images, and there are none.")
        self.steps = make_steps(config, data.shape[1] * data.shape[2], gan.device)
        self.foreign = foreign_steps(config)
        # Whether messages between cards can be recorded with a step was not tried.
        capture = config.capture if ranks.count() == 1 else "off"
        self.recorder = make_recorder(capture, gan.device, self.foreign is not None, config.batch)
        self.d_gradients, self.d_update, self.g_gradients, self.g_update = self.parts()
        self.signals = Signals(
            gan, self.schedules, self.adaptive, self.balance, self.ada, self.evaluator.held_out, config.d_steps
        )
        self.lr_share, self.finale = 1.0, False  # what returns to a good state left of the rates; whether it began
        self.rates = {"g": math.nan, "d": math.nan}  # as they were set last
        self.images = 0
        self.loss_sums = torch.zeros(2, device=gan.device)
        self.logit_sums = torch.zeros(3, device=gan.device)

    def parts(self) -> tuple[Part, Part, Part, Part]:
        """What of a step can be recorded: gradients and update of D, and of G."""
        made = []
        networks: list[tuple[Network, Any, Any, list[nn.Parameter], Pruner | None]] = [
            ("d", self.gradients_of_d, self.gan.opt_d, self.gan.trained_d, self.prune_d),
            ("g", self.gradients_of_g, self.gan.opt_g, list(self.gan.g.parameters()), self.prune_g),
        ]
        for network, gradients, optimizer, parameters, pruner in networks:
            plan = partial(self.plan_of_gradients, network)
            made.append(Part(f"gradients of {network}", gradients, plan, tuple, [self.steps], parameters))
            plan = partial(self.plan_of_update, optimizer, parameters, pruner)
            places = partial(self.places_of_update, optimizer, parameters, pruner)
            made.append(Part(f"update of {network}", optimizer.step, plan, places, [] if pruner is None else [pruner]))
        d_gradients, d_update, g_gradients, g_update = made
        return d_gradients, d_update, g_gradients, g_update

    def plan_of_gradients(self, network: Network) -> Hashable | None:
        if any(isinstance(value, float) for value in self.steps.state_dict().values()):
            return None  # a replay moves whole numbers only
        augmented = self.ada is not None and self.ada.p > 0
        return self.steps.plan(network), augmented, None if self.dynamic is None else frozenset(self.dynamic.limited)

    def plan_of_update(
        self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], pruner: Pruner | None
    ) -> Hashable | None:
        own = () if pruner is None else pruner.plan()
        if own is None or (pruner is not None and not type(pruner.rule).__module__.startswith("rggan.")):
            return None  # a rule of somebody's own may have inherited a plan that is not its own
        if any(p.grad is not None and p not in optimizer.state for p in parameters):
            return None  # its moments are yet to be made
        return own, tuple(p.grad is None for p in parameters)

    def places_of_update(
        self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], pruner: Pruner | None
    ) -> Hashable:
        moments = (t.data_ptr() for p in parameters if p in optimizer.state for t in optimizer.state[p].values())
        return () if pruner is None else pruner.places(), tuple(moments)

    def step(self) -> None:
        """d_steps discriminator steps and one generator step."""
        self.set_rates()
        with ranks.sharing(), self.recorder.working():
            for _ in range(self.config.d_steps):
                self.discriminator_step()
            self.generator_step()

    def discriminator_step(self) -> None:
        self.draw_rows()
        self.gan.batches.draw()
        outcome = self.recorder.run(self.d_gradients)
        self.recorder.run(self.d_update)
        self.signals.after_d(outcome, self.images)
        self.images += self.config.batch

    def gradients_of_d(self) -> Outcome:
        gan = self.gan
        gan.opt_d.zero_grad(set_to_none=True)
        outcome = self.of_all_ranks(self.outcome(self.steps.discriminator_step, gan, *gan.drawn()), gan.trained_d)
        self.loss_sums[1] += outcome.loss / self.config.d_steps
        assert outcome.on_real is not None
        on_real, on_fake = outcome.on_real, outcome.on_fake
        told = torch.stack([on_real.mean(), on_real.sign().mean(), on_fake.mean()])
        self.logit_sums += told / self.config.d_steps
        return outcome

    def outcome(self, step: Callable[..., Outcome], *arguments: Any) -> Outcome:
        """What a step tells, detached.

        Raises:
            UserError: a step of somebody's own fails, or tells something else.
        """
        if self.foreign is None:
            return step(*arguments).detached()
        found: Any = called(self.foreign, step, *arguments)
        if not isinstance(found, Outcome):
            raise UserError(f"{self.foreign}: {step.__name__} gives a {type(found).__name__}, not an Outcome.")
        if found.on_real is None and step == self.steps.discriminator_step:
            raise UserError(f"{self.foreign}: the Outcome of {step.__name__} lacks on_real.")
        return found.detached()

    def of_all_ranks(self, outcome: Outcome, parameters: list[nn.Parameter]) -> Outcome:
        """What all ranks together tell of their step; their gradients become the mean, before any rule sees them."""
        if ranks.shared.count == 1:
            return outcome
        loss = outcome.loss.clone()
        ranks.average([*(p.grad for p in parameters if p.grad is not None), loss])
        told = [None if part is None else ranks.gathered(part) for part in outcome[1:]]
        return Outcome(loss, *told)  # type: ignore[arg-type]

    def draw_rows(self) -> None:
        """Where D has fewer rows at each step: those of the next one."""
        if self.dynamic is not None:
            self.dynamic.draw(rows_of_d(self.config, self.images))

    def generator_step(self) -> None:
        self.draw_rows()
        drawn, outcome = self.recorder.run(self.g_gradients)
        self.recorder.run(self.g_update)
        self.signals.after_g(drawn, outcome.on_fake, self.images)
        if self.rewinding is not None and not self.finale and self.rewinding.due(self.images):
            self.rewinding.step()
        self.ema.update(self.gan.g)

    def gradients_of_g(self) -> tuple[tuple[Tensor, ...], Outcome]:
        gan = self.gan
        drawn = gan.latents()
        gan.opt_g.zero_grad(set_to_none=True)
        with gan.fixed_d():
            outcome = self.outcome(self.steps.generator_step, gan, drawn)
        outcome = self.of_all_ranks(outcome, list(gan.g.parameters()))
        self.loss_sums[0] += outcome.loss
        return drawn, outcome

    def set_rates(self) -> None:
        """Learning rates, the EMA's decay and the finale, as this place of the run wants them."""
        if in_finale(self.config, self.images) and not self.finale:
            self.begin_finale()
        dense = self.prune_g is not None and self.prune_g.phase == "dense"
        rates: list[tuple[Literal["g", "d"], torch.optim.Optimizer]] = [("g", self.gan.opt_g), ("d", self.gan.opt_d)]
        for name, optimizer in rates:
            factor = self.lr_share * lr_factor(self.config, name, self.images, dense)
            rate = learning_rate(self.config, name) * factor
            for group in optimizer.param_groups:
                if not isinstance(group["lr"], Tensor):
                    group["lr"] = rate
                elif self.rates[name] != rate:  # on a GPU
                    group["lr"].fill_(rate)
            self.rates[name] = rate
        self.ema.beta = ema_beta(self.config, self.images)

    def begin_finale(self) -> None:
        """G's weights come back over the first half of it, and no schedule takes them away again."""
        self.finale = True
        if self.prune_g is None or not self.config.finale_dense:
            return
        for schedule in self.schedules:
            schedule.released = [self.prune_g]
        self.prune_g.integrate(
            steps_in(self.config, "g", self.config.fade or self.config.finale * self.config.kimg / 2)
        )

    def snapshot(self) -> nn.Module:
        """The EMA as it would be kept: live masks, fresh batch statistics, evaluation mode.

        Noise that a network draws in train mode does not advance the random numbers: a look changes no training.
        """
        runs = [lambda network, drawn=drawn: network(*drawn) for drawn in self.evaluator.latents[:STATISTICS_BATCHES]]
        with random_kept(self.gan.device), self.gan.autocast():
            return self.ema.snapshot(self.prune_g, runs)

    def losses_are_finite(self) -> bool:
        """Whether all losses since the last tick were (a single NaN stays in their sum)."""
        return not ranks.largest(int(not self.loss_sums.isfinite().all()))

    def is_finite(self) -> bool:
        """Whether losses, weights and EMA are."""
        networks = (self.gan.g, self.gan.d, self.ema.network)
        weights = (p.isfinite().all() for network in networks for p in network.parameters())
        return self.losses_are_finite() and all(map(bool, weights))

    def scale_learning_rates(self, factor: float) -> None:
        """Of both networks, as a multiple of what the options say."""
        self.lr_share = factor
        self.set_rates()

    def reseed(self, number: int) -> None:
        """Other latents, augmentations and order from here on than in the attempts before."""
        torch.manual_seed(self.config.seed + 7919 * number)
        self.gan.batches.reseed(self.config.seed + 7919 * number)

    def densities(self) -> tuple[float, float]:
        """Of G and D."""
        g, d = (1.0 if pruner is None else pruner.density() for pruner in (self.prune_g, self.prune_d))
        return g, d

    @property
    def phase(self) -> str:
        """'prune' while one of the networks prunes."""
        return "prune" if any(pruner.phase == "prune" for pruner in self.pruners) else "dense"
