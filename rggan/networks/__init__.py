"""Generators and discriminators: plain modules, by name."""

from torch import nn

from rggan.networks.biggan import BigGANDiscriminator, BigGANGenerator
from rggan.networks.fastgan import FastGANDiscriminator, FastGANGenerator
from rggan.networks.sizes import check_resolution
from rggan.networks.sngan import SNGANDiscriminator, SNGANGenerator
from rggan.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

GENERATORS: dict[str, type[nn.Module]] = {
    "sngan": SNGANGenerator,
    "stylegan2": StyleGAN2Generator,
    "fastgan": FastGANGenerator,
    "biggan": BigGANGenerator,
}
DISCRIMINATORS: dict[str, type[nn.Module]] = {
    "sngan": SNGANDiscriminator,
    "stylegan2": StyleGAN2Discriminator,
    "fastgan": FastGANDiscriminator,
    "biggan": BigGANDiscriminator,
}

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "FastGANDiscriminator",
    "FastGANGenerator",
    "SNGANDiscriminator",
    "SNGANGenerator",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "check_resolution",
]
