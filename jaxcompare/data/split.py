"""Decoded images and labels, whatever they come from."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jaxcompare.config import DataConfig
from jaxcompare.data.subsets import draw_subset

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Channel means and standard deviations of pixels in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their labels."""

    images: UInt8[np.ndarray, "n h w 3"]
    labels: Int[np.ndarray, " n"]
    flip_probability: float = 0.5
    """With which a training image is mirrored: the recipe's, but 0 where a mirrored image is another thing."""

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, count: int) -> "Split":
        """The first `count` examples, or all if there are fewer."""
        return self.take(slice(count))

    def take(self, indices: Int[np.ndarray, " m"] | slice) -> "Split":
        """The examples at `indices`."""
        return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Both splits, the class names, and the channel statistics that batches are normalised with."""

    title: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    statistics: Statistics
    fingerprint: str
    """SHA-256 of the images and labels of both splits as loaded; a subset keeps the whole's."""
    skipped: tuple[str, ...] = ()
    """Of a folder of images, the files that could not be used and were passed over."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the record of a run on these images has of them in `execution`."""
        return {"skipped_images": list(self.skipped)} if self.skipped else {}


def training_subset(dataset: Dataset, data: DataConfig, seed: int) -> Dataset:
    """The same data set with the training images that `data` and `seed` draw; see `subsets.draw_subset`."""
    indices = draw_subset(dataset.train.labels, data, seed)
    return dataclasses.replace(dataset, train=dataset.train.take(indices))
