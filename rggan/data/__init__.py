"""A folder or zip of images -> one uint8 tensor; labels; seeded subsets; batches; pictures."""

from rggan.data.batches import Batches
from rggan.data.images import ImageSet, load_images

__all__ = ["Batches", "ImageSet", "load_images"]
