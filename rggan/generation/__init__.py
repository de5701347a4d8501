"""Pictures of a trained generator: the only sampler, the generator and its file, walks and films."""
