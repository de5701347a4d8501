"""Small generators of every family; their pictures depend on the latents and fill -1..1, as after training."""

import torch
from torch import nn

from rggan import Generator
from rggan.networks import FAMILIES

SIDES = {"projected": 64, "projected-stylegan2": 64}


def small(name, classes=3, side=None, channels=3, width=4, z_dim=16):
    """A `Generator` on random weights. side: (height, width)."""
    torch.manual_seed(0)
    size = side or (SIDES.get(name, 32),) * 2
    network = FAMILIES.get(name).generator(size, channels, width, z_dim, classes)
    for place, value in network.named_parameters():
        if place.endswith(("strength", "bias", "gamma")):
            nn.init.normal_(value, std=0.3)
    with torch.no_grad():
        for _ in range(60):  # statistics of batch norms, the average style
            drawn(network, classes, z_dim)
    described = {"name": name, "resolution": list(size), "channels": channels, "width": width, "z_dim": z_dim}
    described |= {"classes": classes, **({"mapping_layers": 2} if "stylegan2" in name else {})}
    return Generator(network, {"network": described, "classes": [f"class {number}" for number in range(classes)]})


def drawn(network, classes, z_dim, count=8):
    z = torch.randn(count, z_dim)
    return network(z, torch.arange(count) % classes) if classes else network(z)
