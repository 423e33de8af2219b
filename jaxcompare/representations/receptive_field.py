"""How far a unit sees: the effective receptive field, for both networks, beside the CNN's theoretical one.

Its width is in pixels, as mean attention distance is, so both can stand on one axis. They are not the same: attention
distance is what one layer mixes, between centres of patches; the field is all that a unit has gathered up to its layer,
pixel by pixel.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from jaxcompare.representations.forward import Params, layers_of, map_examples, patch_grid


class Field(NamedTuple):
    """Pixels that can reach a unit of a CNN's block, along one axis: unit i sees `size` of them from
    `stride * i + first` on, those beyond the image's edges being padding."""

    size: int
    stride: int
    first: int


class EffectiveField(NamedTuple):
    """The field of a layer's centre unit."""

    weights: Float[np.ndarray, "h w"]
    """Mean over images of |gradient|, summed over colours, scaled to sum to 1."""
    centre: tuple[float, float]
    """Row and column of the middle of what the unit stands for, in pixels from the first pixel's centre."""
    width: float
    """Mean distance from the centre, weighted by |gradient|, in pixels: 0 where only the centre's pixel counts."""


def theoretical_field(block: int) -> Field:
    """Of the CNN's block, counted from 0, each a 3x3 convolution with padding 1 and a 2x2 pool: 4, 10, 22 pixels.

    With strides 2^(block + 1), size 3 * stride - 2: a convolution adds 2 strides of what it reads, a pool one. The
    third is the last before flattening; the hidden layer sees the whole image.

    Source: Araujo et al. 2019, Computing Receptive Fields of Convolutional Neural Networks.
    """
    stride = 2 ** (block + 1)
    return Field(3 * stride - 2, stride, 1 - stride)


def effective_field(
    model: nn.Module,
    params: Params,
    images: Float[Array | np.ndarray, "n h w c"],
    layer: str,
) -> EffectiveField | None:
    """The gradient of a layer's centre unit with respect to the input, averaged over images.

    The unit is at half of the rows and columns of a map (of an even number, the lower right of the four in the middle)
    or of the ViT's patches. Its channels are added with random signs, drawn for each image: the gradient's size is then
    about the root of the sum of the channels' squares, with no channel cancelling another for good.

    Args:
        images: normalised; a few hundred are enough.
        layer: name of an activation with places: a CNN's block, or any of the ViT's but the logits.

    Returns:
        None where no gradient reaches the input: the unit is dead.

    Raises:
        ValueError: a layer that is not there or has no places, or a gradient that is not finite.

    Source: Luo et al. 2016, Understanding the Effective Receptive Field in Deep Convolutional Neural Networks,
    section 3; the width there is of a fitted Gaussian, here a mean distance, which supposes no shape.
    """
    shapes = jax.eval_shape(lambda params, some: layers_of(model, params, some), params, np.asarray(images)[:1])
    if layer not in shapes or shapes[layer].ndim < 3:
        places = [name for name, shape in shapes.items() if shape.ndim >= 3]
        raise ValueError(f"layer {layer!r} has no places; choose one of {', '.join(places)}")
    seeds = np.random.default_rng(0).integers(0, 2**32, len(images), dtype=np.uint32)
    found = map_examples(_gradients, model, params, (np.asarray(images), seeds), layer)
    weights = found.astype(np.float64).mean(axis=0)
    total = weights.sum()
    if not np.isfinite(total):
        raise ValueError(f"the gradient of {layer!r} is not finite")
    if not total:
        return None
    weights = weights / total
    centre = _centre(model, np.asarray(images), shapes[layer].shape)
    rows, columns = (np.arange(side) - middle for side, middle in zip(weights.shape, centre, strict=True))
    return EffectiveField(weights, centre, float((weights * np.hypot(rows[:, None], columns[None])).sum()))


def _gradients(
    model: nn.Module, params: Params, examples: tuple[Float[Array, "n h w c"], UInt32[Array, " n"]], layer: str
) -> Float[Array, "n h w"]:
    images, seeds = examples

    def unit(images: Array) -> Array:
        x = layers_of(model, params, images)[layer]
        if x.ndim == 3:
            x = x[:, 1:].reshape(len(images), *patch_grid(model, images), x.shape[-1])
        channels = x[:, x.shape[1] // 2, x.shape[2] // 2]
        signs = jax.vmap(lambda seed: jax.random.rademacher(jax.random.key(seed), channels.shape[1:], channels.dtype))
        # An image's unit depends on no other image: the gradient of the sum holds each one's.
        return jnp.sum(channels * signs(seeds))

    return jnp.abs(jax.grad(unit)(images)).sum(axis=-1)


def _centre(model: nn.Module, images: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float]:
    if len(shape) == 3:
        rows, columns = patch_grid(model, images)
        patch = images.shape[1] // rows
        return patch * (rows // 2) + (patch - 1) / 2, patch * (columns // 2) + (patch - 1) / 2
    # A block halves the sides, so its stride says which it is; see `theoretical_field`.
    block = (images.shape[1] // shape[1]).bit_length() - 2
    size, stride, first = theoretical_field(block)
    return stride * (shape[1] // 2) + first + (size - 1) / 2, stride * (shape[2] // 2) + first + (size - 1) / 2
