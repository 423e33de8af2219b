"""Which pixels a prediction rests on, as a map says, and whether the network agrees: deletion curves.

Any map of (images, rows, columns) can be tested: the CNN's Grad-CAM, the ViT's rollout (`attention.rollout_maps`), the
gradient's size of either. Maps of two kinds differ in more than their networks: `gradient_maps`, which both networks
have, is what they can be compared by.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxcompare.models.cnn import CNN
from jaxcompare.representations.forward import Params, layers_of, map_examples, predict

READERS = {"block_0": "conv_1", "block_1": "conv_2", "block_2": "hidden"}
"""The CNN's module that reads each block's output."""


def grad_cam(
    model: CNN,
    params: Params,
    images: Float[Array | np.ndarray, "n h w c"],
    classes: Int[Array | np.ndarray, " n"],
    layer: str = "block_2",
) -> Float[np.ndarray, "n h w"]:
    """Grad-CAM of the CNN: a block's channels, each weighted by the mean gradient of the class's logit, added, ReLU.

    Enlarged to the image bilinearly. A map may be 0 everywhere: nothing in this layer speaks for the class.

    Args:
        images: normalised.
        classes: whose logit is explained, such as the predicted class.
        layer: a block; the last, after its pool, has 4x4 places at the recipe's size.

    Raises:
        ValueError: the layer is no block.

    Source: Selvaraju et al. 2017, Grad-CAM, equations 1 and 2.
    """
    if layer not in READERS:
        raise ValueError(f"layer {layer!r} is unknown; choose one of {', '.join(READERS)}")
    return map_examples(_grad_cam, model, params, (np.asarray(images), np.asarray(classes)), layer)


def _grad_cam(model: CNN, params: Params, examples: tuple[Array, Array], layer: str) -> Array:
    images, classes = examples
    x = layers_of(model, params, images)[layer]

    def logit_sum(added: Array) -> Array:
        # What is added to the reader's input has the gradient of the block's output.
        def interceptor(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
            if context.module.name == READERS[layer] and context.method_name == "__call__":
                arguments = (arguments[0] + added.reshape(arguments[0].shape), *arguments[1:])
            return call(*arguments, **keywords)

        with nn.intercept_methods(interceptor):
            return _chosen_logits(model, params, images, classes).sum()

    weights = jax.grad(logit_sum)(jnp.zeros_like(x)).mean(axis=(1, 2), keepdims=True)
    return jax.image.resize(jax.nn.relu(jnp.sum(weights * x, axis=-1)), images.shape[:3], "bilinear")


def _chosen_logits(model: nn.Module, params: Params, images: Array, classes: Array) -> Array:
    logits: Any = model.apply({"params": params}, images, train=False)
    return jnp.take_along_axis(logits[0], classes[:, None], axis=1)[:, 0]


def gradient_maps(
    model: nn.Module,
    params: Params,
    images: Float[Array | np.ndarray, "n h w c"],
    classes: Int[Array | np.ndarray, " n"],
) -> Float[np.ndarray, "n h w"]:
    """Size of the gradient of a class's logit with respect to each pixel: the largest over colours. For any network.

    Source: Simonyan et al. 2014, Deep Inside Convolutional Networks, section 3.1.
    """
    return map_examples(_gradient_maps, model, params, (np.asarray(images), np.asarray(classes)))


def _gradient_maps(model: nn.Module, params: Params, examples: tuple[Array, Array]) -> Array:
    images, classes = examples
    gradient = jax.grad(lambda images: _chosen_logits(model, params, images, classes).sum())(images)
    return jnp.abs(gradient).max(axis=-1)


@dataclasses.dataclass(frozen=True)
class Deletion:
    """Probability of the class predicted for the whole image, as pixels are replaced by the data's mean colour."""

    fractions: Float[np.ndarray, " steps"]
    """Of pixels replaced: 0 to 1."""
    probability: Float[np.ndarray, "n steps"]


def deletion(
    model: nn.Module,
    params: Params,
    images: Float[np.ndarray, "n h w c"],
    maps: Float[np.ndarray, "n h w"],
    *,
    steps: int = 8,
) -> Deletion:
    """The deletion curve of a map: its largest pixels go first.

    Equal values are taken in a random order of each image's own, the same at every call: a map that is the same
    everywhere has that order's curve. `steps` + 1 forward passes an image.

    Args:
        images: normalised.
        maps: which pixels matter; only their order counts.
        steps: of equally many pixels (to within one), at most as many as there are pixels.

    Raises:
        ValueError: a map that is not finite, shapes that do not fit, or steps fewer than 1 or more than pixels.

    Source: Petsiuk et al. 2018, RISE: Randomized Input Sampling for Explanation, section 4.1, there without a random
    order to compare with.
    """
    count, height, width, _ = images.shape
    if maps.shape != (count, height, width) or not np.isfinite(maps).all():
        raise ValueError(f"finite maps of shape {(count, height, width)} are needed, not of {maps.shape}")
    if not 1 <= steps <= height * width:
        raise ValueError(f"steps must be between 1 and {height * width} pixels, not {steps}")
    random = np.random.default_rng(0).permuted(np.tile(np.arange(height * width), (count, 1)), axis=1)
    # Sorted by the map, its largest first, and among equals by the random rank.
    order = np.lexsort((random, -maps.reshape(count, -1)), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(height * width)[None], axis=1)
    ranks = ranks.reshape(count, height, width, 1)
    replaced = np.round(np.linspace(0, height * width, steps + 1)).astype(int)
    found = [predict(model, params, np.where(ranks < k, np.float32(0), images)) for k in replaced]
    predicted = found[0].argmax(axis=1)
    curve = np.stack([part[np.arange(count), predicted] for part in found], axis=1)
    return Deletion(replaced / (height * width), curve)
