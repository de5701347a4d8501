"""Augmentations of real and generated images alike: DiffAugment, and adaptive ones (ADA)."""
