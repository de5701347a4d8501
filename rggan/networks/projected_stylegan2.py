"""StyleGAN2's generator against the projected discriminator: `projected-stylegan2`.

With path lengths and style mixing where they are asked for; without the R1 penalty of StyleGAN2.
"""

from __future__ import annotations

from rggan.networks.family import Family
from rggan.networks.projected import FAMILY as PROJECTED
from rggan.networks.projected import ProjectedDiscriminator
from rggan.networks.sizes import Sizes
from rggan.networks.stylegan2 import FAMILY as STYLEGAN2
from rggan.networks.stylegan2 import StyleGAN2Generator

FAMILY = Family(
    StyleGAN2Generator,
    ProjectedDiscriminator,
    Sizes("Projected StyleGAN2", *PROJECTED.sizes[1:]),
    settings={
        **{"width_g": 128, "width_d": 64, "z_dim": 256, "batch": 16, "d_steps": 1, "aug": "diff"},
        **{"lr": 0.002, "lr_d": 0.0002, "beta2": 0.99, "set_point": PROJECTED.settings["set_point"]},
    },
    options=STYLEGAN2.options,
    arguments=STYLEGAN2.arguments,
    steps=STYLEGAN2.steps,
    refuses=PROJECTED.refuses,
    looks_through=PROJECTED.looks_through,
)
