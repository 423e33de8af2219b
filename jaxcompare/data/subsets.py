"""Which training images a run sees."""

import numpy as np
from jaxtyping import Int

from jaxcompare.config import InputError


def random_subset(available: int, size: int | None, seed: int) -> Int[np.ndarray, " size"]:
    """Indices of `size` images drawn without replacement from `available`; all of them, in order, if `size` is None."""
    if size is None:
        return np.arange(available)
    if size > available:
        raise InputError(f"--train-size: {size} is more than the {available} training images; give at most {available}")
    return np.random.default_rng(seed).permutation(available)[:size]
