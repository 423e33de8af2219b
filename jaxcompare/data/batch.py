"""What a train or evaluation step receives, and where a run gets it from."""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

CROP_PADDING = 4
"""Pixels of zeros around a training image before its random crop."""


class Batch(NamedTuple):
    """`size` examples, of which those with mask 1 count; the rest are padding, so that every batch has one shape.

    NumPy's arrays or JAX's. They are not named: that would import JAX where PyTorch alone is measured.
    """

    images: Float[Any, "size h w c"]
    labels: Int[Any, " size"]
    mask: Float[Any, " size"]


def full_batches(images: Float[np.ndarray, "batches n h w c"], labels: Int[np.ndarray, "batches n"]) -> list[Batch]:
    """Batches in which every example counts."""
    ones = np.ones(labels.shape[1], np.float32)
    return [Batch(*of_one, ones) for of_one in zip(images, labels, strict=True)]


class Loader(Protocol):
    """Batches, epoch by epoch. A context manager, so that workers can live as long as a run."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: object) -> None: ...


def save_batches(folder: Path, batches: Sequence[Batch]) -> None:
    """Write NumPy batches of one shape, for `load_batches`; the folder is there when all of them are."""
    partial = folder.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    for name, parts in zip(Batch._fields, zip(*batches, strict=True), strict=True):
        np.save(partial / f"{name}.npy", np.stack(parts))
    partial.rename(folder)


def load_batches(folder: Path) -> list[Batch]:
    """What `save_batches` wrote."""
    parts = [_load_aligned(folder / f"{name}.npy") for name in Batch._fields]
    return [Batch(*batch) for batch in zip(*parts, strict=True)]


def _load_aligned(path: Path) -> np.ndarray:
    """From the beginning of a page on, so that a batch's images are aligned as those that a loader makes: XLA takes the
    one as it takes the other, without a copy."""
    source = np.load(path, mmap_mode="r")
    array = np.frombuffer(mmap.mmap(-1, source.nbytes), source.dtype).reshape(source.shape)
    array[...] = source
    return array


class ReadyBatches:
    """Batches that are there before a clock starts, the same ones in every epoch."""

    def __init__(self, batches: Sequence[Batch]):
        self.batches = batches

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """All of them."""
        del epoch
        return iter(self.batches)

    def __enter__(self) -> "ReadyBatches":
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to release."""
