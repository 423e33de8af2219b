"""What a train or evaluation step receives."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int
from numpy import ndarray


class Batch(NamedTuple):
    """`size` examples, of which those with mask 1 count; the rest are padding, so that every batch has one shape."""

    images: Float[Array | ndarray, "size h w c"]
    labels: Int[Array | ndarray, " size"]
    mask: Float[Array | ndarray, " size"]
