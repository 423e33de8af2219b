"""CKA against its formula and closed forms, neighbours, identification; networks over many images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcompare.models import build_model
from jaxcompare.representations.forward import map_examples, pool_map, pooled_features, predict
from jaxcompare.representations.similarity import (
    LayerSimilarity,
    centred_gram,
    hsic_1,
    identified_layers,
    minibatch_cka,
    mutual_neighbours,
    nearest_neighbours,
    normalise_hsic,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def hsic(layers):
    return hsic_1([centred_gram(layer) for layer in layers], len(layers[0]))


def cka(layers):
    return normalise_hsic(hsic(layers))


class Linears(nn.Module):
    """Linear layers that are planted by their parameters, which come in any order."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        x = images.reshape(len(images), -1)
        return x[:, :2], {
            name: x @ self.param(name, nn.initializers.zeros, (x.shape[1], 6)) for name in ("one", "two", "three")
        }


def planted(order):
    """Parameters whose layers see a third of the pixels each, in this order."""
    thirds = [np.zeros((12, 6), np.float32) for _ in range(3)]
    for i, third in enumerate(thirds):
        third[4 * i : 4 * i + 4] = normal(4, 6, seed=i)
    return {name: thirds[i] for name, i in zip(("one", "two", "three"), order, strict=True)}


def test_hsic_is_its_formula():
    x, y = normal(9, 5), normal(9, 2, 3, seed=1)
    k, el = (z.reshape(9, -1) @ z.reshape(9, -1).T * (1 - np.eye(9)) for z in (x, y))
    n, one = 9, np.ones(9)
    expected = np.trace(k @ el) + (one @ k @ one) * (one @ el @ one) / ((n - 1) * (n - 2))
    expected = (expected - 2 / (n - 2) * (one @ k @ el @ one)) / (n * (n - 3))
    np.testing.assert_allclose(hsic([x, y])[0, 1], expected, rtol=1e-4)


def test_cka_of_the_same_up_to_rotation_scale_and_shift_is_one():
    x = normal(40, 10)
    rotation = np.linalg.qr(normal(10, 10, seed=1))[0]
    np.testing.assert_allclose(cka([x, x @ rotation, 7 * x, x + 100]), 1, atol=1e-4)


def test_independent_features_are_near_zero_where_the_biased_estimator_is_not():
    draws = [[normal(20, 1_000, seed=2 * i + j) for j in (0, 1)] for i in range(20)]
    # The scatter of one draw is sqrt(2 / (n (n - 3))), 0.08.
    assert abs(np.mean([cka(draw)[0, 1] for draw in draws])) < 0.05

    def biased(x, y):
        k, el = (z @ z.T for z in (x - x.mean(axis=0), y - y.mean(axis=0)))
        return np.sum(k * el) / np.linalg.norm(k) / np.linalg.norm(el)

    assert min(biased(*draw) for draw in draws) > 0.9


def test_batches_are_unbiased():
    # Two layers that share a part: the mean of batches' HSIC_1 is that of all examples, here of 200 draws each.
    shared = normal(4_000, 3)
    layers = [np.concatenate([shared, normal(4_000, 3, seed=s)], axis=1) for s in (1, 2)]
    batches = np.mean([hsic([layer[i : i + 20] for layer in layers]) for i in range(0, 4_000, 20)], axis=0)
    # The population's: sum of squared covariances, 3 shared directions, and 6 of a layer with itself.
    np.testing.assert_allclose(batches, [[6, 3], [3, 6]], rtol=0.1)


def neighbours_of(layers):
    return mutual_neighbours({"a": dict(zip("xy", layers, strict=True))}, k=3).values


@pytest.mark.parametrize("measure", [cka, neighbours_of])
def test_constant_layers_are_like_nothing(measure):
    # But for what rounding leaves.
    values = measure([normal(12, 4), 1_000 + 1e-4 * normal(12, 4, seed=1)])
    np.testing.assert_allclose(values, [[1, 0], [0, 0]], atol=1e-6)


