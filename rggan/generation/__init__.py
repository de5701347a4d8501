"""Sampling from a trained generator: the latent sampler, the generator and its file, interpolations and videos."""
