"""A family of networks with a size of its own."""

import torch
from torch import Tensor, nn

from rggan.networks import Argument, Family, Sizes, check_resolution

SIZES = Sizes("Thin", 16, 64)


class ThinGenerator(nn.Module):
    def __init__(self, resolution, channels=3, width=64, z_dim=128, classes=0, depth=1):
        super().__init__()
        self.size = check_resolution(resolution, SIZES)
        hidden = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())]
        self.embedding = nn.Embedding(classes, z_dim) if classes else None
        self.channels = channels
        self.layers = nn.Sequential(nn.Linear(z_dim, width), nn.ReLU(), *hidden)
        self.to_rgb = nn.Linear(width, channels * self.size[0] * self.size[1])

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            z = z + self.embedding(labels)
        return torch.tanh(self.to_rgb(self.layers(z)).view(len(z), self.channels, *self.size))


class ThinDiscriminator(nn.Module):
    def __init__(self, resolution, channels=3, width=64, classes=0):
        super().__init__()
        height, wide = check_resolution(resolution, SIZES)
        self.blocks = nn.ModuleList([nn.Linear(channels * height * wide, width), nn.Linear(width, width)])
        self.out = nn.Linear(width, max(1, classes))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = x.flatten(1)
        for block in self.blocks:
            h = torch.relu(block(h))
        out = self.out(h)
        return out.squeeze(1) if labels is None else out.gather(1, labels[:, None]).squeeze(1)


def refused(options):
    return "`width_d`: Thin wants 4 at least." if options["width_d"] < 4 else None


FAMILY = Family(
    ThinGenerator,
    ThinDiscriminator,
    SIZES,
    settings={"batch": 8, "d_steps": 1},
    arguments={"depth": Argument(1, 0, 4)},
    refuses=refused,
)
