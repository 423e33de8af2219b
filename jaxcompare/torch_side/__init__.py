"""The same recipe in PyTorch: the reference that the JAX side is held against, and a side of the speed study."""
