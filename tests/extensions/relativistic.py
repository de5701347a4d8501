"""A loss that brings its own training steps: relativistic, with a gradient penalty on either side in each step of D.

After Huang, Gokaslan, Kuleshov and Tompkin 2024, "The GAN is dead; long live the GAN! A modern baseline GAN" (R3GAN).
"""

import torch
import torch.nn.functional as F

from rggan.losses import r1_penalty
from rggan.steps import Loss, Outcome, Steps


class RelativisticSteps(Steps):
    def discriminator_step(self, gan, real, labels):
        drawn = gan.latents()
        with gan.autocast(), torch.no_grad():
            fake = gan.run_g(*drawn)
        on_real, r1 = self.penalised(gan, real, labels)
        on_fake, r2 = self.penalised(gan, fake, drawn[1:])
        loss = self.loss.d(on_real, on_fake) + self.gamma / 2 * (r1 + r2)
        loss.backward()
        return Outcome(loss, on_fake, on_real)

    def generator_step(self, gan, drawn):
        real, labels = gan.real()
        with gan.autocast():
            on_real = gan.run_d(gan.prepared(real), *labels)
            on_fake = gan.run_d(gan.prepared(gan.run_g(*drawn)), *drawn[1:])
            loss = self.loss.d(on_fake, on_real)
        loss.backward()
        return Outcome(loss, on_fake, on_real)

    def penalised(self, gan, images, labels):
        x = images.detach().float().requires_grad_()  # in float32, as all gradient penalties
        outputs = gan.d(gan.prepared(x), *labels)
        return outputs, r1_penalty(outputs, x)


def paired(real, fake):
    return F.softplus(fake - real).mean()


def refused(options):
    return "`lecam` means nothing with a relativistic loss." if options["lecam"] else None


LOSS = Loss(paired, lambda fake: F.softplus(-fake).mean(), steps=RelativisticSteps, refuses=refused)
