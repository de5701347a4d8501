"""What follows D's outputs in training: schedules, densities, the balance of the game, adaptive augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rggan import ranks
from rggan.augment.ada import AdaptiveAugment
from rggan.data import ImageSet
from rggan.gan import Gan
from rggan.pruning import Adaptive, Balance, Schedule
from rggan.steps import Outcome

BALANCE_EVERY = 10  # steps of G between two looks at the balance of the game
ADA_EVERY = 4  # steps of D between two of the augmentation's probability


class Signals:
    """Shows D's outputs of each step to all that follow them.

    Args:
        targets: densities that follow a signal. balance: moves D's density by the balance of the game. ada: adaptive
            augmentation. held_out: images that D was not trained on, for the signal r_v.
        d_steps: steps of D for one of G.
    """

    def __init__(
        self,
        gan: Gan,
        schedules: Sequence[Schedule],
        targets: Sequence[Adaptive],
        balance: Balance | None,
        ada: AdaptiveAugment | None,
        held_out: ImageSet | None,
        d_steps: int,
    ) -> None:
        self.gan, self.schedules, self.balance, self.ada, self.held_out = gan, schedules, balance, ada, held_out
        self.of_game = [target for target in targets if target.signal == "balance"]
        self.of_d = [target for target in targets if target.signal != "balance"]  # all have one signal
        self.d_steps = d_steps
        self.on_real: Tensor | None = None  # D's outputs in its last step

    @torch.no_grad()
    def after_d(self, outcome: Outcome, images: int) -> None:
        """After a step of D.

        images: real ones that D had seen before the step.
        """
        on_real, batch = outcome.on_real, self.gan.batches.batch
        assert on_real is not None
        self.on_real = on_real
        for schedule in self.schedules:
            schedule.observe(on_real)
        look = any(target.signal == "r_v" and target.moves_next for target in self.of_d)
        held_out = self.on_held_out(images // (batch * self.of_d[0].every)) if look else None
        for target in self.of_d:
            target.observe(on_real, fake=outcome.on_fake, held_out=held_out)
        if self.ada is not None:
            self.ada.observe(on_real)
            if (images // batch + 1) % ADA_EVERY == 0:
                self.ada.step()

    def on_held_out(self, look: int) -> Tensor:
        """D's outputs on a batch of held-out images, augmented as training images are; D's statistics stay.

        look: how many there were before; each takes others.
        """
        gan, data = self.gan, self.held_out
        assert data is not None
        batch = gan.batches.batch
        index = (torch.arange(batch) * len(data) // batch + look) % len(data)  # over all classes, others each time
        index = ranks.own(index)
        x = data.at(index).to(gan.device).float().div_(127.5).sub_(1)
        labels = (data.labels[index].to(gan.device),) if gan.conditional and data.labels is not None else ()
        before = [buffer.clone() for buffer in gan.d.buffers()]
        with gan.autocast():
            outputs: Tensor = gan.run_d(gan.prepared(x), *labels)
        for buffer, old in zip(gan.d.buffers(), before, strict=True):
            buffer.copy_(old)
        return ranks.gathered(outputs)

    @torch.no_grad()
    def after_g(self, drawn: tuple[Tensor, ...], before: Tensor, images: int) -> None:
        """After a step of G; D's outputs change by it, which is looked at after every tenth.

        drawn: G's arguments in that step, of this rank. before: D's outputs in it on the images of all ranks. images:
        real ones that D has seen.
        """
        gan, on_real = self.gan, self.on_real
        batch = gan.batches.batch
        steps = images // (batch * self.d_steps)
        if on_real is not None and steps % BALANCE_EVERY == 0 and (self.of_game or self.balance is not None):
            with gan.autocast():
                after = ranks.gathered(gan.d(gan.prepared(gan.g(*drawn)), *drawn[1:]))
            if self.balance is not None:
                self.balance.observe(before, after, on_real)
            for target in self.of_game:
                target.observe(on_real, fake=before, after=after, images=BALANCE_EVERY * batch * self.d_steps)
        if self.balance is not None and steps % (5 * BALANCE_EVERY) == 0:
            self.balance.step()
