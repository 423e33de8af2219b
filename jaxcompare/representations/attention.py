"""Where the ViT looks: mean attention distance of every head, and attention rollout."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcompare.models.vit import ATTENTION
from jaxcompare.representations.forward import Params, map_examples, patch_grid


class HeadDistances(NamedTuple):
    """Of one image, or the means over many."""

    pixels: Float[Array | np.ndarray, "*n layers heads"]
    """Mean attention distance of the patches' queries, in pixels."""
    class_share: Float[Array | np.ndarray, "*n layers heads"]
    """Attention that the patches' queries give to the class token, which has no place and so is left out above."""


def attention_probabilities(
    model: nn.Module, params: Params, images: Float[Array | np.ndarray, "n h w c"]
) -> Float[Array, "n layers heads tokens tokens"]:
    """Attention of every query (next to last axis) over the keys (last axis), dropout off; the class token is first.

    All at once, 270 KB an image at the recipe's sizes: a batch of a few hundred images, not a data set.

    Raises:
        ValueError: the model has no attention.
    """
    applied: Any = model.apply({"params": params}, images, train=False, mutable=["intermediates"])
    sown = applied[1].get("intermediates", {})
    if ATTENTION not in sown:
        raise ValueError(f"{type(model).__name__} has no attention")
    return jnp.stack(sown[ATTENTION], axis=1)


def patch_distances(rows: int, columns: int, patch: int) -> Float[np.ndarray, "patches patches"]:
    """Euclidean distance between the centres of any two patches, in pixels."""
    places = patch * np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    return np.linalg.norm(places[:, None] - places[None], axis=-1).astype(np.float32)


def attention_distance(
    probabilities: Float[Array, "n layers heads tokens tokens"], distances: Float[Array, "patches patches"]
) -> HeadDistances:
    """Each image's mean distance between a query patch and the patches it attends to, weighted by attention.

    The class token is excluded twice: as a query, and as a key, whose share of attention is taken away before what is
    left of each query's is scaled to sum to 1. A query that gives nothing to patches is left out; where all do, the
    distance is 0. For uniform attention it is `distances.mean()`.

    Source: Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, figure 7 (right).
    """
    wide = jnp.promote_types(probabilities.dtype, jnp.float32)
    patches = probabilities[..., 1:, 1:].astype(wide)
    mass = patches.sum(axis=-1)
    reach = jnp.einsum("...qk,qk->...q", patches, jnp.asarray(distances, wide))
    attending = mass > 0
    # A query without attention to patches has no reach either: 0 / 1.
    per_query = reach / jnp.where(attending, mass, 1)
    mean = per_query.sum(axis=-1) / jnp.maximum(1, attending.sum(axis=-1))
    return HeadDistances(mean, probabilities[..., 1:, 0].astype(wide).mean(axis=-1))


def mean_attention_distance(
    model: nn.Module, params: Params, images: Float[Array | np.ndarray, "n h w c"]
) -> HeadDistances:
    """`attention_distance` of every layer and head, the mean over images.

    Args:
        images: normalised.

    Raises:
        ValueError: the model has no attention.
    """
    return HeadDistances(*(part.mean(axis=0) for part in map_examples(_distances, model, params, images)))


def _distances(model: nn.Module, params: Params, images: Array) -> HeadDistances:
    probabilities = attention_probabilities(model, params, images)
    rows, columns = patch_grid(model, images)
    return attention_distance(probabilities, jnp.asarray(patch_distances(rows, columns, images.shape[1] // rows)))


def rollout(probabilities: Float[Array, "n layers heads tokens tokens"]) -> Float[Array, "n tokens tokens"]:
    """Attention rollout: how much of each input token (last axis) is in each output token, residuals counted as half.

    The product over layers of (A + I) / 2, with A the mean over heads; rows sum to 1. It knows nothing of values, MLPs
    or classes.

    Source: Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, equation 1.
    """
    probabilities = probabilities.astype(jnp.promote_types(probabilities.dtype, jnp.float32))
    mixed = (probabilities.mean(axis=2) + jnp.eye(probabilities.shape[-1])[None, None]) / 2
    mixed = mixed / mixed.sum(axis=-1, keepdims=True)
    total = mixed[:, 0]
    for layer in range(1, mixed.shape[1]):
        total = jnp.matmul(mixed[:, layer], total, precision="highest")
    return total


def rollout_maps(
    model: nn.Module, params: Params, images: Float[Array | np.ndarray, "n h w c"]
) -> Float[np.ndarray, "n h w"]:
    """The class token's rollout over the patches, each value repeated over its patch's pixels.

    What the class token keeps of itself is left out, so a map sums to less than 1 before it is repeated.

    Args:
        images: normalised.

    Raises:
        ValueError: the model has no attention.
    """
    return map_examples(_rollout_maps, model, params, images)


def _rollout_maps(model: nn.Module, params: Params, images: Array) -> Array:
    share = rollout(attention_probabilities(model, params, images))[:, 0, 1:]
    return jax.image.resize(share.reshape(len(images), *patch_grid(model, images)), images.shape[:3], "nearest")
