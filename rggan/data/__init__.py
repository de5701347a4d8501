"""Pictures of any input form -> one uint8 tensor; labels; seeded subsets; batches; pictures."""

from rggan.data.batches import Batches
from rggan.data.form import Form
from rggan.data.images import ImageSet, load_images
from rggan.data.picture import Picture

__all__ = ["Batches", "Form", "ImageSet", "Picture", "load_images"]
