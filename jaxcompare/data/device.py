"""Device-resident input: a split lives on the device as uint8; batches are drawn, augmented and normalised inside jit.

The same distribution as the host pipeline's, from JAX's own random numbers: everything about batch `index` of an epoch
follows from (key, epoch, index) alone, so that no engine and no resumption changes a pixel.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from jaxcompare.data.batch import CROP_PADDING, Batch
from jaxcompare.data.split import Split, Statistics


class DeviceSplit(NamedTuple):
    """A split in device memory."""

    images: UInt8[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, " n"]
    levels: Float[Array | np.ndarray, "256 c"]
    """What each pixel value becomes in each channel when it is normalised: looked up, since XLA computes a division by
    a constant as a product with its reciprocal, an ulp off torchvision's."""


class Crops(NamedTuple):
    """What torchvision's RandomCrop(size, padding=4) and RandomHorizontalFlip(p) draw for each image: where its crop
    begins in the padded image, 0 to 8 pixels from the top and from the left, and whether it is mirrored."""

    top: Int[Array, "..."]
    left: Int[Array, "..."]
    flip: Bool[Array, "..."]


class EpochPlan(NamedTuple):
    """One epoch's order and augmentation, drawn before its first step: in a step, draws are small kernels on a GPU."""

    order: Int[Array, " examples"]
    """Indices into the split, shuffled."""
    crops: Crops
    """Each (batches, batch size), the last batch's padding included."""


class Shard(NamedTuple):
    """What of a batch one device computes: `size` places from `first` on. Those past the batch's end are padding."""

    first: int | Int[Array, ""]
    size: int


def put_split(split: Split, statistics: Statistics, put: Callable[[DeviceSplit], DeviceSplit]) -> DeviceSplit:
    """Copy a split to where `put` puts a pytree of NumPy arrays."""
    mean, std = (np.asarray(values, np.float32) for values in statistics)
    levels = (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - mean) / std
    return put(DeviceSplit(split.images, split.labels, levels))


def count_batches(examples: int, batch_size: int) -> int:
    """Batches per epoch, the last, short one included."""
    return math.ceil(examples / batch_size)


def plan_epoch(
    key: Key[Array, ""],
    epoch: int | Int[Array, ""],
    subset: Int[Array, " images"],
    batch_size: int,
    flip_probability: float,
    examples: int | None = None,
) -> EpochPlan:
    """The epoch's order of the images at `subset`, and its augmentation.

    Args:
        examples: how many an epoch shows, by default as many as `subset` has; of more, shuffles follow each other.
    """
    shuffle_key, augment_key = jax.random.split(jax.random.fold_in(key, epoch))
    examples = examples or len(subset)
    passes = math.ceil(examples / len(subset))
    keys = shuffle_key[None] if passes == 1 else jax.random.split(shuffle_key, passes)
    shuffles = jax.vmap(lambda key: jax.random.permutation(key, subset))(keys)
    batches = jnp.arange(count_batches(examples, batch_size))
    crops = jax.vmap(lambda i: draw_crops(jax.random.fold_in(augment_key, i), batch_size, flip_probability))(batches)
    return EpochPlan(shuffles.ravel()[:examples], crops)


def train_batch(split: DeviceSplit, plan: EpochPlan, index: Int[Array, ""], shard: Shard | None = None) -> Batch:
    """Batch `index` of an epoch, or a device's part of it: its images as the plan orders them, randomly cropped and
    flipped, normalised."""
    places, indices, counts = _find(index, plan.crops.top.shape[1], shard, len(plan.order))
    indices = plan.order[indices]
    images = crop_and_flip(split.images[indices], *(draws[index, places] for draws in plan.crops))
    return _batch(split, images, indices, counts)


def test_batch(split: DeviceSplit, index: Int[Array, ""], batch_size: int, shard: Shard | None) -> Batch:
    """Batch `index` of a split in its own order, or a device's part of it, normalised."""
    _, indices, counts = _find(index, batch_size, shard, len(split.labels))
    return _batch(split, split.images[indices], indices, counts)


def _find(
    index: Int[Array, ""], batch_size: int, shard: Shard | None, examples: int
) -> tuple[Int[Array, " size"], Int[Array, " size"], Bool[Array, " size"]]:
    """Places in batch `index` of `examples`, the examples that stand there, and which of them count."""
    first, size = shard or Shard(0, batch_size)
    places = first + jnp.arange(size)
    indices = index * batch_size + places
    counts = (places < batch_size) & (indices < examples)
    return jnp.minimum(places, batch_size - 1), jnp.minimum(indices, examples - 1), counts


def _batch(split: DeviceSplit, images: Array, indices: Array, counts: Bool[Array, " size"]) -> Batch:
    batch = Batch(normalise(images, split), split.labels[indices], counts.astype(jnp.float32))
    # Made once: without the barrier XLA:CPU fuses the gathers into every user.
    return jax.lax.optimization_barrier(batch)


def normalise(images: UInt8[Array, "n h w c"], split: DeviceSplit) -> Float[Array, "n h w c"]:
    """[0, 255] -> [0, 1] -> zero mean, unit deviation, in float32: to the bit what `data.host.normalise` gives."""
    return split.levels[images, jnp.arange(images.shape[-1])]


def draw_crops(key: Key[Array, ""], images: int, flip_probability: float) -> Crops:
    """Of so many images, each (images,)."""
    crop_key, flip_key = jax.random.split(key)
    top, left = jax.random.randint(crop_key, (2, images), 0, 2 * CROP_PADDING + 1)
    return Crops(top, left, jax.random.bernoulli(flip_key, flip_probability, (images,)))


def crop_and_flip(
    images: UInt8[Array, "n h w c"], top: Int[Array, " n"], left: Int[Array, " n"], flip: Bool[Array, " n"]
) -> UInt8[Array, "n h w c"]:
    """Pad by 4 with zeros, cut at (top, left) of each image, mirror the images where `flip`.

    One gather, without a padded copy: on CPUs a step of the CNN takes 5 % less than with `pad` and `dynamic_slice`.
    """
    n, h, w, _ = images.shape
    y, x = jnp.arange(h), jnp.arange(w)
    rows = (top - CROP_PADDING)[:, None] + y[None]
    columns = (left - CROP_PADDING)[:, None] + jnp.where(flip[:, None], (w - 1 - x)[None], x[None])
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    pixels = images[
        jnp.arange(n)[:, None, None], jnp.clip(rows, 0, h - 1)[:, :, None], jnp.clip(columns, 0, w - 1)[:, None, :]
    ]
    return jnp.where(inside[..., None], pixels, 0)
