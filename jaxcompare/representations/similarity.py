"""How alike two layers are: debiased linear CKA, mutual nearest neighbours, layer identification.

CKA takes an example's whole activation as one vector: pixels and tokens (the class token too) are flattened together
with the channels. Layers of any shapes can then be compared, since only their Gram matrices over examples are; what a
layer says of where a thing is counts, as much as what it says that it is. Nearest neighbours are found in pooled
features instead (`forward.pooled_features`): over all pairs of 10,000 images, whole activations would take hours.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxcompare.representations.forward import CONSTANT, Params, layers_of, map_examples

NOT_FINITE = "activations must be finite to be compared: leave out networks that diverged"


@dataclasses.dataclass(frozen=True)
class LayerSimilarity:
    """Every layer against every layer, of all networks given."""

    layers: tuple[tuple[str, str], ...]
    """(network, layer)."""
    values: Float[np.ndarray, "layers layers"]

    def block(self, network: str, other: str) -> Float[np.ndarray, "a b"]:
        """The layers of one network, as rows, against those of another, or of itself.

        Raises:
            ValueError: a network that is not among them.
        """
        rows, columns = ([i for i, (name, _) in enumerate(self.layers) if name == n] for n in (network, other))
        if not rows or not columns:
            raise ValueError(f"{network!r} and {other!r} must be among {sorted({name for name, _ in self.layers})}")
        return self.values[np.ix_(rows, columns)]


@jax.jit
def centred_gram(layer: Float[Array | np.ndarray, "n ..."]) -> Float[Array, " pairs"]:
    """The U-centred Gram matrix of one layer's activations (Szekely and Rizzo 2014), flattened; see `hsic_1`."""
    n = len(layer)
    x = jnp.asarray(layer).reshape(n, -1)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    size = jnp.abs(x).max(axis=0, keepdims=True)
    # Changes nothing but rounding: large means would leave few digits to what varies.
    x = x - x.mean(axis=0, keepdims=True)
    x = jnp.where(jnp.abs(x).max(axis=0, keepdims=True) <= CONSTANT * size, 0, x)
    off_diagonal = 1 - jnp.eye(n, dtype=x.dtype)
    gram = jnp.matmul(x, x.T, precision="highest") * off_diagonal
    rows = gram.sum(axis=1)
    centred = gram - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return (centred * off_diagonal).ravel()


def hsic_1(grams: Sequence[Float[Array, " pairs"]], n: int) -> Float[np.ndarray, "layers layers"]:
    """The unbiased estimator HSIC_1 of every pair of layers, with linear kernels.

    HSIC_1(K, L) = 1 / (n (n - 3)) * [tr(K L) + 1'K1 1'L1 / ((n - 1) (n - 2)) - 2 / (n - 2) 1'KL1], diagonals of K and L
    set to zero: it is the mean product of the two U-centred matrices, which each layer needs only once. Adding a
    constant to a feature changes nothing; features that are constant count as exactly zero.

    Args:
        grams: of each layer by `centred_gram`.
        n: examples.

    Raises:
        ValueError: fewer than four examples.

    Source: Song et al. 2012, Feature Selection via Dependence Maximization, JMLR 13; as in equation 3 of Nguyen et al.
    2021.
    """
    if n < 4:
        raise ValueError(f"HSIC_1 needs four examples or more, not {n}")
    stacked = jnp.stack(grams)
    return np.asarray(jnp.matmul(stacked, stacked.T, precision="highest"), np.float64) / (n * (n - 3))


def normalise_hsic(hsic: Float[Array | np.ndarray, "layers layers"]) -> Float[np.ndarray, "layers layers"]:
    """CKA from HSIC: each value over the root of the product of its two layers' own.

    A layer that is constant over the examples has no similarity to anything, itself included: 0.

    Raises:
        ValueError: a value that is not finite.

    Source: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, section 3.
    """
    hsic = np.asarray(hsic, np.float64)
    if not np.isfinite(hsic).all():
        raise ValueError(NOT_FINITE)
    own = np.sqrt(np.maximum(np.diag(hsic), 0))
    scale = np.outer(own, own)
    return np.divide(hsic, scale, out=np.zeros_like(hsic), where=scale > 0)


