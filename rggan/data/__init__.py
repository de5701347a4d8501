"""Pictures of any input form -> one uint8 tensor; labels; seeded subsets; batches; pictures.

A name is loaded when it is first asked for: the processes that decode pictures (`workers`) need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rggan.data.batches import Batches
    from rggan.data.form import Form
    from rggan.data.images import ImageSet, load_images
    from rggan.data.picture import Picture

__all__ = ["Batches", "Form", "ImageSet", "Picture", "load_images"]

_PLACES = {"Batches": "batches", "Form": "form", "ImageSet": "images", "Picture": "picture", "load_images": "images"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rggan.data' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"rggan.data.{_PLACES[name]}"), name)
    return found