def test_minibatches_of_networks_find_a_planted_permutation():
    model, images = Linears(), normal(50, 2, 2, 3)
    networks = {"a": (model, planted((0, 1, 2))), "b": (model, planted((0, 2, 1))), "c": (model, planted((0, 1, 2)))}
    found = minibatch_cka(networks, images, batch_size=20)
    assert found.layers[:4] == (("a", "one"), ("a", "two"), ("a", "three"), ("a", "logits"))
    np.testing.assert_allclose(np.diag(found.values), 1, atol=1e-6)
    a_b = found.block("a", "b")[:3, :3]
    np.testing.assert_array_equal(a_b.argmax(axis=1), [0, 2, 1])
    assert identified_layers(a_b) == pytest.approx(1 / 3)
    assert identified_layers(found.block("a", "c")) == 1
    whole = minibatch_cka(networks, images, batch_size=50)
    np.testing.assert_allclose(whole.values, cka_of(networks, images), atol=1e-5)


def cka_of(networks, images):
    layers = []
    for model, params in networks.values():
        logits, activations = model.apply({"params": params}, images, train=False)
        layers += [*activations.values(), logits]
    return cka(layers)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cka([normal(3, 2)]), "four examples or more, not 3"),
        (lambda: cka([np.full((5, 2), np.nan, np.float32)]), "activations must be finite"),
        (lambda: nearest_neighbours(np.full((5, 2), np.inf, np.float32), 1), "activations must be finite"),
        (lambda: nearest_neighbours(normal(3, 2), 3), "3 neighbours cannot be found among 3"),
        (lambda: identified_layers(normal(2, 3)), "not a block of shape"),
        (lambda: LayerSimilarity((("a", "x"),), np.ones((1, 1))).block("a", "b"), "'b' must be among"),
        (lambda: map_examples(len, Linears(), {}, (np.ones(2), np.ones(3))), "as many in every array"),
        (lambda: map_examples(len, Linears(), {}, np.ones((0, 2))), "one or more examples"),
    ],
)
def test_what_cannot_be_measured_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ties_are_no_identification():
    assert identified_layers(np.ones((2, 2))) == 0


def test_neighbours():
    x = np.array([[0, 1], [0.1, 1], [1, 0], [1, 0.1], [-1, -1.1], [-1.1, -1]], np.float32)
    np.testing.assert_array_equal(nearest_neighbours(x, 1, rows=4)[:, 0], [1, 0, 3, 2, 5, 4])
    # Directions are those from the mean: from 0, the first and the third are one.
    shifted = 10 + np.array([[1, 1], [2, 2.1], [-1, -1], [-2, -2.1]], np.float32)
    np.testing.assert_array_equal(nearest_neighbours(shifted, 1)[:, 0], [1, 0, 3, 2])
    independent = mutual_neighbours({"a": {"x": normal(400, 8)}, "b": {"x": normal(400, 8, seed=1)}}, k=20)
    np.testing.assert_allclose(independent.block("a", "b"), 20 / 399, atol=0.02)


def test_pooling_takes_cell_means():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(pool_map(x, 15), [[2.5, 4.5, 10.5, 12.5]])
    np.testing.assert_array_equal(pool_map(x, 3), [[7.5]])
    np.testing.assert_array_equal(pool_map(x, 16), np.arange(16.0)[None])


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_networks_give_every_layer_of_every_image(name):
    model, images = build_model(name, layers=1, width=32), normal(17, 32, 32, 3)
    params = jax.jit(lambda: model.init(jax.random.key(0), images[:1], train=False)["params"])()
    features = pooled_features(model, params, images)
    widths = {"block_0": 512, "block_1": 256, "block_2": 512, "hidden": 256, "logits": 10}
    if name == "vit":
        widths = {
            f"{layer}{part}": width
            for layer in ("embedding", "layer_0", "norm")
            for part, width in (("/class", 32), ("", 512))
        } | {"logits": 10}
    assert [(layer, values.shape) for layer, values in features.items()] == [(k, (17, d)) for k, d in widths.items()]
    if name == "vit":
        tokens = model.apply({"params": params}, images, train=False)[1]["layer_0"]
        np.testing.assert_allclose(features["layer_0/class"], tokens[:, 0], atol=1e-5)
        np.testing.assert_allclose(features["layer_0"], pool_map(tokens[:, 1:].reshape(17, 8, 8, 32), 512), atol=1e-5)
    # The last image, which is in a batch that is filled up, as by itself.
    np.testing.assert_allclose(
        predict(model, params, images[16:])[0], jax.nn.softmax(features["logits"][16]), atol=1e-5
    )
