"""What a train or evaluation step receives, and where a run gets it from."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

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


class Loader(Protocol):
    """Batches, epoch by epoch. A context manager, so that workers can live as long as a run."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: object) -> None: ...


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