def minibatch_cka(
    networks: Mapping[str, tuple[nn.Module, Params]],
    images: Float[Array | np.ndarray, "n h w c"],
    *,
    batch_size: int = 500,
) -> LayerSimilarity:
    """Debiased linear CKA of every layer against every layer, within networks and across them.

    Images are shuffled and cut into batches of equal size (to within one), HSIC_1 of every pair of layers is averaged
    over the batches, and CKA made of the averages: HSIC_1 is unbiased in a batch of any size, so what a smaller batch
    costs is scatter only. 1: the same up to rotation, scale and shift. Around 0, also below: independent, however many
    the features, where the biased estimator would come near 1.

    Args:
        networks: model and parameters by a name for them.
        images: normalised; all networks see the same.
        batch_size: images whose activations are in memory together, at most.

    Raises:
        ValueError: batches of fewer than four images.

    Source: Nguyen et al. 2021, Do Wide and Deep Networks Learn the Same Things?, section 3.
    """
    count = len(images)
    # Images sorted by class would not be a sample in any batch.
    order = np.random.default_rng(0).permutation(count)
    grams: dict[tuple[str, str], Array] = {}
    total = np.zeros((1, 1))
    for rows in np.array_split(order, max(1, -(-count // batch_size))):
        for name, (model, params) in networks.items():
            activations = map_examples(layers_of, model, params, np.asarray(images)[rows])
            grams |= {(name, layer): centred_gram(activation) for layer, activation in activations.items()}
        total = total + hsic_1(list(grams.values()), len(rows)) * len(rows)
    return LayerSimilarity(tuple(grams), normalise_hsic(total / count))


def nearest_neighbours(features: Float[np.ndarray, "n d"], k: int, *, rows: int = 500) -> Int[np.ndarray, "n k"]:
    """The k nearest other examples by cosine similarity of centred features, in no order.

    Centred, since after a ReLU all features point one way.

    Args:
        features: of one layer; see `pooled_features`.
        k: neighbours.
        rows: examples whose similarities to all others are in memory together.

    Raises:
        ValueError: k is not between 1 and n - 1, or a feature is not finite.
    """
    n = len(features)
    if not np.isfinite(features).all():
        raise ValueError(NOT_FINITE)
    if not 1 <= k < n:
        raise ValueError(f"{k} neighbours cannot be found among {n} examples")
    x = np.asarray(features, np.float32)
    x = x - x.mean(axis=0)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    found = []
    for start in range(0, n, rows):
        similarity = x[start : start + rows] @ x.T
        own = np.arange(len(similarity))
        similarity[own, start + own] = -np.inf
        found.append(np.argpartition(similarity, n - k, axis=1)[:, n - k :])
    return np.concatenate(found)


def mutual_neighbours(
    features: Mapping[str, Mapping[str, Float[np.ndarray, "n _"]]], *, k: int = 10
) -> LayerSimilarity:
    """Share of an example's k nearest neighbours that two layers have in common, averaged over examples.

    1: the same neighbours; by chance k / (n - 1). A layer that is constant over the examples has no neighbours to
    share: 0, with itself too.

    Args:
        features: of the same examples, by network and layer; see `pooled_features`.
        k: neighbours.

    Source: Huh et al. 2024, The Platonic Representation Hypothesis, appendix A (there k = 10 too).
    """
    keys: dict[tuple[str, str], Int[np.ndarray, " m"]] = {}
    for network, layers in features.items():
        for layer, values in layers.items():
            found = nearest_neighbours(values, k)
            # One number for each (example, neighbour): sets of them can be intersected.
            pairs = np.arange(len(found))[:, None] * len(found) + found
            constant = np.all(np.ptp(values, axis=0) <= CONSTANT * np.abs(values).max(axis=0))
            keys[network, layer] = np.zeros(0, int) if constant else np.sort(pairs.ravel())
    total = max(map(len, keys.values()))
    common = [[len(np.intersect1d(a, b, assume_unique=True)) for b in keys.values()] for a in keys.values()]
    return LayerSimilarity(tuple(keys), np.array(common) / max(1, total))


def identified_layers(block: Float[np.ndarray, "layers others"]) -> float:
    """Share of layers whose most similar layer in the other network is the same layer, over both directions.

    A tie is no identification. By chance: 1 / layers.

    Args:
        block: similarity of two networks of one architecture and different seeds, layers in the same order.

    Raises:
        ValueError: the block is not square.

    Source: Kornblith et al. 2019, section 6.1.
    """
    if block.ndim != 2 or block.shape[0] != block.shape[1] or not block.size:
        raise ValueError(f"two networks of the same layers are needed, not a block of shape {block.shape}")
    own = np.diag(block)
    others = np.where(np.eye(len(block), dtype=bool), -np.inf, block)
    return float(np.mean([own > others.max(axis=1), own > others.max(axis=0)]))
