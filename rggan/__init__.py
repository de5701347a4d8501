"""RG-GAN: train a good image generator from few images, pruning and regenerating while it trains.

The method drops into any PyTorch GAN: `Pruner`, `ScoreSchedule`, `merged_state_dict`. A generator trained by
`rggan train` is used through `Generator`.

A name is loaded when it is first asked for, so that `import rggan` costs nothing and `rggan.pruning` needs torch alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rggan.config import TrainConfig
    from rggan.errors import UserError
    from rggan.export.shrink import shrink
    from rggan.generation.generator import Generator
    from rggan.pruning import Pruner, PublishedThreshold, Rule, ScoreSchedule, Threshold, merged_state_dict
    from rggan.training.train import train

__version__ = "0.1.0"

__all__ = [
    "Generator",
    "Pruner",
    "PublishedThreshold",
    "Rule",
    "ScoreSchedule",
    "Threshold",
    "TrainConfig",
    "UserError",
    "merged_state_dict",
    "shrink",
    "train",
]

_PLACES = {
    "Generator": "rggan.generation.generator",
    "TrainConfig": "rggan.config",
    "UserError": "rggan.errors",
    "shrink": "rggan.export.shrink",
    "train": "rggan.training.train",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module
    from importlib.util import find_spec

    if name not in __all__:
        if name.startswith("_") or find_spec(f"rggan.{name}") is None:
            raise AttributeError(f"module 'rggan' has no attribute {name!r}")
        return import_module(f"rggan.{name}")
    found = globals()[name] = getattr(import_module(_PLACES.get(name, "rggan.pruning")), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
