"""What `Threshold` and `PublishedThreshold` share: one threshold per output neuron, a penalty, and a floor."""

from __future__ import annotations

from collections.abc import Sequence

from rggan.pruning.granularity import Rows, Weights
from rggan.pruning.layer import Layer
from rggan.pruning.rule import Rule
from rggan.pruning.whole_channels import Channels

Granularity = Weights | Rows | Channels


class NeuronThresholds(Rule):
    """The settings of a rule that moves `layer.threshold`, and the rescue of collapsed layers.

    Raises:
        ValueError: an argument out of its range.
    """

    binary = True

    def __init__(self, penalty: float, lr: float, floor: float, granularity: Granularity) -> None:
        if penalty < 0 or lr < 0 or not 0 <= floor < 1:
            raise ValueError("penalty and lr must not be negative, and floor must lie in [0, 1)")
        self.penalty, self.lr, self.floor, self.granularity = penalty, lr, floor, granularity
        self.steps = 0  # taken while pruning

    def rescue(self, layers: Sequence[Layer]) -> None:
        """Reset the thresholds of layers whose density fell to the floor to 0, which makes them dense.

        Done at every step: under a spectral norm, a layer of zeros would divide by zero in the next forward pass.
        """
        if self.floor == 0 and isinstance(self.granularity, Weights):
            return
        for layer in layers:
            mean, share = layer.mask.mean(dtype=layer.threshold.dtype), self.granularity.share(layer, self.floor)
            lives = mean > self.floor if share == self.floor else mean >= share * (1 - 1e-6)
            layer.threshold.mul_(lives)
            layer.mask.masked_fill_(~lives, 1)
