"""The same recipe in PyTorch: the reference that the JAX side is held against."""
