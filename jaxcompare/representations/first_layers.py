"""What the first layers look for: the CNN's filters, the ViT's patch embedding and its position embeddings."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from jaxcompare.representations.forward import Params


class Components(NamedTuple):
    """Principal components of the patch embedding's filters, the strongest first."""

    filters: Float[np.ndarray, "count patch patch c"]
    """Of length 1; a component's sign means nothing, so its largest weight is made positive."""
    explained: Float[np.ndarray, " count"]
    """Share of the filters' variance. All 0: the filters are alike."""


def cnn_filters(params: Params) -> Float[np.ndarray, "filters 3 3 c"]:
    """The CNN's first kernels as pictures: each scaled by its own largest weight to [0, 1], 0.5 being no weight.

    A dead filter is 0.5 throughout.
    """
    kernel = np.moveaxis(np.asarray(params["conv_0"]["kernel"], np.float32), -1, 0)
    largest = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * np.divide(kernel, largest, out=np.zeros_like(kernel), where=largest > 0)


def patch_components(params: Params, patch: int, count: int = 28) -> Components:
    """Principal components of the ViT's patch embedding: of one filter of patch x patch pixels for each value of a
    token, less their mean.

    Raises:
        ValueError: the patch does not fit the embedding, or more components than a filter has weights.

    Source: Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, figure 7 (left), there 28 of them.
    """
    kernel = np.asarray(params["patch_embed"]["kernel"], np.float64)
    weights, filters = kernel.shape
    if weights % patch**2:
        raise ValueError(f"an embedding of {weights} values is not one of patches of {patch}x{patch} pixels")
    if not 1 <= count <= min(weights, filters):
        raise ValueError(f"components must be between 1 and {min(weights, filters)}, not {count}")
    _, strengths, directions = np.linalg.svd((kernel - kernel.mean(axis=1, keepdims=True)).T, full_matrices=False)
    variances, directions = strengths**2, directions[:count]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.sign(largest)
    total = variances.sum()
    explained = variances[:count] / total if total > 0 else np.zeros(count)
    return Components(directions.reshape(count, patch, patch, -1), explained)


def position_similarity(params: Params, rows: int, columns: int) -> Float[np.ndarray, "rows columns rows columns"]:
    """Cosine similarity of every patch's position embedding (first two axes) with every other's; no class token's.

    An embedding of zeros is similar to none, itself included: 0.

    Raises:
        ValueError: the embeddings are not those of so many patches.

    Source: Dosovitskiy et al. 2021, figure 7 (centre).
    """
    embeddings: Array = params["pos_embed"]
    x = np.asarray(embeddings, np.float64)[0, 1:]
    if len(x) != rows * columns:
        raise ValueError(f"{len(x)} position embeddings are not those of {rows}x{columns} patches")
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return (x @ x.T).reshape(rows, columns, rows, columns)
