"""Networks over many images: in batches on the device, with NumPy arrays in and out."""

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcompare.measure.runtime import MATMUL_PRECISION

Params = Any  # a pytree of arrays
Examples = Any  # a pytree of arrays that share their leading axis

BATCH = 256
"""Examples that are on the device at a time."""

CPU_SLICE = 16
"""Examples that a CPU computes at a time: their activations stay in its cache, which is twice as fast as a batch's."""

CONSTANT = 1e-5
"""A feature whose deviations from its mean stay below this share of its size is constant: float32 rounds at 1e-7."""

LOGITS = "logits"
"""Name of the last layer, beside the names of the activations."""


def layers_of(model: nn.Module, params: Params, images: Float[Array, "n h w c"]) -> OrderedDict[str, Array]:
    """Every layer's activation by name, in order, the logits last; dropout off. JAX would sort a plain dictionary."""
    result: Any = model.apply({"params": params}, images, train=False)
    logits, activations = result
    return OrderedDict(**activations, **{LOGITS: logits})


def map_examples(
    function: Callable[..., Any], model: nn.Module, params: Params, examples: Examples, *options: Hashable
) -> Any:
    """`function(model, params, some examples, *options)` over all examples, put together along the leading axis.

    Compiled once for each function, model and choice of options, so give a function of a module, not one made on the
    spot. No example may depend on another: the last batch is filled up with repetitions, which are cut off again.

    Args:
        examples: an array or a pytree of arrays with a leading axis of examples.

    Returns:
        The function's pytree, with NumPy arrays.

    Raises:
        ValueError: no examples, or leading axes that differ.
    """
    examples = jax.tree.map(np.asarray, examples)
    counts = {len(leaf) for leaf in jax.tree.leaves(examples)}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"one or more examples are needed, as many in every array, not {sorted(counts)}")
    count = counts.pop()
    part = CPU_SLICE if jax.default_backend() == "cpu" else BATCH
    batch = min(BATCH, -(-count // part) * part)
    results, params = [], jax.device_put(params)
    for start in range(0, count, batch):
        # Beyond the end: the last example over and over.
        rows = np.minimum(np.arange(start, start + batch), count - 1)
        taken = jax.tree.map(lambda leaf, rows=rows: leaf[rows], examples)
        # As runs are evaluated: a GPU would round products by itself.
        with jax.default_matmul_precision(MATMUL_PRECISION["float32"]):
            results.append(jax.device_get(_in_slices(function, model, options, part, params, taken)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _in_slices(
    function: Callable[..., Any],
    model: nn.Module,
    options: tuple[Hashable, ...],
    part: int,
    params: Params,
    examples: Examples,
) -> Any:
    sliced = jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, part, *leaf.shape[1:])), examples)
    results = jax.lax.map(lambda some: function(model, params, some, *options), sliced)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), results)


def predict(
    model: nn.Module, params: Params, images: Float[Array | np.ndarray, "n h w c"]
) -> Float[np.ndarray, "n classes"]:
    """Class probabilities of normalised images, dropout off."""
    return map_examples(_probabilities, model, params, images)


def _probabilities(model: nn.Module, params: Params, images: Array) -> Array:
    logits = model.apply({"params": params}, images, train=False)[0]
    return jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), axis=-1)


def pooled_features(
    model: nn.Module, params: Params, images: Float[Array | np.ndarray, "n h w c"], most: int = 512
) -> dict[str, Float[np.ndarray, "n d"]]:
    """Every layer's features, of at most `most` values an image where the layer's width allows.

    - A map of (h, w, channels), and the ViT's patch tokens as such a map: means over the cells of the finest grid of
      g x g cells, g a power of 2 that divides both sides, with g * g * channels <= `most`; g = 1 is the mean over all
      positions. With 512, the recipe's CNN has 512, 256, 512 and the ViT 512 features a layer.
    - The ViT's class token stands apart, as "<layer>/class", with the token's width: its head reads that token alone.
    - A vector, such as the logits: as it is.

    Args:
        images: normalised.
        most: the largest number of features.
    """
    return map_examples(_pool_layers, model, params, images, most)


def _pool_layers(model: nn.Module, params: Params, images: Array, most: int) -> OrderedDict[str, Array]:
    pooled = OrderedDict[str, Array]()
    for name, activation in layers_of(model, params, images).items():
        activation = activation.astype(jnp.promote_types(activation.dtype, jnp.float32))
        if activation.ndim == 3:
            pooled[f"{name}/class"] = activation[:, 0]
            activation = activation[:, 1:].reshape(len(images), *patch_grid(model, images), activation.shape[-1])
        pooled[name] = pool_map(activation, most) if activation.ndim == 4 else activation
    return pooled


def pool_map(x: Float[Array, "n h w c"], most: int) -> Float[Array, "n d"]:
    """Means over g x g cells, flattened as (row, column, channel); see `pooled_features`."""
    n, h, w, c = x.shape
    cells = 1
    while h % (2 * cells) == 0 and w % (2 * cells) == 0 and (2 * cells) ** 2 * c <= most:
        cells *= 2
    return x.reshape(n, cells, h // cells, cells, w // cells, c).mean(axis=(2, 4)).reshape(n, cells * cells * c)


def patch_grid(model: nn.Module, images: Array | np.ndarray) -> tuple[int, int]:
    """Rows and columns of a ViT's patches."""
    patch: int = getattr(model, "patch")  # noqa: B009 - a module of Flax has no declared patch
    return images.shape[1] // patch, images.shape[2] // patch
