"""Generators and discriminators: plain modules, by name."""

from torch import nn

from rggan.networks.sizes import check_resolution
from rggan.networks.sngan import SNGANDiscriminator, SNGANGenerator

GENERATORS: dict[str, type[nn.Module]] = {"sngan": SNGANGenerator}
DISCRIMINATORS: dict[str, type[nn.Module]] = {"sngan": SNGANDiscriminator}

__all__ = ["DISCRIMINATORS", "GENERATORS", "SNGANDiscriminator", "SNGANGenerator", "check_resolution"]
