"""Which training images a run sees."""

import numpy as np
from jaxtyping import Int

from jaxcompare.config import DataConfig, InputError


def draw_subset(labels: Int[np.ndarray, " n"], data: DataConfig, seed: int) -> Int[np.ndarray, " size"]:
    """Indices of the training images that `data` and `seed` draw; all, in order, where there is nothing to draw.

    Raises:
        InputError: there are fewer images than that.
        ValueError: `data.subsets` is still "auto".
    """
    size = data.train_size
    if size is None or size == len(labels):
        return np.arange(len(labels))
    if size > len(labels):
        raise InputError(
            f"--train-size: {size} is more than the {len(labels)} training images; give at most {len(labels)}"
        )
    if data.subsets == "independent":
        return np.random.default_rng((seed, size)).permutation(len(labels))[:size]
    if data.subsets == "nested":
        return stratified_order(labels, seed)[:size]
    raise ValueError("subsets: 'auto' is to be resolved first")


def stratified_order(labels: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """A random order of all images in which every beginning holds the classes in the proportions of the whole.

    The images of a class, shuffled, are spread evenly over (0, 1): the j-th of n_c at (j + 1/2) / n_c. Sorted by that,
    equal places in random order, the first m hold m n_c / n of class c, to within one image where classes are of equal
    size and to within a few anywhere.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((rng.random(len(labels)), place))
