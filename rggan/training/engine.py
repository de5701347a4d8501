"""One training: two networks, their optimizers, pruners, the average, the two steps and the evaluation."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rggan.augment.ada import AdaptiveAugment
from rggan.augment.diffaugment import diff_augment
from rggan.config import TrainConfig
from rggan.data import Batches, ImageSet
from rggan.device import check_device
from rggan.errors import UserError
from rggan.generation.build import build
from rggan.generation.sampler import Sampler
from rggan.losses import r1_penalty
from rggan.metrics import Memoriser, Score
from rggan.networks import FAMILIES
from rggan.options import network_arguments
from rggan.pruning import Balance, Ledger, Pruner
from rggan.training.dynamic import DynamicRows
from rggan.training.ema import EMA
from rggan.training.judge import Judgement, judge, real_diversity
from rggan.training.method import (
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
from rggan.training.objective import Objective
from rggan.training.rates import ema_beta, in_finale, lr_factor, rows_of_d
from rggan.training.rewinding import Rewinding
from rggan.training.start import drop_out, freeze_lower, start_from, use_bf16
from rggan.training.state import Stateful

BALANCE_EVERY = 10  # steps of G between two looks at the balance of the game
ADA_EVERY = 4  # steps of D between two of the augmentation's probability
STATISTICS_BATCHES = 16  # from which the snapshot's batch statistics are taken


class Training(Stateful):
    """Everything that decides the next step.

    Args:
        data: the training images. reference: images that the score compares with.
        fresh: no state will be loaded, so that `init` counts.
        rules, schedules: instead of those that the options make: by network, the others stay dense; and made of the
            pruners by network.

    The order in here matters: weights and device, then optimizers, pruners, the average, compilation.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: ImageSet,
        reference: ImageSet,
        fresh: bool = True,
        rules: Rules | None = None,
        schedules: Schedules | None = None,
    ) -> None:
        self.config = config
        self.device = check_device(config.device)
        self.bf16 = use_bf16(config.precision, self.device)
        # bf16 convolutions want channels-last. In fp32 a run stays bit-identical to the dense one without pruning,
        # and for that contiguous: channels-last strides of a size-1 dimension do not survive the mask.
        self.layout = torch.channels_last if self.bf16 else torch.contiguous_format
        torch.manual_seed(config.seed)
        channels, height, width = data.shape
        classes = len(data.classes) if config.cond else 0
        self.network: dict[str, Any] = {
            "name": config.network,
            "resolution": [height, width],
            "channels": channels,
            "width": config.width_g,
            "z_dim": config.z_dim,
            "classes": classes,
            **network_arguments(config),
        }
        self.conditional = classes > 0
        self.classes = list(data.classes) if self.conditional else []
        self.g = self.place(build(self.network))
        self.d = self.place(
            FAMILIES.get(config.network).discriminator((height, width), channels, config.width_d, classes=classes)
        )
        if config.style_mixing:
            self.g.style_mixing = config.style_mixing  # type: ignore[assignment]
        if config.init is not None and fresh:
            start_from(config.init, self.network, self.g, self.d)
        freeze_lower(self.d, config.freeze_d)
        drop_out(self.d, config.dropout_d)
        self.dynamic = None if config.dynamic_d == 1 else DynamicRows(self.d, selection(config.network))
        self.trained_d = [p for p in self.d.parameters() if p.requires_grad]
        self.learning_rates = {"g": config.lr, "d": config.lr if config.lr_d is None else config.lr_d}
        betas = (config.beta1, config.beta2)
        self.opt_g = torch.optim.Adam(self.g.parameters(), lr=self.learning_rates["g"], betas=betas, fused=True)
        self.opt_d = torch.optim.Adam(self.trained_d, lr=self.learning_rates["d"], betas=betas, fused=True)
        rules = make_rules(config) if rules is None else rules
        trained: dict[Network, Any] = {"g": (self.g, self.opt_g), "d": (self.d, self.opt_d)}
        select, chosen = selection(config.network), [n for n in trained if n in rules]
        own = {n: Pruner(trained[n][0], trained[n][1], rules[n], select) for n in chosen}
        self.prune_g, self.prune_d, self.pruners = own.get("g"), own.get("d"), list(own.values())
        self.schedules = (schedules or partial(make_schedules, config))(own)
        self.adaptive = adaptive_targets(self.pruners)
        self.rewinding = (
            None if config.rewind is None else Rewinding(with_ramps(self.pruners), round(config.rewind * 1000))
        )
        self.lr_share, self.finale = 1.0, False  # what returns to a good state left of the rates; whether it began
        self.balance = Balance(self.prune_d) if config.balance and self.prune_d is not None else None
        self.ledgers = [Ledger(pruner) for pruner in self.pruners]
        self.ema = EMA(self.place(build(self.network)), self.g, config.ema)
        self.batches = Batches(data, config.batch, config.seed, config.mirror, str(self.device))
        self.score = Score(reference, "steering", str(self.device))
        # Where the score comes from: kept with every snapshot, for it compares with no other.
        self.score_provenance: dict[str, Any] = {
            "metric": self.score.kind,
            "extractor": self.score.network.name,
            "extractor_hash": self.score.network.hash,
            "resize": self.score.network.resize,
            "samples": config.score_samples,
            "reference": "the training images" if reference is data else "the held-out images",
            "reference_hash": reference.key,
            "reference_images": len(reference),
            "ema": True,
        }
        self.held_out = None if reference is data else reference
        if self.held_out is None and any(target.signal == "r_v" for target in self.adaptive):
            raise UserError("--signal r_v compares with held-out images, and there are none.")
        self.memoriser: Memoriser | None = None
        if reference is data:  # so few that none are held out: a good score may come from copying them
            with contextlib.suppress(ValueError):  # fewer than three different ones
                self.memoriser = Memoriser(data, device=str(self.device))
        self.real_diversity = real_diversity(data)
        labels = self.batches.labels if self.conditional else None
        self.sampler = Sampler(config.z_dim, self.device, labels)
        # What a saved generator tells of its network and its classes.
        self.description: dict[str, Any] = {"network": self.network, "classes": self.classes}
        if labels is not None:
            self.description["class_counts"] = labels.bincount(minlength=len(self.classes)).tolist()
        self.latents = self.sampler.fixed(config.score_samples, config.seed + 1, config.batch)
        self.objective = Objective(config, height * width, self.device)
        self.ada = AdaptiveAugment(config.ada_target, config.ada_kimg) if config.aug == "ada" else None
        self.images = 0  # real images that D has seen
        self.loss_sums = torch.zeros(2, device=self.device)
        self.logit_sums = torch.zeros(3, device=self.device)  # D's mean on real ones, of its sign there, on fakes
        self.run_g: Any = torch.compile(self.g) if config.compile else self.g
        self.run_d: Any = torch.compile(self.d) if config.compile else self.d

    def draw(self) -> tuple[Tensor, ...]:
        """G's arguments of a step."""
        return self.sampler.draw(self.config.batch)

    def place(self, network: nn.Module) -> nn.Module:
        placed: nn.Module = network.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        return placed

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def augment(self, x: Tensor) -> Tensor:
        if self.ada is not None:
            return self.ada(x)
        return diff_augment(x) if self.config.aug == "diff" else x

    def prepared(self, x: Tensor) -> Tensor:
        """Augmented, in the layout of the networks."""
        return self.augment(x).contiguous(memory_format=self.layout)

    def step(self) -> None:
        """d_steps discriminator steps and one generator step."""
        self.set_rates()
        for _ in range(self.config.d_steps):
            self.discriminator_step()
        self.generator_step()

    def discriminator_step(self) -> None:
        self.draw_rows()
        real, labels = self.batches.next()
        drawn = self.draw()
        with self.autocast():
            with torch.no_grad():
                fake = self.run_g(*drawn)
            on_real, on_fake, beside = self.outputs(real, fake, labels, drawn[1:])
            loss = self.objective.of_d(on_real, on_fake) + beside
        if self.objective.r1_due():
            loss = loss + self.objective.r1_weight() * self.gradient_penalty(real, labels)
        self.opt_d.zero_grad(set_to_none=True)
        loss.backward()
        self.opt_d.step()
        self.loss_sums[1] += loss.detach() / self.config.d_steps
        self.on_real = on_real.detach()
        with torch.no_grad():
            self.logit_sums += (
                torch.stack([on_real.mean(), on_real.sign().mean(), on_fake.mean()]) / self.config.d_steps
            )
            for schedule in self.schedules:
                schedule.observe(on_real)
            followed = [target for target in self.adaptive if target.signal != "balance"]  # all have one signal
            look = any(target.signal == "r_v" and target.moves_next for target in followed)
            held_out = self.on_held_out(self.images // (self.config.batch * followed[0].every)) if look else None
            for target in followed:
                target.observe(on_real, fake=on_fake, held_out=held_out)
        self.images += self.config.batch
        if self.ada is not None:
            self.ada.observe(on_real.detach())
            if self.images // self.config.batch % ADA_EVERY == 0:
                self.ada.step()

    def draw_rows(self) -> None:
        """Where D has fewer rows at each step: those of the next one."""
        if self.dynamic is not None:
            self.dynamic.draw(rows_of_d(self.config, self.images))

    def on_held_out(self, look: int) -> Tensor:
        """D's outputs on a batch of held-out images, treated as training images are; D's statistics stay.

        look: how many there were before; each takes others.
        """
        assert self.held_out is not None
        data, batch = self.held_out, self.config.batch
        index = (torch.arange(batch) * len(data) // batch + look) % len(data)  # over all classes, others each time
        x = data.at(index).to(self.device).float().div_(127.5).sub_(1)
        labels = (data.labels[index].to(self.device),) if self.conditional and data.labels is not None else ()
        before = [buffer.clone() for buffer in self.d.buffers()]
        with self.autocast():
            outputs: Tensor = self.run_d(self.prepared(x), *labels)
        for buffer, old in zip(self.d.buffers(), before, strict=True):
            buffer.copy_(old)
        return outputs

    def outputs(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, drawn_labels: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor | float]:
        """D's outputs on both, and a self-supervised discriminator's own loss (0 for others)."""
        real_labels = (labels,) if self.conditional and labels is not None else ()
        if not getattr(self.d, "batch_statistics", False):
            both = (torch.cat([*real_labels, *drawn_labels]),) if real_labels else ()
            on_real, on_fake = self.run_d(self.prepared(torch.cat([real, fake])), *both).chunk(2)
            return on_real, on_fake, 0.0
        x, beside = self.prepared(real), 0.0
        if getattr(self.d, "self_supervised", False):
            on_real, rebuilt = self.run_d(x, *real_labels, reconstruct=True)
            beside = rebuilt.mean()
        else:
            on_real = self.run_d(x, *real_labels)
        return on_real, self.run_d(self.prepared(fake), *drawn_labels), beside

    def gradient_penalty(self, real: Tensor, labels: Tensor | None) -> Tensor:
        """R1 on real images as they are before augmentation, in float32."""
        x = real.detach().float().requires_grad_()
        logits = self.d(self.prepared(x), *((labels,) if self.conditional and labels is not None else ()))
        return r1_penalty(logits, x)

    def generator_step(self) -> None:
        self.draw_rows()
        drawn = self.draw()
        for parameter in self.trained_d:  # only the gradient to the images is wanted
            parameter.requires_grad_(False)
        with self.autocast():
            x = self.prepared(self.run_g(*drawn))
            on_fake = self.run_d(x, *drawn[1:])
            loss = self.objective.loss_g(on_fake)
        self.opt_g.zero_grad(set_to_none=True)
        loss.backward()
        if self.objective.path_due():  # in float32, on half of a batch: it is dear
            g: Any = self.g
            styles = g.styles(*(part[: max(1, self.config.batch // 2)] for part in self.draw()))
            self.objective.path_penalty(g.synthesis(styles), styles).backward()
        self.opt_g.step()
        for parameter in self.trained_d:
            parameter.requires_grad_(True)
        self.weigh(drawn, on_fake.detach())
        if self.rewinding is not None and not self.finale and self.rewinding.due(self.images):
            self.rewinding.step()
        self.ema.update(self.g)
        self.loss_sums[0] += loss.detach()

    @torch.no_grad()
    def weigh(self, drawn: tuple[Tensor, ...], before: Tensor) -> None:
        """Where D's density follows the balance of the game: look at D's outputs after every tenth step of G."""
        targets = [target for target in self.adaptive if target.signal == "balance"]
        steps = self.images // (self.config.batch * self.config.d_steps)
        if steps % BALANCE_EVERY == 0 and (targets or self.balance is not None):
            with self.autocast():
                after = self.d(self.prepared(self.g(*drawn)), *drawn[1:])
            if self.balance is not None:
                self.balance.observe(before, after, self.on_real)
            images = BALANCE_EVERY * self.config.batch * self.config.d_steps
            for target in targets:
                target.observe(self.on_real, fake=before, after=after, images=images)
        if self.balance is not None and steps % (5 * BALANCE_EVERY) == 0:
            self.balance.step()

    def set_rates(self) -> None:
        """Learning rates, the average's decay and the finale, as this place of the run wants them."""
        if in_finale(self.config, self.images) and not self.finale:
            self.begin_finale()
        dense = self.prune_g is not None and self.prune_g.phase == "dense"
        rates: list[tuple[Literal["g", "d"], torch.optim.Optimizer]] = [("g", self.opt_g), ("d", self.opt_d)]
        for name, optimizer in rates:
            factor = self.lr_share * lr_factor(self.config, name, self.images, dense)
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rates[name] * factor
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
        """The average as it would be kept: live masks, fresh batch statistics, evaluation mode."""
        runs = [lambda network, drawn=drawn: network(*drawn) for drawn in self.latents[:STATISTICS_BATCHES]]
        with self.autocast():
            return self.ema.snapshot(self.prune_g, runs)

    def evaluate(self, network: nn.Module) -> float:
        """The score of a generator on the fixed latents; NaN if it makes no finite images."""
        return self.judge(network).score

    def judge(self, network: nn.Module) -> Judgement:
        """Of the images of the fixed latents."""
        return judge(network, self.latents, self.score, self.real_diversity, self.memoriser, self.autocast)

    def losses_are_finite(self) -> bool:
        """Whether all losses since the last tick were (a single NaN stays in their sum)."""
        return bool(self.loss_sums.isfinite().all())

    def is_finite(self) -> bool:
        """Whether losses, weights and average are."""
        networks = (self.g, self.d, self.ema.network)
        weights = (p.isfinite().all() for network in networks for p in network.parameters())
        return self.losses_are_finite() and all(map(bool, weights))

    def scale_learning_rates(self, factor: float) -> None:
        """Of both networks, as a multiple of what the options say."""
        self.lr_share = factor
        self.set_rates()

    def reseed(self, number: int) -> None:
        """Other latents, augmentations and order from here on than in the attempts before."""
        torch.manual_seed(self.config.seed + 7919 * number)
        self.batches.random.manual_seed(self.config.seed + 7919 * number)

    def densities(self) -> tuple[float, float]:
        """Of G and D."""
        g, d = (1.0 if pruner is None else pruner.density() for pruner in (self.prune_g, self.prune_d))
        return g, d

    @property
    def phase(self) -> str:
        """'prune' while one of the networks prunes."""
        return "prune" if any(pruner.phase == "prune" for pruner in self.pruners) else "dense"
